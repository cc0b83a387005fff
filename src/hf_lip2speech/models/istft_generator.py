"""The vocoder's second generator: ConvNeXt blocks at 100 Hz that end in an inverse Fourier transform.

Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality audio
synthesis", arXiv 2306.00814. The phase is not predicted freely: it starts as that of a harmonic source
with noise, whose pitch a small network of its own predicts, and is made consistent with the
magnitudes by a few iterations of Griffin and Lim.

Shapes: B clips, L mel frames (100 Hz), C channels, 321 frequencies from 0 to 8000 Hz.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from .configuration_unit_vocoder import UnitVocoderConfig
from .convolution import ChannelsLastConv1d
from .phase_recovery import BINS, MagnitudeOfMel, PhaseRecovery, comb, harmonics, phase_of

LOWEST_F0, HIGHEST_F0 = 60.0, 500.0  # Hz, as the evaluation measures it
_MIDDLE_F0 = math.sqrt(LOWEST_F0 * HIGHEST_F0)
_COMB_BINS = BINS // 2  # up to 4 kHz; above, harmonics are not where a predicted F0 says
_LOUDEST = 6.0  # natural logarithm of a magnitude; full scale is 5.8
_SMOOTHING = 2.5  # mel bins: twice the distance of a low voice's harmonics is smooth


class VocoderConvNeXtBlock(GradientCheckpointingLayer):
    """A depthwise convolution and two linear layers, scaled, with a residual connection."""

    def __init__(self, width: int, intermediate_size: int, kernel_size: int):
        super().__init__()
        self.depthwise_conv = ChannelsLastConv1d(width, width, kernel_size, padding="same", groups=width)
        self.norm = nn.LayerNorm(width)
        self.up_projection = nn.Linear(width, intermediate_size)
        self.down_projection = nn.Linear(intermediate_size, width)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, L, C) to (B, L, C); mask (B, L, 1) or None."""
        branch = self.depthwise_conv(masked(hidden, mask).transpose(1, 2)).transpose(1, 2)
        return hidden + self.down_projection(F.gelu(self.up_projection(self.norm(branch))))


class VocoderConvNeXt(nn.Module):
    """A convolution, ConvNeXt blocks and a linear layer: (B, L, in) to (B, L, out)."""

    def __init__(self, sizes: tuple[int, int, int], intermediate_size: int, layers: int, kernel_size: int):
        super().__init__()
        inputs, width, outputs = sizes
        self.conv_pre = ChannelsLastConv1d(inputs, width, 3, padding="same")
        self.norm_pre = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            VocoderConvNeXtBlock(width, intermediate_size, kernel_size) for _ in range(layers)
        )
        self.norm_post = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden = self.norm_pre(self.conv_pre(masked(features, mask).transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            hidden = block(hidden, mask)
        return self.head(self.norm_post(hidden)).float()


class PitchPredictor(VocoderConvNeXt):
    """F0 and voicing of every mel frame."""

    def __init__(self, config: UnitVocoderConfig):
        width = config.pitch_hidden_size
        layers, kernel = config.num_pitch_layers, config.conv_kernel_size
        super().__init__((config.input_channels, width, 2), 3 * width, layers, kernel)

    def forward(self, features: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, L, input_channels) to the natural logarithm of F0 in Hz and voicing logits, both (B, L)."""
        log_f0, voicing_logits = super().forward(features, mask).unbind(-1)
        log_f0 = (math.log(_MIDDLE_F0) + log_f0).clamp(math.log(LOWEST_F0), math.log(HIGHEST_F0))
        return log_f0, voicing_logits


class InverseSTFTGenerator(nn.Module):
    """Magnitudes and a correction of the source's phases; then the waveform."""

    def __init__(self, config: UnitVocoderConfig):
        super().__init__()
        self.iterations = config.num_phase_iterations
        self.pitch_predictor = PitchPredictor(config)
        sizes = (config.input_channels + _COMB_BINS, config.hidden_size, 4 * BINS)
        layers, kernel = config.num_hidden_layers, config.conv_kernel_size
        self.convnext = VocoderConvNeXt(sizes, config.intermediate_size, layers, kernel)
        self._magnitude, self._phase = MagnitudeOfMel(config.num_mel_bins), PhaseRecovery()
        offsets = torch.arange(config.num_mel_bins, device="cpu")
        weights = torch.exp(-0.5 * ((offsets[:, None] - offsets) / _SMOOTHING) ** 2)
        self._smoothing = weights / weights.sum(0)

    def without_harmonics(self, log_mel: torch.Tensor) -> torch.Tensor:
        """The log-mel (B, L, bins), smoothed over frequency until no pitch can be read from it."""
        return log_mel @ self._smoothing.to(log_mel)

    def forward(
        self,
        features: torch.Tensor,
        log_mel: torch.Tensor,
        f0: torch.Tensor,
        mask: torch.Tensor | None,
        first_frame: int,
        first_phase: torch.Tensor | None,
    ) -> torch.Tensor:
        """Speak.

        Args:
            features: (B, L, input_channels).
            log_mel: float32 (B, L, bins).
            f0: float32 (B, L) in Hz, 0 where unvoiced.
            mask: (B, L, 1) or None.
            first_frame, first_phase: see `UnitVocoderModel.forward`.

        Returns:
            float32 (B, 160 L).
        """
        voiced = (f0 > 0).to(f0.dtype)[..., None]
        pitch = torch.where(f0 > 0, f0, torch.full_like(f0, _MIDDLE_F0))
        teeth = comb(pitch) * voiced
        features = torch.cat([features, teeth[..., :_COMB_BINS].to(features.dtype)], dim=-1)
        change, depth, turn, share = self.convnext(features, mask).chunk(4, dim=-1)
        with torch.autocast(features.device.type, enabled=False):
            log_magnitude = self._magnitude(log_mel) + change + depth * teeth
            magnitude = masked(log_magnitude.clamp(max=_LOUDEST).exp(), mask)
            share = torch.sigmoid(share) * voiced
            phase = phase_of(f0, first_phase).float()
            noise = self._phase.noise(first_frame, f0.shape[1], f0.device)
            share, cos, sin = (torch.cat([x, x], dim=-1) for x in (share, turn.cos(), turn.sin()))
            source = share * harmonics(pitch, phase) + (1 - share) * noise
            real, imaginary = source.chunk(2, dim=-1)
            source = source * cos + torch.cat([-imaginary, real], dim=-1) * sin
            return self._phase.waveform(self._phase.recover(magnitude, source, self.iterations))


def masked(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What is padded becomes zero."""
    return hidden if mask is None else hidden * mask


__all__ = ["InverseSTFTGenerator", "PitchPredictor", "VocoderConvNeXt", "VocoderConvNeXtBlock", "masked"]
