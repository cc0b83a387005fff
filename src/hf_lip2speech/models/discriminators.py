"""The discriminators of the vocoder's training, at any width.

Kong, Kim, Bae, "HiFi-GAN" (NeurIPS 2020), section 2.3, after Kumar et al., "MelGAN" (NeurIPS 2019). The
defaults are the published sizes (41,105,770 and 29,618,821 parameters). A third one, for the inverse-STFT
generator: Jang et al., "UnivNet" (Interspeech 2021), section 2.2.

Shapes: B waveforms, N samples, S scores of a sub-discriminator. All return (scores, feature maps): a list of
(B, S) tensors, one per sub-discriminator, and for each a list of its layers' outputs, the last of them the
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


class SubDiscriminator(nn.Module):
    """Convolutions, each but the last with a leaky ReLU, from one channel to one channel of scores."""

    def __init__(self, convs: Sequence[nn.Module], conv_post: nn.Module):
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.conv_post = conv_post

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, N) to scores (B, S) and the layers' outputs."""
        hidden, maps = self.shape(waveform), []
        for conv in self.convs:
            hidden = F.leaky_relu(conv(hidden), _SLOPE)
            maps.append(hidden)
        scores = self.conv_post(hidden)
        return scores.flatten(1), [*maps, scores]

    def shape(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, N) as the first convolution takes it: (B, 1, N)."""
        return waveform.unsqueeze(1)


class PeriodDiscriminator(SubDiscriminator):
    """Judges the waveform folded into rows of `period` samples, by convolutions across the rows."""

    def __init__(self, period: int, channels: Sequence[int], kernel_size: int = 5, stride: int = 3):
        strides = [stride] * (len(channels) - 1) + [1]  # every layer strides but the last
        super().__init__(
            [
                weight_norm(nn.Conv2d(i, o, (kernel_size, 1), (s, 1), (kernel_size // 2, 0)))
                for i, o, s in zip([1, *channels[:-1]], channels, strides, strict=True)
            ],
            weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0))),
        )
        self.period = period

    def shape(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, 1, rows, period); the last row is completed by reflection."""
        missing = -waveform.shape[-1] % self.period
        if missing:
            waveform = F.pad(waveform.unsqueeze(1), (0, missing), mode="reflect").squeeze(1)
        return waveform.reshape(waveform.shape[0], 1, -1, self.period)


class ScaleDiscriminator(SubDiscriminator):
    """Judges the waveform by strided, grouped convolutions with weight norm or, `spectral`, spectral norm.

    Plain `nn.Conv1d`: the channels-last convolutions are no faster here.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernel_sizes: Sequence[int],
        strides: Sequence[int],
        groups: Sequence[int],
        spectral: bool,
    ):
        # The older spectral norm on purpose: the newer one updates its two vectors in the other order.
        norm = spectral_norm if spectral else weight_norm
        layers = zip([1, *channels[:-1]], channels, kernel_sizes, strides, groups, strict=True)
        super().__init__(
            [norm(nn.Conv1d(i, o, k, stride=s, padding=k // 2, groups=g)) for i, o, k, s, g in layers],
            norm(nn.Conv1d(channels[-1], 1, 3, padding=1)),
        )


class ResolutionDiscriminator(SubDiscriminator):
    """Judges the magnitudes of an STFT by convolutions over time and frequency."""

    def __init__(self, fft_size: int, channels: Sequence[int]):
        strides = [(1, 1)] + [(1, 2)] * (len(channels) - 1)  # frames x frequencies
        super().__init__(
            [
                weight_norm(nn.Conv2d(i, o, (3, 9), stride, (1, 4)))
                for i, o, stride in zip([1, *channels[:-1]], channels, strides, strict=True)
            ],
            weight_norm(nn.Conv2d(channels[-1], 1, (3, 3), padding=1)),
        )
        self.fft_size = fft_size

    def shape(self, waveform: torch.Tensor) -> torch.Tensor:
        """(B, N) -> (B, 1, frames, frequencies), in float32: powers of small samples underflow in less."""
        with torch.autocast(waveform.device.type, enabled=False):
            window = torch.hann_window(self.fft_size, device=waveform.device)
            spectrum = torch.stft(
                waveform.float(), self.fft_size, self.fft_size // 4, window=window, return_complex=True
            )
            return torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9).mT.unsqueeze(1)


class _Discriminator(nn.Module):
    """Sub-discriminators, and what each is given."""

    def __init__(self, discriminators: Sequence[SubDiscriminator]):
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)

    def forward(self, waveform: torch.Tensor) -> DiscriminatorOutput:
        """Waveform (B, N) to (scores, feature maps)."""
        if waveform.ndim != 2:
            raise Lip2SpeechError(
                f"A discriminator was given a tensor of shape {tuple(waveform.shape)}; expected (batch, "
                "samples)."
            )
        scores, maps = [], []
        for index, discriminator in enumerate(self.discriminators):
            waveform = self.view(waveform, index)
            score, layers = discriminator(waveform)
            scores.append(score)
            maps.append(layers)
        return scores, maps

    def view(self, waveform: torch.Tensor, index: int) -> torch.Tensor:
        """What sub-discriminator `index` judges, of what the one before it judged."""
        return waveform


class MultiPeriodDiscriminator(_Discriminator):
    """One `PeriodDiscriminator` per period.

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
        if not periods or not channels or min(periods) < 1 or min(channels) < 1 or kernel_size % 2 == 0:
            raise Lip2SpeechError(
                f"MultiPeriodDiscriminator was given periods {tuple(periods)}, channels {tuple(channels)}, "
                f"kernel_size {kernel_size}; it needs at least one positive period and width, and an odd "
                "kernel."
            )
        super().__init__([PeriodDiscriminator(p, channels, kernel_size, stride) for p in periods])


