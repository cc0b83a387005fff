"""Distance between the spectra of speech and reference, in decibels."""

import math

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram, stft_magnitude
from ..constants import HOP_LENGTH, MEL_WINDOW, NUM_MEL_BINS
from ..errors import UndefinedMetricError
from ..extras import require_extra
from .alignment import match_length

DYNAMIC_RANGE = 80.0  # dB below the reference's loudest bin: anything quieter counts as silent
CEPSTRA = 13  # coefficients 1..13, as is usual


def log_spectral_distance(reference: np.ndarray, speech: np.ndarray) -> float:
    """Log-spectral distance in dB, 0 for the reference itself; 6 dB is a factor of 2 in every bin.

    Per frame the root mean square over frequency of 20 log10 |S| - 20 log10 |S'|, then the mean over frames
    (Gray, Markel, "Distance measures for speech processing", IEEE TASSP 1976). Frames of 40 ms every 10 ms,
    Hann window, 0 to 8 kHz; both spectra are floored 80 dB below the reference's loudest bin. Loudness
    counts.

    Args:
        reference: (N,) recording, 16 kHz mono, N >= 640, not silent.
        speech: (M,) speech to score, 16 kHz mono; cut or padded to the reference's length, never shifted.

    Raises:
        UndefinedMetricError: the reference is shorter than 640 samples or silent.
    """
    reference, speech = match_length(reference, speech)
    if len(reference) < MEL_WINDOW or not reference.any():
        raise UndefinedMetricError(
            f"The reference has {len(reference)} samples and a peak of {np.abs(reference).max():.3g}; "
            f"expected at least {MEL_WINDOW} samples, not all silent. Leave the clip out."
        )
    spectra = stft_magnitude(torch.from_numpy(np.stack([reference, speech])), MEL_WINDOW, HOP_LENGTH)
    floor = float(spectra[0].max()) * 10 ** (-DYNAMIC_RANGE / 20)
    decibels = 20 * spectra.clamp(min=floor).log10()  # (2, F, 321)
    return float((decibels[0] - decibels[1]).square().mean(dim=-1).sqrt().mean())


def mel_cepstra(waveform: np.ndarray, count: int = CEPSTRA) -> np.ndarray:
    """Mel cepstral coefficients 1..count of 16 kHz speech, without c0, the loudness.

    c_k = 2 / 80 * sum over m of L_m cos(pi k (m + 1/2) / 80), where L_m is the natural-log amplitude of mel
    bin m (`log_mel_spectrogram`, 40 ms every 10 ms).

    Args:
        waveform: float (N,), N > 320.

    Returns:
        float64 (N // 160 + 1, count).
    """
    log_mel = log_mel_spectrogram(torch.from_numpy(np.asarray(waveform, dtype=np.float64))).double().numpy()
    return require_extra("scipy.fft", "eval").dct(log_mel)[:, 1 : count + 1] / NUM_MEL_BINS


def mel_cepstral_distortion(reference: np.ndarray, speech: np.ndarray, *, dtw: bool = False) -> float:
    """Mel cepstral distortion in dB, 0 for the reference itself; under 8 is usual for good synthesis.

    10 / ln 10 * sqrt(2 * sum over k = 1..13 of (c_k - c'_k)^2), the mean over frames (Kubichek, "Mel-cepstral
    distance measure for objective speech quality assessment", 1993). c_0 is excluded: loudness does not
    count. The cepstra are those of `mel_cepstra`; papers that use WORLD or STRAIGHT get other values.

    Args:
        reference: (N,) recording, 16 kHz mono, N > 320.
        speech: (M,) speech to score, 16 kHz mono.
        dtw: False: frame by frame, speech cut or padded to the reference's length. True: over the cheapest
            path of dynamic time warping (steps of one frame in either or both), the mean over the path, both
            at their own lengths. That forgives wrong timing, so call it "MCD-DTW".

    Raises:
        UndefinedMetricError: 320 samples or fewer.
    """
    true, given = match_length(reference, speech)
    if dtw:
        given = np.asarray(speech, dtype=np.float64)
    if (shortest := min(len(true), len(given))) <= MEL_WINDOW // 2:
        raise UndefinedMetricError(
            f"A signal has {shortest} samples; expected more than {MEL_WINDOW // 2}. Leave the clip out."
        )
    true, given = mel_cepstra(true), mel_cepstra(given)
    if not dtw:
        return float(_distortion(true - given).mean())
    return _mean_along_cheapest_path(_distortion(true[:, None] - given[None]))  # of (F, F') costs


def _distortion(differences: np.ndarray) -> np.ndarray:
    return 10 / math.log(10) * np.sqrt(2 * (differences**2).sum(axis=-1))


def _mean_along_cheapest_path(costs: np.ndarray) -> float:
    """Dynamic time warping over (N, M) costs from corner to corner, one anti-diagonal at a time.

    Sakoe, Chiba, "Dynamic programming algorithm optimization for spoken word recognition", IEEE TASSP 1978,
    with equal weights for all three steps.
    """
    rows, columns = costs.shape
    # Entry i + 1 of each is row i of an anti-diagonal: (total, length) of the cheapest path up to there.
    before = np.full((2, rows + 1), np.inf)
    before[:, 0] = 0  # the path starts here
    last = np.full((2, rows + 1), np.inf)
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(diagonal, rows - 1) + 1)
        steps = np.stack([before[:, i], last[:, i], last[:, i + 1]])  # both, a row, a column: (3, 2, n)
        cheapest = steps[steps[:, 0].argmin(axis=0), :, np.arange(len(i))].T  # (2, n)
        new = np.full((2, rows + 1), np.inf)
        new[0, i + 1] = cheapest[0] + costs[i, diagonal - i]
        new[1, i + 1] = cheapest[1] + 1
        before, last = last, new
    total, length = last[:, rows]
    return float(total / length)
