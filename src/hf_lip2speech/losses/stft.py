"""Spectral losses of several resolutions, for a vocoder that is trained without discriminators.

Yamamoto, Song, Kim, "Parallel WaveGAN" (ICASSP 2020), section 2.2: log-magnitudes and spectral convergence.
"""

from collections.abc import Sequence

import torch

WINDOWS = (256, 512, 1024, 2048)  # samples
_FLOOR = 1e-4  # about the magnitude of 16-bit rounding noise


def stft_distances(fake: torch.Tensor, real: torch.Tensor, windows: Sequence[int] = WINDOWS) -> torch.Tensor:
    """Distance of two batches of waveforms (B, N), N at least the largest window: float32 (B,).

    Per window, hops of a quarter: the mean absolute difference of natural-log magnitudes, plus the norm of
    the difference relative to that of `real`; the mean over windows.
    """
    total = torch.zeros(len(real), device=real.device)
    with torch.autocast(fake.device.type, enabled=False):
        for window in windows:
            given, true = (_magnitude(waveform.float(), window) for waveform in (fake, real))
            total = total + (given.log() - true.log()).abs().mean(dim=(1, 2))
            norms = torch.linalg.vector_norm(true, dim=(1, 2))
            total = total + torch.linalg.vector_norm(given - true, dim=(1, 2)) / norms
    return total / len(windows)


def _magnitude(waveform: torch.Tensor, window: int) -> torch.Tensor:
    weights = torch.hann_window(window, device=waveform.device)
    spectrum = torch.stft(waveform, window, window // 4, window=weights, center=False, return_complex=True)
    power = spectrum.real**2 + spectrum.imag**2  # abs() has no gradient at 0
    return power.clamp(min=_FLOOR**2).sqrt()


__all__ = ["WINDOWS", "stft_distances"]