class MultiScaleDiscriminator(_Discriminator):
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
        lists, wrong = (channels, kernel_sizes, strides, groups), None
        if num_scales < 1 or not channels or len({len(one) for one in lists}) > 1:
            wrong = "it needs at least one scale and one entry per layer in each of the four lists"
        elif any(kernel % 2 == 0 for kernel in kernel_sizes):
            wrong = "the kernels must be odd"
        elif any(i % g or o % g for i, o, g in zip([1, *channels[:-1]], channels, groups, strict=True)):
            wrong = "the groups do not divide the widths of their layers: use fewer groups or wider layers"
        if wrong:
            raise Lip2SpeechError(
                f"MultiScaleDiscriminator was given num_scales {num_scales}, channels {tuple(channels)}, "
                f"kernel_sizes {tuple(kernel_sizes)}, strides {tuple(strides)}, groups {tuple(groups)}; "
                f"{wrong}."
            )
        super().__init__([ScaleDiscriminator(*lists, spectral=index == 0) for index in range(num_scales)])

    def view(self, waveform: torch.Tensor, index: int) -> torch.Tensor:
        """Half the rate for all but the first."""
        if index == 0:
            return waveform
        return F.avg_pool1d(waveform.unsqueeze(1), kernel_size=4, stride=2, padding=2).squeeze(1)


class MultiResolutionDiscriminator(_Discriminator):
    """One `ResolutionDiscriminator` per FFT size.

    Args:
        fft_sizes: samples of the windows; hops are a quarter.
        channels: width of each layer.
    """

    def __init__(
        self, fft_sizes: Sequence[int] = (512, 1024, 2048), channels: Sequence[int] = (32, 32, 32, 32, 32)
    ):
        if not fft_sizes or not channels or min(fft_sizes) < 4 or min(channels) < 1:
            raise Lip2SpeechError(
                f"MultiResolutionDiscriminator was given fft_sizes {tuple(fft_sizes)} and channels "
                f"{tuple(channels)}; it needs at least one FFT size of 4 or more and one positive width."
            )
        super().__init__([ResolutionDiscriminator(size, channels) for size in fft_sizes])


_DEFAULTS: dict = {}


class Discriminators(nn.Module):
    """All discriminators as one module: waveform (B, N) -> all their scores and feature maps.

    Args:
        period, scale, resolution: Arguments of MultiPeriodDiscriminator, MultiScaleDiscriminator and
            MultiResolutionDiscriminator that differ from the defaults; None: without it. The published
            training has the first two.
    """

    def __init__(
        self,
        period: dict | None = _DEFAULTS,
        scale: dict | None = _DEFAULTS,
        resolution: dict | None = None,
    ):
        super().__init__()
        if period is scale is resolution is None:
            raise Lip2SpeechError("period, scale and resolution are all null; give at least one of them.")
        self.period = None if period is None else MultiPeriodDiscriminator(**period)
        self.scale = None if scale is None else MultiScaleDiscriminator(**scale)
        self.resolution = None if resolution is None else MultiResolutionDiscriminator(**resolution)

    def forward(self, waveform: torch.Tensor) -> DiscriminatorOutput:
        scores, maps = [], []
        for judge in (self.period, self.scale, self.resolution):
            if judge is not None:
                its_scores, its_maps = judge(waveform)
                scores += its_scores
                maps += its_maps
        return scores, maps


__all__ = [
    "Discriminators",
    "DiscriminatorOutput",
    "MultiPeriodDiscriminator",
    "MultiResolutionDiscriminator",
    "MultiScaleDiscriminator",
]
