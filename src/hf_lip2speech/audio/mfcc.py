"""Mel-frequency cepstral coefficients at the rate of speech units, the features of units without a HuBERT.

HuBERT itself began with clusters of MFCCs and their differences (Hsu et al., "HuBERT", 2021, section 4.1).
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from ..constants import SAMPLES_PER_UNIT
from .mel import stft_magnitude, to_mel

MFCC_WINDOW = 640  # samples (40 ms)
MFCC_MEL_BINS = 40
POWER_FLOOR = 1e-8  # about 80 dB below loud speech: quieter sound counts as silence
DELTA_REACH = 2  # units to either side that a slope is taken over


def mfcc(waveform: torch.Tensor, num_coefficients: int = 13) -> torch.Tensor:
    """Cepstral coefficients with the unit of 20 ms in the middle of their window.

    Args:
        waveform: float (B, N), 16 kHz in [-1, 1].
        num_coefficients: coefficients kept, the first of them (energy) included.

    Returns:
        float32 (B, N // 320, num_coefficients). Sound before the start and after the end counts as silence.
    """
    units = waveform.shape[-1] // SAMPLES_PER_UNIT
    margin = (MFCC_WINDOW - SAMPLES_PER_UNIT) // 2
    padded = F.pad(waveform[:, : units * SAMPLES_PER_UNIT].float(), (margin, margin))
    if units == 0:
        return padded.new_zeros(len(waveform), 0, num_coefficients)
    power = stft_magnitude(padded, MFCC_WINDOW, SAMPLES_PER_UNIT).square() / MFCC_WINDOW
    log_mel = to_mel(power, MFCC_MEL_BINS).clamp(min=POWER_FLOOR).log()  # (B, U, 40)
    cosines = cosine_transform(MFCC_MEL_BINS, num_coefficients)
    return log_mel @ torch.from_numpy(cosines).to(log_mel)


def add_deltas(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Append the slopes of features over time, and the slopes of those.

    Args:
        features: float (B, U, D).
        lengths: int (B,), valid units of each row; its first and last unit are repeated beyond its ends.

    Returns:
        (B, U, 3 D): features, first and second differences.
    """
    first = _slope(features, lengths)
    return torch.cat([features, first, _slope(first, lengths)], dim=-1)


def _slope(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Least-squares slope over 2 x DELTA_REACH + 1 units."""
    positions = torch.arange(features.shape[1], device=features.device)
    last = (lengths.to(features.device) - 1).clamp(min=0)[:, None]
    rows = torch.arange(len(features), device=features.device)[:, None]
    total = torch.zeros_like(features)
    for step in range(1, DELTA_REACH + 1):
        after = torch.minimum(positions + step, last)  # (B, U)
        before = torch.minimum((positions - step).clamp(min=0), last)
        total += step * (features[rows, after] - features[rows, before])
    return total / (2 * sum(step**2 for step in range(1, DELTA_REACH + 1)))


@lru_cache(maxsize=16)
def cosine_transform(bins: int, count: int) -> np.ndarray:
    """The first `count` coefficients of the orthonormal type-II cosine transform: float64 (bins,
    count), so that `x @ cosine_transform(...)` is scipy's `dct(x, norm="ortho")[..., :count]`."""
    angles = np.pi / bins * (np.arange(bins) + 0.5)[:, None] * np.arange(count)
    matrix = np.cos(angles) * math.sqrt(2 / bins)
    matrix[:, 0] /= math.sqrt(2)
    return matrix
