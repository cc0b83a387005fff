"""Quality of speech as listeners would rate it, predicted from the speech alone."""

import io
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch

from hf_lip2speech_extras import require_extra

from ..constants import SAMPLING_RATE
from ..errors import UndefinedMetricError
from .alignment import check_signal

WINDOW = 144_160  # samples (9.01 s): the network's input
# The published polynomials from the network's outputs to opinions: a, b, c of a x^2 + b x + c.
_SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Dnsmos:
    """Predicted mean opinion scores, about 1 (bad) to 5 (excellent), on the scales of ITU-T P.835."""

    signal: float  # how undistorted the voice is
    background: float  # how little noise there is
    overall: float  # the number that papers report


def dnsmos(speech: np.ndarray) -> Dnsmos:
    """DNSMOS P.835, overall: naturalness as a network predicts it from the speech alone, about 1 to 5.

    Reddy, Gopal, Cutler, "DNSMOS P.835: a non-intrusive perceptual objective speech quality metric to
    evaluate noise suppressors", ICASSP 2022. The weights come with the PyPI package speechmos, nothing is
    downloaded. (Its own `dnsmos.run` gives the same scores, but needs librosa and runs a second network,
    P.808.) As published, clips under 9.01 s are doubled until they are longer, windows of 9.01 s start every
    second, and their scores are averaged. It was trained on denoised speech: it hears noise and distortion,
    not whether the words are right.

    Args:
        speech: (N,) 16 kHz mono in [-1, 1]; clipped where it leaves that range.

    Raises:
        UndefinedMetricError: it is silent throughout.
    """
    samples = np.clip(_audible(speech), -1, 1)
    while len(samples) < WINDOW:
        samples = np.tile(samples, 2)
    # The published count: whole seconds less 9.01, which can leave out the last whole window.
    count = int(len(samples) // SAMPLING_RATE - WINDOW / SAMPLING_RATE) + 1
    windows = [samples[None, start * SAMPLING_RATE :][:, :WINDOW] for start in range(count)]
    raw = np.stack([_network().run(None, {"input_1": window})[0][0] for window in windows])  # (windows, 3)
    scales = zip((_SIGNAL, _BACKGROUND, _OVERALL), raw.T, strict=True)
    return Dnsmos(*(float(np.polyval(polynomial, scores).mean()) for polynomial, scores in scales))


def dnsmos_name() -> str:
    """The model and the package that holds its weights, to be shown beside a score."""
    return f"DNSMOS P.835 (sig_bak_ovr.onnx of speechmos {version('speechmos')})"


def distill_mos(speech: np.ndarray) -> float:
    """Distill-MOS: overall quality as a network predicts it from the speech alone, 1 to 5.

    Stahl, Gamper, "Distillation and Pruning for Scalable Self-Supervised Representation-Based Speech Quality
    Assessment", ICASSP 2025. A second opinion beside DNSMOS, learned from listening tests of codecs and
    synthetic speech rather than of noise suppression. The weights come with the PyPI package distillmos.
    Argument and error as in `dnsmos`; loudness does not count.
    """
    with torch.no_grad():
        return float(_distilled_network()(torch.from_numpy(_audible(speech))[None]))


def _audible(speech: np.ndarray) -> np.ndarray:
    """The speech as float32 (N,), if there is any."""
    samples = check_signal("speech", speech).astype(np.float32)
    if not samples.any():
        raise UndefinedMetricError("The speech is silent throughout: there is no voice to rate.")
    return samples


@cache
def _distilled_network() -> torch.nn.Module:
    # torchaudio, which the package imports, reads the sounds of its command line: an empty module does here,
    # where there is none that fits torch.
    stand_in = {} if find_spec("torchaudio") else {"torchaudio": ModuleType("torchaudio")}
    sys.modules.update(stand_in)
    try:
        with redirect_stdout(io.StringIO()):  # it prints where its weights are
            return require_extra("distillmos").ConvTransformerSQAModel().eval()
    finally:
        for name in stand_in:
            del sys.modules[name]


@cache
def _network():
    runtime = require_extra("onnxruntime", "naturalness")
    weights = files(require_extra("speechmos", "naturalness")) / "dnsmos_models" / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(weights.read_bytes(), providers=["CPUExecutionProvider"])
