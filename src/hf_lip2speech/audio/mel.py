"""The log-mel spectrogram that the model predicts and the vocoder reads.

The published targets (Choi, Kim, Ro, Interspeech 2023) are Slaney mels of 40 ms windows every 10 ms.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank

from ..constants import HOP_LENGTH, MEL_FLOOR, MEL_WINDOW, NUM_MEL_BINS, SAMPLING_RATE
from ..errors import Lip2SpeechError


@lru_cache(maxsize=16)
def _hann_window(length: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.hann_window(length, periodic=True, dtype=dtype, device=device)


@lru_cache(maxsize=16)
def _mel_filters(
    frequencies: int, num_mel_bins: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    filters = mel_filter_bank(
        num_frequency_bins=frequencies,
        num_mel_filters=num_mel_bins,
        min_frequency=0.0,
        max_frequency=SAMPLING_RATE / 2,
        sampling_rate=SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).to(device, dtype)


def stft_magnitude(waveform: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """Magnitudes of a short-time Fourier transform with a periodic Hann window, without padding.

    Args:
        waveform: float32 or float64 (B, N), N >= n_fft.

    Returns:
        (B, (N - n_fft) // hop_length + 1, n_fft // 2 + 1), same dtype.
    """
    window = _hann_window(n_fft, waveform.dtype, waveform.device)
    spectrum = torch.stft(waveform, n_fft, hop_length, window=window, center=False, return_complex=True)
    return spectrum.abs().transpose(1, 2)


def to_mel(spectrum: torch.Tensor, num_mel_bins: int) -> torch.Tensor:
    """Sum a 16 kHz spectrum into Slaney mel bins, 0 to 8000 Hz: (..., F) -> (..., num_mel_bins)."""
    return spectrum @ _mel_filters(spectrum.shape[-1], num_mel_bins, spectrum.dtype, spectrum.device)


def log_mel_spectrogram(waveform: torch.Tensor) -> torch.Tensor:
    """Natural-log mel spectrogram at 100 Hz, as the published targets hold it.

    Reflect padding of 320 samples on both sides, Fourier transform of 640 samples every 160 with a periodic
    Hann window, magnitude, Slaney mel filter bank (80 bins, 0 to 8000 Hz), clamp at 1e-5, natural logarithm.

    Args:
        waveform: float (..., N), 16 kHz mono in [-1, 1], N > 320.

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
    # In float32 the mean distance to a published file is up to 1.4e-6, in float64 0.6e-6 (near-silent bins).
    # Apple's GPUs have no float64.
    precision = torch.float32 if waveform.device.type == "mps" else torch.float64
    batch = F.pad(waveform.reshape(-1, samples).to(precision), (padding, padding), mode="reflect")
    mel = to_mel(stft_magnitude(batch, MEL_WINDOW, HOP_LENGTH), NUM_MEL_BINS)  # (B, N // 160 + 1, 80)
    return mel.clamp(min=MEL_FLOOR).log().float().reshape(*waveform.shape[:-1], -1, NUM_MEL_BINS)
