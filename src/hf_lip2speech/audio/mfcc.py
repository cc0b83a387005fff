"""Mel-frequency cepstral coefficients at the rate of speech units: what units are made of without a HuBERT.

HuBERT itself began with clusters of MFCCs and their differences (Hsu et al., "HuBERT", 2021, section 4.1).
"""

import math
from functools import lru_cache

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
    return log_mel @ _cosines(num_coefficients, waveform.device)


def add_deltas(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Append the slopes of features over time, and the slopes of those.

    Args:
        features: float (B, U, D).
        lengths: int (B,), valid units of each row; past its ends a row goes on with its first and last unit.

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


@lru_cache(maxsize=4)
def _cosines(count: int, device: torch.device) -> torch.Tensor:
    """Orthonormal type-II cosine transform: float32 (MFCC_MEL_BINS, count)."""
    bins = (torch.arange(MFCC_MEL_BINS, dtype=torch.float64) + 0.5) / MFCC_MEL_BINS
    matrix = torch.cos(math.pi * bins[:, None] * torch.arange(count)) * math.sqrt(2 / MFCC_MEL_BINS)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.float().to(device)
