"""What STOI and ESTOI measure, with gradients: of a predicted mel, or of the speech itself.

Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted noisy speech", IEEE TASLP
2011; Jensen and Taal, "An algorithm for predicting the intelligibility of speech masked by modulated noise
maskers", IEEE/ACM TASLP 2016.
"""

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from ..audio.mel import slaney_filters
from ..constants import HOP_LENGTH, MEL_WINDOW, SAMPLING_RATE
from .lags import best_lags, move_labels

NUM_BANDS = 15
LOWEST_CENTRE = 150.0  # Hz
WINDOW = round(0.384 * SAMPLING_RATE / HOP_LENGTH)  # 38 mel frames
WINDOW_HOP = 4
LARGEST_RATIO = 1 + 10 ** (15 / 20)  # STOI clips predicted amplitudes at an error 15 dB above the truth
STFT_WINDOW, STFT_HOP, FFT_SIZE = 410, 205, 1024  # samples at 16 kHz: 25.6 ms, as STOI's at 10 kHz
SEGMENT, SEGMENT_HOP = 30, 2  # of these windows: 0.38 s
SHORTEST = STFT_WINDOW + (SEGMENT - 1) * STFT_HOP  # samples of a segment
LEAST_POWER = 1e-4  # of the loudest window's: those that are quieter by more than 40 dB do not count
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
    return lines.T @ third_octave_bands(MEL_WINDOW)


