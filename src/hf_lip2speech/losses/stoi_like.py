"""How well the third-octave envelopes of a predicted mel follow the true ones, as STOI and ESTOI measure it.

Taal et al., "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", IEEE TASLP
2011 (STOI); Jensen and Taal, IEEE/ACM TASLP 2016 (ESTOI). Here their correlations are computed from the mel
itself, so that a model can be trained on them: without a waveform, and on all frames, silent ones too.
"""

from functools import lru_cache

import numpy as np
import torch

from ..audio.mel import slaney_filters
from ..constants import HOP_LENGTH, MEL_WINDOW, SAMPLING_RATE

NUM_BANDS = 15
LOWEST_CENTRE = 150.0  # Hz
WINDOW = round(0.384 * SAMPLING_RATE / HOP_LENGTH)  # 38 mel frames
WINDOW_HOP = 4
LARGEST_RATIO = 1 + 10 ** (15 / 20)  # STOI clips predicted amplitudes at an error 15 dB above the truth
_SMALLEST_POWER = 1e-8
_SMALLEST_NORM = 1e-5


@lru_cache
def third_octave_weights(num_mel_bins: int) -> np.ndarray:
    """float64 (num_mel_bins, 15): from squared mel magnitudes to the powers of STOI's third-octave bands.

    A bin's magnitude is the mean of those of the spectral lines that it gathers; it is given back to them,
    and each band sums the squares of its lines.
    """
    filters = slaney_filters(MEL_WINDOW // 2 + 1, num_mel_bins)  # (lines, bins)
    share = filters / np.maximum(filters.sum(axis=1, keepdims=True), 1e-9)  # of each bin in a line
    lines = share / np.maximum(filters.sum(axis=0), 1e-9) ** 2
    frequencies = np.arange(len(filters)) * SAMPLING_RATE / MEL_WINDOW
    centres = LOWEST_CENTRE * 2 ** (np.arange(NUM_BANDS) / 3)
    inside = np.abs(np.log2(frequencies[:, None].clip(1e-3) / centres)) < 1 / 6
    nearest = np.abs(frequencies[:, None] - centres).argmin(axis=0)
    inside[nearest, np.arange(NUM_BANDS)] = True  # a band narrower than the lines' distance
    return lines.T @ inside


def stoi_like_correlation(
    spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Mean of a STOI-like and an ESTOI-like correlation for each clip.

    Args:
        spectrogram, labels: (B, L, bins), natural-log mel at 100 Hz, predicted and true.
        mask: bool (B, L), true where both are valid: the first frames of each clip.

    Returns:
        float32 (B,), in [-1, 1]; 0, without gradient, for a clip shorter than the window of 0.38 s.
    """
    if spectrogram.shape[1] < WINDOW:
        return spectrogram.new_zeros(len(spectrogram), dtype=torch.float32)
    predicted, true = _windows(spectrogram), _windows(labels)  # (B, W, 15, WINDOW)
    x, y = _normal(predicted, -1), _normal(true, -1)
    as_loud = predicted * (true.norm(dim=-1, keepdim=True) / predicted.norm(dim=-1, keepdim=True))
    clipped = torch.minimum(as_loud, LARGEST_RATIO * true)
    over_time = (_normal(clipped, -1) * y).sum(-1).mean(-1)  # (B, W)
    over_bands = (_normal(x, -2) * _normal(y, -2)).sum(-2).mean(-1)
    whole = mask[:, WINDOW - 1 :: WINDOW_HOP].float()  # windows that end within the clip
    return ((over_time + over_bands) / 2 * whole).sum(1) / whole.sum(1).clamp(min=1)


def _windows(spectrogram: torch.Tensor) -> torch.Tensor:
    """(B, L, bins) -> amplitudes of the bands, (B, windows, 15, WINDOW)."""
    with torch.autocast(spectrogram.device.type, enabled=False):
        amplitude_squares = torch.exp(2 * spectrogram.float())
        weights = third_octave_weights(spectrogram.shape[-1])
        power = amplitude_squares @ torch.from_numpy(weights).to(amplitude_squares)
    return torch.sqrt(power + _SMALLEST_POWER).unfold(1, WINDOW, WINDOW_HOP)


def _normal(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Without its mean, and of norm 1."""
    x = x - x.mean(dim, keepdim=True)
    return x / (x.norm(dim=dim, keepdim=True) + _SMALLEST_NORM)
