"""The log-mel spectrogram that the model predicts and the vocoder reads; MFCC, for units without a HuBERT.

The published targets (Choi, Kim, Ro, Interspeech 2023) are Slaney mels of 40 ms windows every 10 ms. HuBERT
itself began with clusters of MFCCs and their differences (Hsu et al., "HuBERT", 2021, section 4.1).
"""

import math
from functools import lru_cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from transformers.audio_utils import hertz_to_mel, mel_filter_bank

from ..constants import HOP_LENGTH, MEL_FLOOR, MEL_WINDOW, NUM_MEL_BINS, SAMPLES_PER_UNIT, SAMPLING_RATE
from ..errors import Lip2SpeechError

MFCC_WINDOW = 640  # samples (40 ms)
MFCC_MEL_BINS = 40
POWER_FLOOR = 1e-8  # about 80 dB below loud speech: quieter sound counts as silence
DELTA_REACH = 2  # units to either side that a slope is taken over
ITERATIONS, MOMENTUM = 32, 0.99  # of Griffin and Lim


# An array and not a tensor: a tensor that was made under torch.inference_mode() could never be trained with.
@lru_cache(maxsize=16)
def slaney_filters(frequencies: int, num_mel_bins: int) -> np.ndarray:
    """Slaney mel filters of a 16 kHz spectrum, 0 to 8000 Hz: float64 (frequencies, bins)."""
    return mel_filter_bank(
        num_frequency_bins=frequencies,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLING_RATE / 2,
        sampling_rate=SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )


def stft_magnitude(waveform: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """Magnitudes of a short-time Fourier transform with a periodic Hann window, without padding: (B, N), N >=
    n_fft -> (B, (N - n_fft) // hop_length + 1, n_fft // 2 + 1), of the same dtype, float32 or float64."""
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, n_fft, hop_length, window=window, center=False, return_complex=True)
    return spectrum.abs().transpose(1, 2)


def to_mel(spectrum: torch.Tensor, num_mel_bins: int) -> torch.Tensor:
    """Sum a 16 kHz spectrum into Slaney mel bins, 0 to 8000 Hz: (..., F) -> (..., num_mel_bins)."""
    filters = slaney_filters(spectrum.shape[-1], num_mel_bins)
    return spectrum @ torch.from_numpy(filters).to(spectrum)


def mel_height(hertz: float) -> float:
    """The place of a frequency on the mel axis, from 0 (0 Hz) to 1 (8000 Hz)."""
    mel = partial(hertz_to_mel, mel_scale="slaney")
    return float(mel(float(hertz)) / mel(SAMPLING_RATE / 2))


def log_mel_spectrogram(waveform: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Natural-log mel spectrogram at 100 Hz, as the published targets hold it.

    Reflect padding of 320 samples on both sides, Fourier transform of 640 samples every 160 with a periodic
    Hann window, magnitude, Slaney mel filter bank (80 bins, 0 to 8000 Hz), clamp at 1e-5, natural logarithm.

    Args:
        waveform: float (..., N), 16 kHz mono in [-1, 1], N > 320.
        dtype: in which it is computed (float32 on Apple's GPUs, which have no float64). With float32 the mean
            distance to a published file is up to 1.4e-6, with float64 0.6e-6; losses need float32 only.

    Returns:
        float32 (..., N // 160 + 1, 80), between log(1e-5) = -11.5 and about 2. For T video frames (N = 640 T)
        there are 4T + 1 mel frames; the model's target is the first 4T.

    Raises:
        Lip2SpeechError: the waveform is too short to be mirrored at its ends.
    """
    samples = waveform.shape[-1]
    padding = MEL_WINDOW // 2
    if samples <= padding:
        raise Lip2SpeechError(
            f"A log-mel spectrogram needs more than {padding} samples (20 ms at 16 kHz), got {samples}. "
            "Pad the recording with silence or leave it out."
        )
    if waveform.device.type == "mps":
        dtype = torch.float32
    batch = F.pad(waveform.reshape(-1, samples).to(dtype), (padding, padding), mode="reflect")
    mel = to_mel(stft_magnitude(batch, MEL_WINDOW, HOP_LENGTH), NUM_MEL_BINS)  # (B, N // 160 + 1, 80)
    return mel.clamp(min=MEL_FLOOR).log().float().reshape(*waveform.shape[:-1], -1, NUM_MEL_BINS)


def griffin_lim(log_mel: torch.Tensor) -> torch.Tensor:
    """A voice for mels without a vocoder: natural-log mel (frames, 80) at 100 Hz -> waveform (160 * frames,)
    at 16 kHz. Deterministic: the phase starts at 0.

    D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984; with the
    momentum of Perraudin, Balazs, Sondergaard, "A fast Griffin-Lim algorithm", 2013.
    """
    bins = MEL_WINDOW // 2 + 1
    mel = log_mel.detach().cpu().double().exp()
    inverse = torch.linalg.pinv(torch.from_numpy(slaney_filters(bins, NUM_MEL_BINS)))
    magnitude = (mel @ inverse).clamp(min=0)
    magnitude = torch.cat([magnitude, magnitude[-1:]]).T  # a frame more, as N samples have N // 160 + 1
    window = torch.hann_window(MEL_WINDOW, dtype=torch.float64)

    def to_waveform(spectrum: torch.Tensor) -> torch.Tensor:
        length = HOP_LENGTH * len(log_mel)
        return torch.istft(spectrum, MEL_WINDOW, HOP_LENGTH, window=window, length=length)

    spectrum, previous = magnitude.to(torch.complex128), 0.0
    for _ in range(ITERATIONS):
        consistent = torch.stft(
            to_waveform(spectrum), MEL_WINDOW, HOP_LENGTH, window=window, return_complex=True
        )
        ahead = consistent + MOMENTUM * (consistent - previous)
        spectrum = magnitude * ahead / ahead.abs().clamp(min=1e-12)
        previous = consistent
    return to_waveform(spectrum).clamp(-1, 1).float()


def mfcc(waveform: torch.Tensor, num_coefficients: int = 13) -> torch.Tensor:
    """Cepstral coefficients with the unit of 20 ms in the middle of their window, the first of them the
    energy.

    A waveform (B, N), 16 kHz in [-1, 1] -> float32 (B, N // 320, num_coefficients). Sound before the start
    and after the end counts as silence.
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
    """Append the slopes over time of features (B, U, D), and the slopes of those: (B, U, 3 D).

    `lengths` (B,) are the valid units of each row, whose first and last unit are repeated beyond its ends.
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
