import warnings

import numpy as np
import pytest

from hf_lip2speech import Lip2SpeechConfig
from hf_lip2speech.pipeline_text import read_text
from hf_lip2speech.text.characters import ENGLISH
from hf_lip2speech.text.transcripts import calibrated, clip_confidence

from ..conftest import load_script
from .posteriors import spoken

fit_calibration = load_script("scripts/calibrate_text.py").fit_calibration


def test_calibration_keeps_the_order_and_the_default_changes_nothing():
    raw = np.linspace(0, 1, 21)
    assert [calibrated(value) for value in raw] == raw.tolist()
    lower = [calibrated(value, (0.5, -1.0)) for value in raw]
    assert lower == sorted(lower) and 0 < lower[0] and lower[-1] < 1
    assert calibrated(0.5, (3.0, 0.0)) == pytest.approx(0.5)
    assert calibrated(0.9, (1.0, np.log(1 / 9))) == pytest.approx(0.5)


def test_the_fitted_calibration_makes_confidences_shares():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.02, 0.98, 20_000)
    truth = np.array([calibrated(value, (0.6, -0.8)) for value in raw])
    right = rng.random(len(raw)) < truth
    scale, offset = fit_calibration(raw, right)
    assert scale == pytest.approx(0.6, abs=0.05) and offset == pytest.approx(-0.8, abs=0.05)


@pytest.mark.parametrize("right", [True, False])
def test_a_set_without_errors_or_without_a_right_word_has_a_calibration(right):
    scale, offset = fit_calibration([0.9, 0.95, 0.99], [right] * 3)
    assert np.isfinite([scale, offset]).all() and scale >= 0
    assert (calibrated(0.95, (scale, offset)) > 0.5) is right


def test_where_surer_words_are_worse_all_count_the_same():
    scale, offset = fit_calibration([0.1, 0.2, 0.8, 0.9], [True, True, False, False])
    assert scale == 0 and calibrated(0.9, (scale, offset)) == pytest.approx(0.5)


def test_a_clip_is_as_sure_as_its_words_on_average_and_silence_as_its_blanks():
    words = [{"confidence": 0.9}, {"confidence": 0.5}]
    assert clip_confidence(words, spoken("a")) == pytest.approx(0.7)
    assert clip_confidence([], spoken("", confidence=0.8)) == pytest.approx(0.8, abs=1e-5)


def read(confidence: float, calibration=(1.0, 0.0)):
    logits = spoken("bin blue", confidence=confidence).numpy()
    config = Lip2SpeechConfig(text_vocabulary=ENGLISH, text_calibration=calibration)
    return read_text(logits, np.ones(len(logits) // 2, dtype=bool), config, True, num_hypotheses=2)


def test_a_clip_that_is_not_understood_gives_one_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(0.8)["confidence"] == pytest.approx(0.8, abs=1e-4)
    with pytest.warns(UserWarning, match=r"not sure of what these lips say \(confidence 0\.40\)") as warned:
        read(0.4)
    assert len(warned) == 1
    with pytest.warns(UserWarning, match="not sure"):
        said = read(0.8, calibration=(1.0, -3.0))
    expected = calibrated(0.8, (1.0, -3.0))
    assert said["confidence"] == pytest.approx(expected, abs=1e-4)
    assert [word["confidence"] for word in said["words"]] == pytest.approx([expected] * 2, abs=1e-4)
    assert said["hypotheses"][0]["words"] == said["words"]
