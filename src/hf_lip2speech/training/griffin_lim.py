"""A voice for predicted mels without a vocoder: phase by Griffin and Lim's iteration.

D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984; with the momentum of
Perraudin, Balazs, Sondergaard, "A fast Griffin-Lim algorithm", 2013.
"""

from __future__ import annotations

import torch

from ..audio.mel import to_mel
from ..constants import HOP_LENGTH, MEL_WINDOW, NUM_MEL_BINS

MOMENTUM = 0.99


def griffin_lim(log_mel: torch.Tensor, iterations: int = 32) -> torch.Tensor:
    """Natural-log mel (frames, 80) at 100 Hz -> waveform (160 * frames,) at 16 kHz. Deterministic: the phase
    starts at 0."""
    bins = MEL_WINDOW // 2 + 1
    filters = to_mel(torch.eye(bins, dtype=torch.float64), NUM_MEL_BINS)  # (bins, 80)
    mel = log_mel.detach().cpu().double().exp()
    magnitude = (mel @ torch.linalg.pinv(filters)).clamp(min=0)
    magnitude = torch.cat([magnitude, magnitude[-1:]]).T  # a frame more, as N samples have N // 160 + 1
    window = torch.hann_window(MEL_WINDOW, dtype=torch.float64)
    length = HOP_LENGTH * len(log_mel)

    def to_waveform(spectrum: torch.Tensor) -> torch.Tensor:
        return torch.istft(spectrum, MEL_WINDOW, HOP_LENGTH, window=window, length=length)

    spectrum, previous = magnitude.to(torch.complex128), 0.0
    for _ in range(iterations):
        consistent = torch.stft(
            to_waveform(spectrum), MEL_WINDOW, HOP_LENGTH, window=window, return_complex=True
        )
        ahead = consistent + MOMENTUM * (consistent - previous)
        spectrum = magnitude * ahead / ahead.abs().clamp(min=1e-12)
        previous = consistent
    return to_waveform(spectrum).clamp(-1, 1).float()
