"""How good speech would be rated by listeners, guessed from the speech alone."""

from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files

import numpy as np

from ..constants import SAMPLING_RATE
from ..errors import UndefinedMetricError
from ..extras import require_extra
from .alignment import check_signal

WINDOW = 144_160  # samples (9.01 s) that the network hears at once
# The published maps from the network's outputs to opinions: a x^2 + b x + c for signal, background, overall.
_MAPS = np.array(
    [
        [-0.08397278, 1.22083953, 0.0052439],
        [-0.13166888, 1.60915514, -0.39604546],
        [-0.06766283, 1.11546468, 0.04602535],
    ]
)


@dataclass(frozen=True)
class Dnsmos:
    """Predicted mean opinion scores, about 1 (bad) to 5 (excellent), on the scales of ITU-T P.835.

    Attributes:
        signal: How undistorted the voice is.
        background: How little noise there is.
        overall: Quality as a whole: the number that papers mean.
    """

    signal: float
    background: float
    overall: float


def dnsmos_name() -> str:
    """What to write beside a score: the model and the package that its weights come with."""
    return f"DNSMOS P.835 (sig_bak_ovr.onnx of speechmos {version('speechmos')})"


@lru_cache(maxsize=1)
def _network():
    runtime = require_extra("onnxruntime", "naturalness")
    weights = files(require_extra("speechmos", "naturalness")) / "dnsmos_models" / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(weights.read_bytes(), providers=["CPUExecutionProvider"])


def dnsmos(speech: np.ndarray) -> Dnsmos:
    """DNSMOS P.835: a network's guess at the opinions of listeners; there is no reference.

    Reddy, Gopal, Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
    evaluate noise suppressors", ICASSP 2022. The weights come with the PyPI package speechmos, nothing is
    downloaded. As published, clips under 9.01 s are doubled until they are longer, windows of 9.01 s start
    every second, and their scores are averaged. It was trained on denoised speech: it hears noise and
    distortion, but not whether the words are right.

    Args:
        speech: (N,) 16 kHz mono in [-1, 1]; clipped where it leaves that range.

    Raises:
        MetricError: the speech is empty, not mono or not finite.
        UndefinedMetricError: it is silent from end to end.
        ImportError: onnxruntime or speechmos is missing; names the extra that holds them.
    """
    samples = np.clip(check_signal("speech", speech), -1, 1).astype(np.float32)
    if not samples.any():
        raise UndefinedMetricError("the speech is silent from end to end: there is no voice to rate.")
    while len(samples) < WINDOW:
        samples = np.tile(samples, 2)
    # The published count: whole seconds less 9.01, so that the last whole window can be left out.
    count = int(len(samples) // SAMPLING_RATE - WINDOW / SAMPLING_RATE) + 1
    starts = [second * SAMPLING_RATE for second in range(count)]
    network = _network()
    raw = np.stack([network.run(None, {"input_1": samples[None, at : at + WINDOW]})[0][0] for at in starts])
    opinions = _MAPS[:, 0] * raw**2 + _MAPS[:, 1] * raw + _MAPS[:, 2]  # (windows, 3)
    return Dnsmos(*(float(opinion) for opinion in opinions.mean(axis=0)))
