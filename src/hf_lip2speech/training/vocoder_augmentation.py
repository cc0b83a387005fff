"""Blur and noise on the vocoder's mel input, so that it learns to rely on the units where the mel is poor.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units" (Interspeech 2023), section 2.3: the
mel is blurred and then given noise; the units, the speaker and the target waveform stay as they are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..errors import Lip2SpeechError


@dataclass(frozen=True, kw_only=True)
class MelAugmentation:
    """Gaussian blur over time and frequency, of one strength per clip, then white noise.

    Args:
        kernel_size: odd side of the blur's window, in frames and bins.
        sigma_min, sigma_max: the blur's standard deviation is drawn evenly between them.
        noise_std: standard deviation of the noise, in units of the natural-log mel.
        probability: chance that a clip is augmented at all.
    """

    kernel_size: int = 9
    sigma_min: float = 0.1
    sigma_max: float = 1.0
    noise_std: float = 1.0
    probability: float = 1.0

    def __post_init__(self):
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise Lip2SpeechError(
                f"MelAugmentation's kernel_size is {self.kernel_size}; it must be odd and positive."
            )
        if not 0 < self.sigma_min <= self.sigma_max:
            raise Lip2SpeechError(
                f"MelAugmentation's sigmas are {self.sigma_min} to {self.sigma_max}; give 0 < sigma_min <= "
                "sigma_max."
            )
        if self.noise_std < 0 or not 0 <= self.probability <= 1:
            raise Lip2SpeechError(
                f"MelAugmentation's noise_std is {self.noise_std} and its probability {self.probability}; "
                "the first must not be negative and the second must be in [0, 1]."
            )

    def __call__(self, mel: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Augment one clip's log-mel (frames, bins); an equal generator state gives an equal result."""
        if mel.ndim != 2:
            raise Lip2SpeechError(
                f"MelAugmentation was given shape {tuple(mel.shape)}; expected one (frames, bins) mel."
            )
        chance, position = torch.rand(2, generator=generator).tolist()
        if chance >= self.probability:
            return mel
        sigma = self.sigma_min + (self.sigma_max - self.sigma_min) * position
        noise = torch.randn(mel.shape, generator=generator, dtype=mel.dtype)
        return blur(mel, sigma, self.kernel_size) + self.noise_std * noise.to(mel.device)


def blur(mel: torch.Tensor, sigma: float, kernel_size: int = 9) -> torch.Tensor:
    """Convolve (frames, bins) with a Gaussian of deviation `sigma` on both axes; the edges are repeated."""
    half = kernel_size // 2
    offsets = torch.arange(-half, half + 1, dtype=mel.dtype, device=mel.device)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights = weights / weights.sum()
    # Repeated, not reflected, edges: a clip may be shorter than the window.
    image = F.pad(mel[None, None], (half, half, half, half), mode="replicate")
    image = F.conv2d(image, weights.view(1, 1, -1, 1))
    return F.conv2d(image, weights.view(1, 1, 1, -1))[0, 0]


__all__ = ["MelAugmentation", "blur"]
