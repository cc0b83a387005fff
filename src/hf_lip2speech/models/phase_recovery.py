"""Short-time Fourier transforms as matrix products, and a phase for given magnitudes.

Frames of 640 samples every 160 with a periodic Hann window; frame t is centred on sample 160 t, and phases
refer to the centre. Spectra are real tensors (..., 642): 321 real parts, then 321 imaginary parts. Complex
numbers and Fourier operators are avoided, since not every exporter knows them.

D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984; with the momentum of
Perraudin, Balazs, Sondergaard, "A fast Griffin-Lim algorithm", 2013.
"""

import math

import numpy as np
import torch

from ..audio.mel import slaney_filters
from ..constants import HOP_LENGTH, MEL_WINDOW, SAMPLING_RATE

BINS = MEL_WINDOW // 2 + 1
BIN_HERTZ = SAMPLING_RATE / MEL_WINDOW
OVERLAP = MEL_WINDOW // HOP_LENGTH  # frames that cover a sample
REACH = OVERLAP - 1  # frames on either side whose windows overlap with that of a frame
NOISE_FRAMES = 512

_MOMENTUM = 0.9
_SOFTNESS = 0.3  # of a phase: what is this much quieter than its magnitude asks for is not raised to it
_QUIETEST = 0.1  # of an interpolated magnitude: the least that the inverse of the mel filters may give


class PhaseRecovery:
    """Constant matrices, and what is computed by them. No module: a constant stays float32 when a model is
    cast, and is in no checkpoint."""

    def __init__(self):
        time = np.arange(MEL_WINDOW) - MEL_WINDOW // 2
        window = 0.5 + 0.5 * np.cos(2 * math.pi * time / MEL_WINDOW)
        angles = 2 * math.pi * np.arange(BINS) * time[:, None] / MEL_WINDOW
        analysis = np.concatenate([np.cos(angles), -np.sin(angles)], axis=1) * window[:, None]
        share = np.full(2 * BINS, 2 / MEL_WINDOW)
        share[[0, BINS - 1, BINS, -1]] /= 2  # the bins that have no twin at a negative frequency
        squares = (window**2).sum() / HOP_LENGTH  # sum of the windows that cover a sample
        self._analysis = _constant(analysis)
        self._synthesis = _constant((analysis * share).T / squares)
        noise = np.random.RandomState(0).standard_normal(NOISE_FRAMES * HOP_LENGTH)
        around = np.arange(NOISE_FRAMES)[:, None] * HOP_LENGTH + time
        spectra = noise.take(around, mode="wrap") @ analysis
        self._noise = _constant(spectra / np.tile(np.hypot(spectra[:, :BINS], spectra[:, BINS:]), 2))

    def waveform(self, spectra: torch.Tensor) -> torch.Tensor:
        """Inverse transform: (B, L, 642) -> (B, 160 L)."""
        frames = spectra.shape[1]
        return self._blocks(spectra)[:, OVERLAP // 2 : OVERLAP // 2 + frames].flatten(1)

    def noise(self, first_frame: int, frames: int, device: torch.device) -> torch.Tensor:
        """Spectra of white noise without their magnitudes, the same at each call: (frames, 642)."""
        index = (torch.arange(frames, device=device) + first_frame) % NOISE_FRAMES
        return self._noise.to(device)[index]

    def recover(self, magnitude: torch.Tensor, spectra: torch.Tensor, iterations: int) -> torch.Tensor:
        """Spectra with these magnitudes (B, L, 321) and nearly the phases of `spectra` (B, L, 642).

        Each iteration takes the phases of the transform of the waveform, and needs 3 frames more on either
        side. A phase that is hardly defined, since almost nothing is there, is damped: so the result is a
        smooth function of its arguments.
        """
        spectra, previous = _with_magnitude(magnitude, spectra, scale=1.0), None
        for _ in range(iterations):
            consistent = self._transform(self._blocks(spectra))
            ahead = consistent
            if previous is not None:
                ahead = consistent + _MOMENTUM * (consistent - previous)
            previous = consistent
            spectra = _with_magnitude(magnitude, ahead, scale=magnitude)
        return spectra

    def _blocks(self, spectra: torch.Tensor) -> torch.Tensor:
        """Overlapping frames added: (B, L, 642) -> hops -2 to L of the waveform, (B, L + 3, 160)."""
        pieces = (spectra @ self._synthesis.to(spectra.device)).chunk(OVERLAP, dim=-1)
        total = 0
        for index, piece in enumerate(pieces):
            total = total + torch.nn.functional.pad(piece, (0, 0, index, REACH - index))
        return total

    def _transform(self, blocks: torch.Tensor) -> torch.Tensor:
        frames = blocks.shape[1] - REACH
        pieces = [blocks[:, index : index + frames] for index in range(OVERLAP)]
        return torch.cat(pieces, dim=-1) @ self._analysis.to(blocks.device)


def _with_magnitude(magnitude: torch.Tensor, spectra: torch.Tensor, scale: float | torch.Tensor):
    real, imaginary = spectra.chunk(2, dim=-1)
    # A clamp: torch's ONNX exporter leaves out the addition of so small a number.
    size = torch.sqrt((real**2 + imaginary**2 + (_SOFTNESS * scale) ** 2).clamp(min=1e-12))
    gain = magnitude / size
    return torch.cat([real * gain, imaginary * gain], dim=-1)


def _constant(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))  # on the CPU even where transformers builds on "meta"


