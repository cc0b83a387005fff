"""Visual front end: a 3-D convolution over five frames, then a ResNet per frame.

Stafylakis and Tzimiropoulos, "Combining Residual Networks with LSTMs for Lipreading", Interspeech 2017; the
widths of Choi et al. 2023, with Swish, and of AV-HuBERT, with PReLU.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook
from transformers import initialization as init

from .configuration_avhubert import AVHubertConfig
from .configuration_lip2speech import Lip2SpeechConfig
from .convolution import FewPixelsConv2d, PointwiseConv2d, StackedConv3d, traced
from .padding import Padding

STEM_FRAMES = 5
INFERENCE_FRAMES = 96  # at most so many are computed at once without gradients: bounds the memory
_ROWS = 65_536  # positions whose squared deviations are held at once


def activation(kind: str, channels: int) -> nn.Module:
    """Swish, ReLU, or PReLU with one learned slope per channel."""
    return {"silu": nn.SiLU, "relu": nn.ReLU, "prelu": lambda: nn.PReLU(channels)}[kind]()


def normalise_and_activate(
    conv: nn.Module,
    norm: nn.Module,
    activate: nn.Module,
    x: torch.Tensor,
    shortcut: torch.Tensor | None = None,
) -> torch.Tensor:
    """activate(norm(x) + shortcut), where x (N, C, H, W) is what `conv` gave.

    On a CPU without gradients it is computed in the memory of x, since fresh memory costs more than the
    arithmetic; not where somebody watches or replaces one of these modules.
    """
    free = not (torch.is_grad_enabled() or norm.training or traced())
    if not (free and x.device.type == "cpu" and all(map(_is_plain, (conv, norm, activate)))):
        x = norm(x)
        return activate(x if shortcut is None else x + shortcut)
    if x.dtype == torch.float32:
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
        x = torch.addcmul(shift[:, None, None], x, scale[:, None, None], out=x)
    else:
        x = norm(x)
    if shortcut is not None:
        x += shortcut
    return F.silu(x, inplace=True) if type(activate) is nn.SiLU else activate(x)


def _is_plain(module: nn.Module) -> bool:
    """Whether it is a module of this package or of torch whose calls nobody watches (hooks), replaces
    (accelerate, which moves weights) or adapts (peft)."""
    ours = type(module).__module__.startswith(("torch.nn.modules.", __package__ + "."))
    watched = module._forward_hooks or module._forward_pre_hooks or _has_any_global_hook()
    return ours and not watched and "forward" not in vars(module)


class FrameBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` (N, C, H, W) with the sums over many frames taken pairwise.

    On a CPU torch 2.13 adds up a channel's values one by one in float32 if they are channels last: over 40
    frames of 44x44 pixels the variance is 2e-5 off, over 2,000 frames 3e-3 (contiguous: 1e-7).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        x = input  # torch's name for it, by which a caller may give it
        channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        if not (self.training and channels_last and x.device.type == "cpu" and x.dtype == torch.float32):
            return super().forward(x)
        rows = x.detach().permute(0, 2, 3, 1).flatten(0, 2)  # (N * H * W, C), no copy
        mean = rows.sum(0) / len(rows)
        variance = sum((part - mean).square_().sum(0) for part in rows.split(_ROWS)) / len(rows)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (len(rows) / (len(rows) - 1)), self.momentum)
        return _Normalise.apply(x, self.weight, self.bias, mean, variance, self.eps)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are those of x."""

    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, eps):
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.eps = eps
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, mean, inverse = ctx.saved_tensors
        gradients = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, mean, inverse, True, ctx.eps, list(ctx.needs_input_grad[:3])
        )
        return *gradients, None, None, None


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016). (N, C_in, H, W) -> (N, C, H / stride, W /
    stride)."""

    def __init__(self, in_channels: int, channels: int, stride: int, kind: str):
        super().__init__()
        self.conv1 = FewPixelsConv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = FrameBatchNorm(channels)
        self.activation1 = activation(kind, channels)
        self.conv2 = FewPixelsConv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = FrameBatchNorm(channels)
        self.activation2 = activation(kind, channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                PointwiseConv2d(in_channels, channels, 1, stride, bias=False), FrameBatchNorm(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = normalise_and_activate(self.conv1, self.bn1, self.activation1, self.conv1(x))
        return normalise_and_activate(self.conv2, self.bn2, self.activation2, self.conv2(x), shortcut)


class VisualFrontend(nn.Module):
    """(B, T, 1, S, S) -> (B, T, C), where C is the width of the last residual stage."""

    def __init__(self, config: Lip2SpeechConfig | AVHubertConfig):
        super().__init__()
        kind = config.frontend_activation
        channels, stride = config.frontend_stem_channels, config.frontend_stem_stride
        self.stem = StackedConv3d(
            1, channels, (STEM_FRAMES, 7, 7), (1, stride, stride), (0, 3, 3), bias=False
        )
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

    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        padding: Padding | None = None,
        chunk: int | None = None,
        first: int = 0,
    ) -> torch.Tensor:
        """(B, T, 1, S, S) -> (B, T - first, C), of frame number `first` (without padding) and those after.
        Padded frames are zeros to their neighbours and are not computed. Frames beyond the end of a frame's
        chunk of so many frames are zeros to it, too."""
        if padding is not None:
            pixel_values_videos = padding.zero(pixel_values_videos)
        frames = pixel_values_videos.squeeze(2)
        windows = F.pad(frames, (0, 0, 0, 0, STEM_FRAMES // 2, STEM_FRAMES // 2)).unfold(1, STEM_FRAMES, 1)
        if chunk is not None:
            index = torch.arange(frames.shape[1], device=frames.device)
            offsets = torch.arange(STEM_FRAMES, device=frames.device) - STEM_FRAMES // 2
            seen = (index[:, None] + offsets) // chunk <= index[:, None] // chunk
            windows = windows * seen[:, None, None]
        if padding is None:  # windows (B, T, S, S, 5)
            windows = windows[:, first:]
            return self._encode(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return padding.unpack(self._encode(padding.pack(windows)))

    @property
    def width(self) -> int:
        return self.blocks[-1].conv2.out_channels

    def _encode(self, windows: torch.Tensor) -> torch.Tensor:
        """(N, S, S, 5) -> (N, C). A frame depends on its five input frames alone, so parts are exact; equal
        ones are fastest."""
        if torch.is_grad_enabled() or self.training or torch.compiler.is_compiling():
            return self._features(windows)
        parts = windows.tensor_split(-(-len(windows) // INFERENCE_FRAMES))
        return torch.cat([self._features(part) for part in parts])

    def _features(self, windows: torch.Tensor) -> torch.Tensor:
        """(N, S, S, 5) -> (N, C)."""
        stacked = windows.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)  # (N, 5, S, S)
        x = self.stem(stacked.unsqueeze(1)).squeeze(2)
        x = self.pool(normalise_and_activate(self.stem, self.stem_norm, self.stem_activation, x))
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3))


def init_frontend_weights(module: nn.Module) -> None:
    """He initialisation of convolutions, batch norms that change nothing, slopes of 0.25; nothing else."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        init.ones_(module.weight)
        init.zeros_(module.bias)
        init.zeros_(module.running_mean)
        init.ones_(module.running_var)
        init.zeros_(module.num_batches_tracked)
    elif isinstance(module, nn.PReLU):
        init.constant_(module.weight, 0.25)
