"""Convolutions that are faster on a CPU than torch's own, as subclasses with the same arguments.

Each computes what its base class computes, in its own `forward`: hooks, offloading, adapters and quantisation
meet an ordinary convolution module. Tensors are (B, C, L) or (N, C, H, W) as in torch; speed comes from their
being channels last in memory, as a transposed (B, L, C) tensor is.
"""

import torch
from torch import nn
from torch.nn import functional as F


def traced() -> bool:
    """Whether this call is compiled, exported or traced: then what depends on sizes is not to be chosen."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


class ChannelsLastConv1d(nn.Conv1d):
    """`nn.Conv1d` as a convolution of images of height 1: two to three times as fast, also backward."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, L) -> (B, C', L'), both best channels last in memory."""
        if self.padding_mode != "zeros":
            return super().forward(input)
        return self._as_image(input, self.weight, self.bias)

    def _as_image(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        stride, dilation = (1, *self.stride), (1, *self.dilation)
        if self.padding == "same" and self.kernel_size[0] % 2:  # ONNX knows no "same" of dilated kernels
            padding = (0, self.dilation[0] * (self.kernel_size[0] // 2))
        else:
            padding = self.padding if isinstance(self.padding, str) else (0, *self.padding)
        image, weight = input.unsqueeze(-2), weight.unsqueeze(-2)
        return F.conv2d(image, weight, bias, stride, padding, dilation, self.groups).squeeze(-2)


class Float32Conv1d(ChannelsLastConv1d):
    """A `ChannelsLastConv1d` that computes in float32 at any precision, autocast included."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, L) of any dtype -> float32 (B, C', L')."""
        with torch.autocast(input.device.type, enabled=False):
            bias = None if self.bias is None else self.bias.float()
            return self._as_image(input.float(), self.weight.float(), bias)


class ChannelsLastConvTranspose1d(nn.ConvTranspose1d):
    """`nn.ConvTranspose1d` as a transposed convolution of images of height 1."""

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        """(B, C, L) -> (B, C', L * stride) with the paddings used here."""
        if output_size is not None:
            return super().forward(input, output_size)
        image, weight = input.unsqueeze(-2), self.weight.unsqueeze(-2)
        stride, padding, extra = (1, *self.stride), (0, *self.padding), (0, *self.output_padding)
        output = F.conv_transpose2d(
            image, weight, self.bias, stride, padding, extra, self.groups, (1, *self.dilation)
        )
        return output.squeeze(-2)


class StackedConv3d(nn.Conv3d):
    """`nn.Conv3d` of one channel over as many frames as its kernel is deep, as a 2-D convolution of these
    frames as channels: 1.4 times as fast."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, 1, D, H, W) with D the kernel's depth -> (N, C, 1, H', W')."""
        depth = self.kernel_size[0]
        if self.in_channels > 1 or input.shape[-3] != depth or self.padding != (0, *self.padding[1:]):
            return super().forward(input)
        images, weight = input.squeeze(-4), self.weight.squeeze(-4)
        return F.conv2d(images, weight, self.bias, self.stride[1:], self.padding[1:]).unsqueeze(-3)


class FewPixelsConv2d(nn.Conv2d):
    """`nn.Conv2d` as products of matrices where images have few pixels and no gradients are needed.

    Of the 81 products of taps and pixels on an image of 3x3, 32 are with the padding: they are left out. With
    512 channels this takes 0.8 of torch's time on a CPU with AVX-512 alone, and less with AMX.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H, W) with the paddings used here."""
        few = input.shape[-2] * input.shape[-1] <= 9 and input.device.type == "cpu"
        plain = self.stride == self.dilation == (1, 1) and self.groups == 1
        plain = plain and self.kernel_size == (3, 3) and self.padding == (1, 1)
        if not (few and plain) or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or traced():
            return super().forward(input)
        channels, height, width = input.shape[1:]
        columns = input.permute(3, 0, 2, 1).contiguous()  # (W, N, H, C): the rows above each other
        weight = self.weight.permute(3, 0, 2, 1).flatten(2)  # (3, C', 3 * C), by columns of the kernel
        output = input.new_zeros(height, width, len(input), len(self.weight))
        for row in range(height):
            top, bottom = max(row - 1, 0), min(row + 2, height)
            taps = slice((top - row + 1) * channels, (bottom - row + 1) * channels)
            for column, shift in ((0, -1), (1, 0), (2, 1)):
                left, right = max(-shift, 0), min(width - shift, width)
                seen = columns[left + shift : right + shift, :, top:bottom].flatten(2).flatten(0, 1)
                output[row, left:right].flatten(0, 1).addmm_(seen, weight[column, :, taps].mT)
        if self.bias is not None:
            output += self.bias
        return output.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with a kernel of 1x1 that picks its pixels before it multiplies.

    On a CPU with AVX2 and no more, torch 2.13's own strided 1x1 convolution writes beyond the gradient of its
    weights if it has 4 input channels: the process dies or continues with wrong numbers.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        if self.kernel_size != (1, 1) or self.padding != (0, 0):
            return super().forward(input)
        rows, columns = self.stride
        return F.conv2d(input[..., ::rows, ::columns], self.weight, self.bias, groups=self.groups)


def convolve_chunks(conv: nn.Conv1d, x: torch.Tensor, chunk: int | None) -> torch.Tensor:
    """A convolution (B, C, L) -> (B, C', L) that keeps the length, in which a position sees zeros beyond the
    end of its chunk of so many positions; None: the whole clip is one."""
    if chunk is None:
        return conv(x)
    length, before = x.shape[-1], conv.kernel_size[0] // 2
    windows = F.pad(x, (before, -length % chunk)).unfold(
        2, before + chunk, chunk
    )  # (B, C, N, before + chunk)
    out = conv(windows.transpose(1, 2).flatten(0, 1))[..., before:]
    return out.unflatten(0, (x.shape[0], -1)).transpose(1, 2).flatten(2)[..., :length]


_NORM_NAMES = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)


def fold_weight_norm(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A copy of a state dict in which every weight-normalised weight is plain: w = g * v / |v|.

    Reads the names of torch's parametrisation and the older `weight_g` / `weight_v`; the norm is taken over
    all dimensions but the first.
    """
    folded = dict(state_dict)
    for magnitude_name, direction_name in _NORM_NAMES:
        for key in state_dict:
            if key.endswith(magnitude_name):
                stem = key.removesuffix(magnitude_name)
                magnitude, direction = folded.pop(key), folded.pop(stem + direction_name)
                norm = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
                folded[f"{stem}.weight"] = direction * (magnitude / norm)
    return folded
