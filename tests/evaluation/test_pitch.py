import numpy as np
import pytest

pytest.importorskip("parselmouth")

from hf_lip2speech.errors import MetricError
from hf_lip2speech.evaluation.pitch import f0, f0_errors
from tests.media.voices import babble

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8))


@pytest.mark.parametrize("hertz", [80.0, 120.0, 250.0, 400.0])
def test_the_pitch_of_a_tone_is_found(hertz):
    assert np.abs(f0(tone(hertz)) - hertz).max() < 0.5


def test_noise_and_silence_have_no_pitch():
    assert not f0(np.zeros(RATE)).any()
    assert (f0(np.random.default_rng(0).standard_normal(RATE)) > 0).mean() < 0.2


def test_speech_against_itself_has_no_error():
    speech = babble(1.0)
    errors = f0_errors(speech, speech)
    assert (errors.rmse_cents, errors.gross, errors.voicing, errors.frame) == (0, 0, 0, 0)


def test_a_semitone_is_100_cents_and_no_gross_error():
    errors = f0_errors(tone(120), tone(120 * 2 ** (1 / 12)))
    assert errors.rmse_cents == pytest.approx(100, abs=2)
    assert errors.gross == errors.voicing == errors.frame == 0


def test_an_octave_is_1200_cents_and_a_gross_error():
    errors = f0_errors(tone(120), tone(240))
    assert errors.rmse_cents == pytest.approx(1200, abs=5)
    assert errors.gross == errors.frame == 1


def test_voice_where_there_was_none_is_a_voicing_error():
    half = np.concatenate([tone(120, 0.5), np.zeros(RATE // 2)])
    errors = f0_errors(half, tone(120))
    assert errors.voicing == errors.frame == pytest.approx(0.5, abs=0.05)
    assert errors.rmse_cents < 5


def test_without_a_voice_in_both_there_is_no_pitch_to_compare():
    errors = f0_errors(tone(120), np.zeros(RATE))
    assert np.isnan(errors.rmse_cents) and np.isnan(errors.gross)
    assert errors.voicing == errors.frame > 0.9


def test_a_reference_too_short_for_a_pitch_is_refused():
    with pytest.raises(MetricError, match="0.1"):
        f0_errors(tone(120, 0.05), tone(120))
