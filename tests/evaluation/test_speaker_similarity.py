import numpy as np
import pytest

from hf_lip2speech.errors import MetricError, NoSpeechError
from hf_lip2speech.evaluation.speaker_similarity import embedding_similarity, speaker_similarity
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
from tests.evaluation.sounds import flite

SENTENCES = ("The birch canoe slid on the smooth planks.", "Glue the sheet to the dark blue background.")


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.bundled()


def test_one_person_is_more_like_himself_than_like_another(encoder, tmp_path):
    first, second = (flite(sentence, tmp_path, "rms") for sentence in SENTENCES)
    other = flite(SENTENCES[1], tmp_path, "slt")
    assert speaker_similarity(first, first, encoder) == pytest.approx(1)
    assert speaker_similarity(first, second, encoder) > speaker_similarity(first, other, encoder) + 0.1


def test_a_delay_does_not_change_who_speaks(encoder, tmp_path):
    speech = flite(SENTENCES[0], tmp_path)
    late = np.concatenate([np.zeros(4800, np.float32), speech])
    assert speaker_similarity(speech, late, encoder) > 0.98


def test_silence_has_no_speaker(encoder, tmp_path):
    with pytest.raises(NoSpeechError):
        speaker_similarity(flite(SENTENCES[0], tmp_path), np.zeros(16_000, np.float32), encoder)


def test_a_broken_signal_is_not_taken_for_one_without_speech(encoder):
    sound = np.ones(16_000, np.float32)
    with pytest.raises(MetricError, match="NaN"):
        speaker_similarity(sound, np.full(16_000, np.nan), encoder)
    with pytest.raises(MetricError, match="12000"):
        speaker_similarity(sound, np.full(16_000, 12_000, np.int16), encoder)


def test_the_similarity_is_the_cosine():
    assert embedding_similarity(np.array([3.0, 4.0]), np.array([30.0, 40.0])) == pytest.approx(1)
    assert embedding_similarity(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("other", [np.ones(3), np.zeros(2), np.ones((1, 2))], ids=["length", "zero", "axes"])
def test_vectors_that_have_no_angle_are_refused(other):
    with pytest.raises(MetricError, match="embeddings"):
        embedding_similarity(np.ones(2), other)
