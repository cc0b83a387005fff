"""The two discriminators of the vocoder's training, at any width.

Kong, Kim, Bae, "HiFi-GAN" (NeurIPS 2020), section 2.3, after Kumar et al., "MelGAN" (NeurIPS 2019). The
defaults are the published sizes (41,105,770 and 29,618,821 parameters).

Shapes: B waveforms, N samples, S scores of a sub-discriminator. Both return (scores, feature maps): a list of
(B, S) tensors, one a sub-discriminator, and for each a list of its layers' outputs, the last of them the
scores.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import weight_norm

from ..errors import Lip2SpeechError

_SLOPE = 0.1

DiscriminatorOutput = tuple[list[torch.Tensor], list[list[torch.Tensor]]]


def _check_waveform(waveform: torch.Tensor) -> None:
    if waveform.ndim != 2:
        raise Lip2SpeechError(
            f"A discriminator was given a tensor of shape {tuple(waveform.shape)}; expected (batch, samples)."
        )


class PeriodDiscriminator(nn.Module):
    """Judges the waveform folded into rows of `period` samples, by convolutions across the rows."""

    def __init__(self, period: int, channels: Sequence[int], kernel_size: int = 5, stride: int = 3):
        super().__init__()
        self.period = period
        inputs = [1, *channels[:-1]]
        # Every layer strides but the last.
        strides = [stride] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (kernel_size, 1), stride=(s, 1), padding=(kernel_size // 2, 0)))
            for i, o, s in zip(inputs, channels, strides, strict=True)
        )
        self.conv_post = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, N) to scores (B, S) and the layers' outputs."""
        missing = -waveform.shape[-1] % self.period
        if missing:
            waveform = F.pad(waveform.unsqueeze(1), (0, missing), mode="reflect").squeeze(1)
        hidden = waveform.reshape(waveform.shape[0], 1, -1, self.period)
        maps = []
        for conv in self.convs:
            hidden = F.leaky_relu(conv(hidden), _SLOPE)
            maps.append(hidden)
        scores = self.conv_post(hidden)
        return scores.flatten(1), [*maps, scores]


class MultiPeriodDiscriminator(nn.Module):
    """One `PeriodDiscriminator` a period.

    Args:
        periods: samples per row of each sub-discriminator.
        channels: width of each layer.
        kernel_size: odd kernel of the layers; the last convolution's is 3.
        stride: of all layers but the last.
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        kernel_size: int = 5,
        stride: int = 3,
    ):
        super().__init__()
        if not periods or not channels or min(periods) < 1 or min(channels) < 1 or kernel_size % 2 == 0:
            raise Lip2SpeechError(
                f"MultiPeriodDiscriminator was given periods {tuple(periods)}, channels {tuple(channels)}, "
                f"kernel_size {kernel_size}; it needs at least one positive period and width, and an odd "
                "kernel."
            )
        self.discriminators = nn.ModuleList(
            PeriodDiscriminator(p, channels, kernel_size, stride) for p in periods
        )

    def forward(self, waveform: torch.Tensor) -> DiscriminatorOutput:
        """Waveform (B, N) to (scores, feature maps)."""
        return _judge(self.discriminators, waveform)


class ScaleDiscriminator(nn.Module):
    """Judges the waveform by strided, grouped convolutions with weight norm or, `spectral`, spectral norm."""

    def __init__(
        self,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        strides: Sequence[int],
        groups: Sequence[int],
        spectral: bool,
    ):
        super().__init__()
        # The older spectral norm on purpose: the newer one updates its two vectors in the other order.
        norm = spectral_norm if spectral else weight_norm
        inputs = [1, *channels[:-1]]
        self.convs = nn.ModuleList(
            norm(nn.Conv1d(i, o, kernel, stride=stride, padding=kernel // 2, groups=group))
            for i, o, kernel, stride, group in zip(
                inputs, channels, kernel_sizes, strides, groups, strict=True
            )
        )
        self.conv_post = norm(nn.Conv1d(channels[-1], 1, 3, padding=1))

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, N) to scores (B, S) and the layers' outputs."""
        hidden = waveform.unsqueeze(1)
        maps = []
        for conv in self.convs:
            hidden = F.leaky_relu(conv(hidden), _SLOPE)
            maps.append(hidden)
        scores = self.conv_post(hidden)
        return scores.flatten(1), [*maps, scores]


class MultiScaleDiscriminator(nn.Module):
    """`ScaleDiscriminator`s on the waveform and on its averages, each at half the rate of the one before.

    Args:
        num_scales: number of sub-discriminators; the first, on the raw waveform, has spectral norm.
        channels: width of each layer.
        kernel_sizes: odd kernel of each layer; the last convolution's is 3.
        strides: of each layer.
        groups: of each layer; must divide its widths.
    """

    def __init__(
        self,
        num_scales: int = 3,
        channels: Sequence[int] = (128, 128, 256, 512, 1024, 1024, 1024),
        kernel_sizes: Sequence[int] = (15, 41, 41, 41, 41, 41, 5),
        strides: Sequence[int] = (1, 2, 2, 4, 4, 1, 1),
        groups: Sequence[int] = (1, 4, 16, 16, 16, 16, 1),
    ):
        super().__init__()
        given = (
            f"num_scales {num_scales}, channels {tuple(channels)}, kernel_sizes {tuple(kernel_sizes)}, "
            f"strides {tuple(strides)}, groups {tuple(groups)}"
        )
        if (
            num_scales < 1
            or not channels
            or not len(channels) == len(kernel_sizes) == len(strides) == len(groups)
        ):
            raise Lip2SpeechError(
                f"MultiScaleDiscriminator was given {given}; it needs at least one scale and one entry a "
                "layer in each of the four lists."
            )
        if any(kernel % 2 == 0 for kernel in kernel_sizes):
            raise Lip2SpeechError(f"MultiScaleDiscriminator was given {given}; the kernels must be odd.")
        for inside, outside, group in zip([1, *channels[:-1]], channels, groups, strict=True):
            if inside % group or outside % group:
                raise Lip2SpeechError(
                    f"MultiScaleDiscriminator was given {given}; {group} groups do not divide the widths "
                    f"{inside} and {outside} of their layer. Use fewer groups or wider layers."
                )
        self.discriminators = nn.ModuleList(
            ScaleDiscriminator(channels, kernel_sizes, strides, groups, spectral=index == 0)
            for index in range(num_scales)
        )

    def forward(self, waveform: torch.Tensor) -> DiscriminatorOutput:
        """Waveform (B, N) to (scores, feature maps)."""
        _check_waveform(waveform)
        scores, maps = [], []
        for index, discriminator in enumerate(self.discriminators):
            if index:
                waveform = F.avg_pool1d(waveform.unsqueeze(1), kernel_size=4, stride=2, padding=2).squeeze(1)
            score, layers = discriminator(waveform)
            scores.append(score)
            maps.append(layers)
        return scores, maps


def _judge(discriminators: nn.ModuleList, waveform: torch.Tensor) -> DiscriminatorOutput:
    _check_waveform(waveform)
    scores, maps = [], []
    for discriminator in discriminators:
        score, layers = discriminator(waveform)
        scores.append(score)
        maps.append(layers)
    return scores, maps


__all__ = [
    "DiscriminatorOutput",
    "MultiPeriodDiscriminator",
    "MultiScaleDiscriminator",
    "PeriodDiscriminator",
    "ScaleDiscriminator",
]