class MagnitudeOfMel:
    """Natural-log magnitudes of a log-mel spectrogram, (..., bins) -> (..., 321): the mel filters' inverse,
    and at least a tenth of an interpolation."""

    def __init__(self, num_mel_bins: int):
        filters = slaney_filters(BINS, num_mel_bins)
        gain = filters.sum(axis=0)
        centres = (filters * np.arange(BINS)[:, None]).sum(axis=0) / gain
        interpolation = [np.interp(np.arange(BINS), centres, unit) for unit in np.eye(num_mel_bins)]
        self._inverse = _constant(np.linalg.pinv(filters))
        self._interpolation, self._log_gain = _constant(np.stack(interpolation)), _constant(np.log(gain))

    def __call__(self, log_mel: torch.Tensor) -> torch.Tensor:
        device = log_mel.device
        smooth = (log_mel - self._log_gain.to(device)) @ self._interpolation.to(device)
        exact = log_mel.exp() @ self._inverse.to(device)
        return torch.maximum(exact, _QUIETEST * smooth.exp()).log()


def harmonics(f0: torch.Tensor, phase: torch.Tensor) -> torch.Tensor:
    """Spectra of equally strong harmonics, at most 1 in size.

    Args:
        f0: (B, L) in Hz, > 0.
        phase: (B, L), of the first harmonic, in cycles.

    Returns:
        (B, L, 642).

    A bin between two harmonics hears both, each the less the further away it is.
    """
    ratio = torch.arange(BINS, device=f0.device) * BIN_HERTZ / f0[..., None]
    lower = ratio.floor()
    share = torch.sin(math.pi / 2 * (ratio - lower)) ** 2  # of the upper neighbour
    share = torch.where(lower < 1, torch.ones_like(share), share)  # there is no harmonic 0
    low, high = (2 * math.pi * _fraction(k * phase[..., None]) for k in (lower, lower + 1))
    real = (1 - share) * low.cos() + share * high.cos()
    imaginary = (1 - share) * low.sin() + share * high.sin()
    return torch.cat([real, imaginary], dim=-1)


def comb(f0: torch.Tensor) -> torch.Tensor:
    """1 at the harmonics of F0 (B, L) in Hz, -1 between them: (B, L, 321)."""
    ratio = torch.arange(BINS, device=f0.device) * BIN_HERTZ / f0[..., None]
    return torch.cos(2 * math.pi * _fraction(ratio))


def raised(f0: torch.Tensor, semitones: float) -> torch.Tensor:
    """F0 in Hz, raised by semitones; 0, unvoiced, stays 0."""
    return f0 * 2.0 ** (semitones / 12)


def phase_of(f0: torch.Tensor, first_phase: torch.Tensor | None = None) -> torch.Tensor:
    """Cycles, 0 to 1, that a voice of this F0 (B, L) in Hz has made at each frame; `first_phase` (B,) is that
    of the frame before."""
    wide = torch.float32 if f0.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    cycles = torch.cumsum(f0.to(wide) * (HOP_LENGTH / SAMPLING_RATE), dim=1)
    if first_phase is not None:
        cycles = cycles + first_phase.to(cycles)[:, None]
    return _fraction(cycles)


def _fraction(values: torch.Tensor) -> torch.Tensor:
    return values - values.floor()


__all__ = ["BINS", "REACH", "MagnitudeOfMel", "PhaseRecovery", "comb", "harmonics", "phase_of", "raised"]
