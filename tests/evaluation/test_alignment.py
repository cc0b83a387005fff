"""No metric may profit from a shift that it was not told of."""

import numpy as np
import pytest

from hf_lip2speech.errors import MetricError
from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.alignment import delay, match_length
from tests.evaluation.sounds import RATE, add_noise
from tests.media.voices import babble


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(2.0, seed=5)


def late(speech: np.ndarray, seconds: float) -> np.ndarray:
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), speech])


def f0_frame(reference, speech):
    pytest.importorskip("parselmouth")
    return metrics.f0_errors(reference, speech).frame


# metric, whether more is better, what is lost at least when the very same speech comes 0.1 s late
UNALIGNED = pytest.mark.parametrize(
    "metric, sign, loss",
    [
        pytest.param(metrics.stoi, 1, 0.5, id="stoi"),
        pytest.param(metrics.estoi, 1, 0.5, id="estoi"),
        pytest.param(metrics.log_spectral_distance, -1, 5.0, id="log_spectral_distance"),
        pytest.param(metrics.mel_cepstral_distortion, -1, 3.0, id="mel_cepstral_distortion"),
        pytest.param(f0_frame, -1, 0.2, id="f0_errors"),
    ],
)


@UNALIGNED
def test_the_same_speech_a_tenth_of_a_second_late_scores_as_bad_speech(metric, sign, loss, speech):
    assert sign * (metric(speech, speech) - metric(speech, late(speech, 0.1))) > loss


@UNALIGNED
def test_silence_put_before_the_reference_too_takes_the_loss_away(metric, sign, loss, speech):
    both = late(speech, 0.1)
    assert metric(both, both) == pytest.approx(metric(speech, speech), abs=1e-6)


@UNALIGNED
def test_speech_that_stops_half_way_is_scored_on_the_whole_reference(metric, sign, loss, speech):
    half = speech[: len(speech) // 2]
    silent = np.concatenate([half, np.zeros(len(speech) - len(half), np.float32)])
    assert metric(speech, half) == metric(speech, silent)
    assert sign * (metric(speech, speech) - metric(speech, half)) > loss / 4


@UNALIGNED
def test_what_comes_after_the_references_end_does_not_count(metric, sign, loss, speech):
    assert metric(speech, np.concatenate([speech, -speech])) == metric(speech, speech)


def test_units_are_compared_in_their_place(speech):
    units = np.random.default_rng(0).integers(0, 200, 100)
    shifted = np.roll(units, 1)
    assert metrics.unit_accuracy([units], [units]) == 1
    assert metrics.unit_accuracy([units], [shifted]) < 0.1


def test_the_metrics_that_align_are_those_that_say_so(speech):
    """What ALIGNMENT tells: PESQ and MCD-DTW forgive a delay."""
    behind = late(speech, 0.1)
    assert "P.862" in metrics.ALIGNMENT["pesq_wb"] and "P.862" in metrics.ALIGNMENT["pesq_nb"]
    assert "time warping" in metrics.ALIGNMENT["mel_cepstral_distortion, dtw=True"]
    assert metrics.pesq_wb(speech, behind) > 3 > metrics.pesq_wb(speech, add_noise(speech, 0))
    warped = metrics.mel_cepstral_distortion(speech, behind, dtw=True)
    assert warped < 0.2 * metrics.mel_cepstral_distortion(speech, behind)


def test_alignment_is_stated_for_every_metric():
    stated = {name.split(",")[0] for name in metrics.ALIGNMENT}
    functions = {name for name in metrics.__all__ if name.islower() and not name.endswith("_errors")} | {
        "f0_errors"
    }
    assert functions - {"embedding_similarity"} == stated


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.13, 0.5])
def test_a_delay_is_measured_to_10_ms_and_noise_does_not_hide_it(speech, seconds):
    assert delay(speech, add_noise(late(speech, seconds), 5)) == pytest.approx(seconds, abs=0.011)


def test_speech_that_is_early_has_a_negative_delay(speech):
    assert delay(late(speech, 0.2), speech) == pytest.approx(-0.2, abs=0.011)


def test_a_reference_too_short_for_the_delay_that_is_looked_for_is_refused(speech):
    with pytest.raises(MetricError, match=r"0.50 s; at least 1.00"):
        delay(speech[: RATE // 2], speech)


def test_laid_over_signals_have_the_references_length():
    longer, shorter = match_length(np.ones(5), np.arange(1, 9)), match_length(np.ones(5), np.arange(1, 4))
    assert longer[1].tolist() == [1, 2, 3, 4, 5]
    assert shorter[1].tolist() == [1, 2, 3, 0, 0]
