import re

import numpy as np
import pytest
import soundfile
import soxr

from hf_lip2speech.data.corpora import spell_grid_id
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation.metrics import wer
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid, grid_grammar

RATE = 16_000


@pytest.fixture(scope="module")
def listen() -> PocketsphinxGrid:
    return PocketsphinxGrid()


@pytest.fixture(scope="module")
def validation(grid_dir) -> tuple[list[str], list[np.ndarray]]:
    """Sentences and sound of GRID's validation clips."""
    ids = (grid_dir / "splits" / "s1_val.txt").read_text().split()
    sound = [
        soundfile.read(grid_dir / "audio_16k" / "s1" / f"{clip}.flac", dtype="float32")[0] for clip in ids
    ]
    return [spell_grid_id(clip) for clip in ids], sound


def test_true_speech_is_heard_with_about_13_percent_wrong_words(listen, validation):
    texts, sound = validation
    assert len(texts) == 49
    assert wer(texts, [listen(waveform) for waveform in sound]) == pytest.approx(0.13, abs=0.02)


def test_speech_against_another_clips_sentence_is_at_chance(listen, validation):
    texts, sound = validation
    heard = [listen(waveform) for waveform in sound]
    assert wer(texts, heard[1:] + heard[:1]) > 0.75


def test_what_is_heard_does_not_depend_on_the_clips_before(listen, validation):
    _, sound = validation
    forwards = [listen(waveform) for waveform in sound[:8]]
    backwards = [listen(waveform) for waveform in sound[7::-1]]
    assert forwards == backwards[::-1]


def test_sound_at_another_rate_is_resampled(listen, validation):
    _, sound = validation
    resampled = [soxr.resample(waveform, RATE, 44_100) for waveform in sound[:8]]
    same = [listen(there, 44_100) == listen(here) for there, here in zip(resampled, sound, strict=False)]
    assert sum(same) >= 7


def test_noise_is_heard_as_a_sentence_of_the_grammar_or_not_at_all(listen):
    sentence = (
        r"(bin|lay|place|set) (blue|green|red|white) (at|by|in|with) [a-vx-z] \w+ (again|now|please|soon)|"
    )
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(scale=0.1, size=3 * RATE).astype(np.float32)
        assert re.fullmatch(sentence, listen(noise))


def test_the_grammar_has_every_word_of_grid_and_no_letter_w():
    words = set(re.findall(r"[a-z]+", grid_grammar().split("=")[1]))
    assert len(words) == 4 + 4 + 4 + 25 + 10 + 4
    assert "w" not in words and {"zero", "nine", "bin", "soon"} <= words


def test_the_name_holds_the_version_and_the_grammar(listen):
    assert re.match(r"pocketsphinx \d+\.\d+.*JSGF grammar of GRID", listen.name)


@pytest.mark.parametrize(
    "waveform, message",
    [
        (np.zeros((2, RATE)), "mono"),
        (np.zeros(0), "mono"),
        (np.full(RATE, np.nan), "NaN"),
        (np.full(RATE, 12_000, np.int16), "16-bit"),
    ],
    ids=["stereo", "empty", "nan", "int16"],
)
def test_a_waveform_that_cannot_be_heard_is_refused(listen, waveform, message):
    with pytest.raises(Lip2SpeechError, match=f"the waveform.*{message}"):
        listen(waveform)
