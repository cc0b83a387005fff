"""The log-mel spectrogram that the model predicts and the vocoder reads, and the filters of every mel here.

The published targets (Choi, Kim, Ro, Interspeech 2023) are Slaney mels of 40 ms windows every 10 ms.
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank

from ..constants import HOP_LENGTH, MEL_FLOOR, MEL_WINDOW, NUM_MEL_BINS, SAMPLING_RATE
from ..errors import Lip2SpeechError


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
    """Magnitudes of a short-time Fourier transform with a periodic Hann window, without padding.

    Args:
        waveform: float32 or float64 (B, N), N >= n_fft.

    Returns:
        (B, (N - n_fft) // hop_length + 1, n_fft // 2 + 1), same dtype.
    """
    window = torch.hann_window(n_fft, dtype=waveform.dtype, device=waveform.device)
    spectrum = torch.stft(waveform, n_fft, hop_length, window=window, center=False, return_complex=True)
    return spectrum.abs().transpose(1, 2)


def to_mel(spectrum: torch.Tensor, num_mel_bins: int) -> torch.Tensor:
    """Sum a 16 kHz spectrum into Slaney mel bins, 0 to 8000 Hz: (..., F) -> (..., num_mel_bins)."""
    filters = slaney_filters(spectrum.shape[-1], num_mel_bins)
    return spectrum @ torch.from_numpy(filters).to(spectrum)


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