@lru_cache
def third_octave_bands(fft_size: int) -> np.ndarray:
    """bool (fft_size // 2 + 1, 15): which spectral lines are in which of STOI's third-octave bands."""
    frequencies = np.arange(fft_size // 2 + 1) * SAMPLING_RATE / fft_size
    centres = LOWEST_CENTRE * 2 ** (np.arange(NUM_BANDS) / 3)
    inside = np.abs(np.log2(frequencies[:, None].clip(1e-3) / centres)) < 1 / 6
    nearest = np.abs(frequencies[:, None] - centres).argmin(axis=0)
    inside[nearest, np.arange(NUM_BANDS)] = True  # a band narrower than the lines' distance
    return inside


def stoi_like_correlation(
    spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Mean of a STOI-like and an ESTOI-like correlation for each clip: how well the third-octave envelopes of
    a predicted mel follow the true ones.

    Taal et al., IEEE TASLP 2011 (STOI); Jensen and Taal, IEEE/ACM TASLP 2016 (ESTOI); computed from the mel
    itself, without a waveform, and on all frames, silent ones too.

    Args:
        spectrogram, labels: (B, L, bins), natural-log mel at 100 Hz, predicted and true.
        mask: bool (B, L), true where both are valid: the first frames of each clip.

    Returns:
        float32 (B,), in [-1, 1]; 0, without gradient, for a clip shorter than the window of 0.38 s.
    """
    if spectrogram.shape[1] < WINDOW:
        return spectrogram.new_zeros(len(spectrogram), dtype=torch.float32)
    predicted, true = _windows(spectrogram), _windows(labels)  # (B, W, 15, WINDOW)
    over_time, over_bands = _correlations(predicted, true)
    whole = mask[:, WINDOW - 1 :: WINDOW_HOP].float()  # windows that end within the clip
    return ((over_time + over_bands) / 2 * whole).sum(1) / whole.sum(1).clamp(min=1)


def _windows(spectrogram: torch.Tensor) -> torch.Tensor:
    """(B, L, bins) -> amplitudes of the bands, (B, windows, 15, WINDOW)."""
    with torch.autocast(spectrogram.device.type, enabled=False):
        amplitude_squares = torch.exp(2 * spectrogram.float())
        weights = third_octave_weights(spectrogram.shape[-1])
        power = amplitude_squares @ torch.from_numpy(weights).to(amplitude_squares)
    return torch.sqrt(power + _SMALLEST_POWER).unfold(1, WINDOW, WINDOW_HOP)


def _correlations(given: torch.Tensor, true: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """STOI's and ESTOI's intermediate measures of segments (B, S, 15, windows): both (B, S)."""
    x, y = _normal(given, -1), _normal(true, -1)
    as_loud = given * (true.norm(dim=-1, keepdim=True) / given.norm(dim=-1, keepdim=True))
    clipped = torch.minimum(as_loud, LARGEST_RATIO * true)
    over_time = (_normal(clipped, -1) * y).sum(-1).mean(-1)
    over_bands = (_normal(x, -2) * _normal(y, -2)).sum(-2).mean(-1)
    return over_time, over_bands


def _normal(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Without its mean, and of norm 1."""
    x = x - x.mean(dim, keepdim=True)
    return x / (x.norm(dim=dim, keepdim=True) + _SMALLEST_NORM)


def stoi_and_estoi(speech: torch.Tensor, recording: torch.Tensor) -> torch.Tensor:
    """STOI and ESTOI of waveforms at 16 kHz, (B, N) -> (B, 2), on every second segment; a segment counts if
    half of it is within 40 dB of the recording's loudest window. 0, without gradient, for waveforms shorter
    than a segment (0.4 s)."""
    if speech.shape[1] < SHORTEST:
        return speech.new_zeros(len(speech), 2, dtype=torch.float32)
    given, true = _bands(speech), _bands(recording)  # (B, windows, 15)
    power = true.square().sum(-1)
    heard = (power > LEAST_POWER * power.amax(1, keepdim=True)).float()
    given, true, heard = (x.unfold(1, SEGMENT, SEGMENT_HOP) for x in (given, true, heard))
    scores = torch.stack(_correlations(given, true), dim=-1)  # (B, segments, 2)
    counts = (heard.mean(-1) > 0.5).float()[..., None]
    return (scores * counts).sum(1) / counts.sum(1).clamp(min=1)


def _bands(waveform: torch.Tensor) -> torch.Tensor:
    """(B, N) -> amplitudes of the third-octave bands, (B, windows, 15)."""
    device = waveform.device
    inside = torch.from_numpy(third_octave_bands(FFT_SIZE)).to(device, torch.float32)
    with torch.autocast(device.type, enabled=False):
        window = torch.hann_window(STFT_WINDOW, device=device)
        sizes = (FFT_SIZE, STFT_HOP, STFT_WINDOW, window)
        padded = F.pad(waveform.float(), 2 * [(FFT_SIZE - STFT_WINDOW) // 2])
        spectrum = torch.stft(padded, *sizes, center=False, return_complex=True)
        power = (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2) @ inside
    return torch.sqrt(power + _SMALLEST_POWER)


def intelligibility_loss(
    speech: torch.Tensor,
    recording: torch.Tensor,
    spectrogram: torch.Tensor,
    true_mel: torch.Tensor,
    mel_mask: torch.Tensor,
    predicted: torch.Tensor,
    max_lag: int,
) -> torch.Tensor:
    """1 - the mean of STOI and ESTOI of speech and recording: scalar.

    Args:
        speech, recording: (B, 160 L).
        spectrogram, true_mel: (B, L, bins), the mel that the speech was made of and the recording's.
        mel_mask: bool (B, L), true inside a clip.
        predicted: bool (B,), true where `spectrogram` is a model's and not the recording's.
        max_lag: by how many mel frames the recording may lag behind a predicted mel, to either side. It is
            moved by the lag that fits best and then by that of another predicted clip of the batch, so that
            the model cannot memorise lags; a batch's only predicted clip is not moved.
    """
    # Recordings may be scaled to a peak, predictions are as loud as their training data.
    weights = mel_mask[..., None] / (mel_mask.sum(1) * true_mel.shape[2]).clamp(min=1)[:, None, None]
    given, heard = (x - (x * weights).sum((1, 2), keepdim=True) for x in (spectrogram.float(), true_mel))
    lags = best_lags(given, heard, mel_mask, max_lag) * predicted
    moves = lags.clone()
    moves[predicted] -= lags[predicted].roll(1)
    moved = move_labels(recording, HOP_LENGTH * moves, HOP_LENGTH * mel_mask.sum(1))
    return 1 - stoi_and_estoi(speech, moved).mean()
