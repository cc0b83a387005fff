"""Visual front end: a 3-D convolution over five frames, then a ResNet a frame.

Stafylakis and Tzimiropoulos, "Combining Residual Networks with LSTMs for Lipreading", Interspeech 2017; the
widths of Choi et al. 2023, with Swish, and of AV-HuBERT, with PReLU.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .batch_norm import FrameBatchNorm
from .configuration_avhubert import AVHubertConfig
from .configuration_lip2speech import Lip2SpeechConfig

STEM_FRAMES = 5
INFERENCE_FRAMES = 128  # frames a chunk without gradients: bounds the memory of long clips, exact


class StemConvolution(nn.Module):
    """Conv3d(1 -> C, kernel 5x7x7, no bias), computed as a 2-D convolution over five stacked frames.

    The same sums (to rounding), 1.4 times as fast on a CPU as torch's own Conv3d with one input channel.
    """

    def __init__(self, out_channels: int, stride: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 1, STEM_FRAMES, 7, 7))
        self.stride = stride

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """frames (..., T + 4, H, W), padded by two frames on either side -> (... * T, C, H / stride, W /
        stride)."""
        stacked = frames.unfold(-3, STEM_FRAMES, 1)  # (..., T, H, W, 5)
        stacked = stacked.flatten(0, -4).permute(0, 3, 1, 2)  # (... * T, 5, H, W), channels last in memory
        stacked = stacked.contiguous(memory_format=torch.channels_last)
        return F.conv2d(stacked, self.weight.squeeze(1), stride=self.stride, padding=3)


def activation(kind: str, channels: int) -> nn.Module:
    """Swish, ReLU, or PReLU with one learned slope a channel."""
    return {"silu": nn.SiLU, "relu": nn.ReLU, "prelu": lambda: nn.PReLU(channels)}[kind]()


class PointwiseConvolution(nn.Conv2d):
    """1x1 convolution without bias, with a stride: (N, C_in, H, W) -> (N, C, H / stride, W / stride).

    The pixels are chosen first. Where a CPU has AVX2 and no more, torch 2.13's own strided convolution writes
    beyond the gradient of its weights if C_in is 4: the process dies, or goes on with wrong numbers.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        rows, columns = self.stride
        return F.conv2d(input[..., ::rows, ::columns], self.weight)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016). (N, C_in, H, W) -> (N, C, H / stride, W /
    stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, kind: str):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = FrameBatchNorm(channels)
        self.activation1 = activation(kind, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = FrameBatchNorm(channels)
        self.activation2 = activation(kind, channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                PointwiseConvolution(in_channels, channels, stride), FrameBatchNorm(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.activation1(self.bn1(self.conv1(x)))
        return self.activation2(self.bn2(self.conv2(x)) + shortcut)


class VisualFrontend(nn.Module):
    """(B, T, 1, S, S) -> (B, T, C), where C is the width of the last residual stage."""

    def __init__(self, config: Lip2SpeechConfig | AVHubertConfig):
        super().__init__()
        kind = config.frontend_activation
        self.stem = StemConvolution(config.frontend_stem_channels, config.frontend_stem_stride)
        self.stem_norm = FrameBatchNorm(config.frontend_stem_channels)
        self.stem_activation = activation(kind, config.frontend_stem_channels)
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, width = [], config.frontend_stem_channels
        for stage, (channels, blocks) in enumerate(
            zip(config.frontend_channels, config.frontend_blocks, strict=True)
        ):
            for block in range(blocks):
                stages.append(BasicBlock(width, channels, 2 if block == 0 and stage > 0 else 1, kind))
                width = channels
        self.blocks = nn.ModuleList(stages)

    def forward(self, pixel_values_videos: torch.Tensor) -> torch.Tensor:
        batch, length = pixel_values_videos.shape[:2]
        frames = F.pad(pixel_values_videos.squeeze(2), (0, 0, 0, 0, STEM_FRAMES // 2, STEM_FRAMES // 2))
        if torch.is_grad_enabled() or self.training or length <= INFERENCE_FRAMES:
            return self._features(frames).view(batch, length, -1)
        # every output frame depends on its five input frames alone
        chunks = [
            self._features(frames[:, start : start + INFERENCE_FRAMES + STEM_FRAMES - 1]).view(
                batch, -1, self.width
            )
            for start in range(0, length, INFERENCE_FRAMES)
        ]
        return torch.cat(chunks, dim=1)

    @property
    def width(self) -> int:
        return self.blocks[-1].conv2.out_channels

    def _features(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, T + 4, S, S) -> (B * T, C)."""
        x = self.pool(self.stem_activation(self.stem_norm(self.stem(frames))))
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3))


def init_frontend_weights(module: nn.Module) -> None:
    """He initialisation of convolutions, batch norms that change nothing, slopes of 0.25; nothing else."""
    if isinstance(module, nn.Conv2d | StemConvolution):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.ones_(module.running_var)
        init.zeros_(module.num_batches_tracked)
    elif isinstance(module, nn.PReLU):
        init.constant_(module.weight, 0.25)


def checked_mask(videos: torch.Tensor, attention_mask: torch.Tensor | None, crop_size: int) -> torch.Tensor:
    """The mask bool (B, T) of videos (B, T, 1, S, S); True everywhere where there is none.

    Raises:
        ValueError: wrong shapes.
    """
    if videos.ndim != 5 or videos.shape[2:] != (1, crop_size, crop_size):
        raise ValueError(
            f"pixel_values_videos has shape {tuple(videos.shape)}; expected "
            f"(batch, frames, 1, {crop_size}, {crop_size}), as Lip2SpeechFeatureExtractor makes it."
        )
    if attention_mask is None:
        return torch.ones(videos.shape[:2], dtype=torch.bool, device=videos.device)
    if attention_mask.shape != videos.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; expected "
            f"{tuple(videos.shape[:2])}, one value a frame."
        )
    return attention_mask.bool()


def blank_padding(videos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Whatever stands in the padding, the convolution over time shall see zeros: (B, T, 1, S, S)."""
    return videos if bool(mask.all()) else videos * mask[:, :, None, None, None].to(videos.dtype)
