import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("speechmos")

from hf_lip2speech.evaluation.metrics import UndefinedMetricError
from hf_lip2speech.evaluation.naturalness import dnsmos, dnsmos_name
from tests.evaluation.sounds import add_noise
from tests.media.voices import babble


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [9.5, 3.0, 11.3], ids=["one window", "repeated", "several windows"])
def test_the_scores_are_those_of_the_package_that_holds_the_weights(seconds, monkeypatch):
    pytest.importorskip("requests")
    silence = (
        SimpleNamespace(  # the package also computes P.808 on librosa's mel; the scores here do not need it
            feature=SimpleNamespace(melspectrogram=lambda y, **_: np.ones((120, 900), np.float32)),
            power_to_db=lambda mel, ref: mel,
        )
    )
    monkeypatch.setitem(sys.modules, "librosa", silence)
    from speechmos import dnsmos as package

    speech = babble(seconds)
    theirs, ours = package.run(speech, 16_000), dnsmos(speech)
    assert ours.overall == pytest.approx(theirs["ovrl_mos"], abs=1e-5)
    assert ours.signal == pytest.approx(theirs["sig_mos"], abs=1e-5)
    assert ours.background == pytest.approx(theirs["bak_mos"], abs=1e-5)


def test_noise_is_heard_in_the_background():
    speech = babble(9.5)
    clean, noisy = dnsmos(speech), dnsmos(add_noise(speech, 5))
    assert 1 <= noisy.background < clean.background - 0.5
    assert noisy.overall < clean.overall


def test_silence_is_not_rated():
    with pytest.raises(UndefinedMetricError, match="silent"):
        dnsmos(np.zeros(16_000))


def test_the_name_says_model_and_package():
    assert dnsmos_name().startswith("DNSMOS P.835 (sig_bak_ovr.onnx of speechmos 0.")
