"""Conformer encoder with Transformer-XL style relative positions.

Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition", Interspeech 2020; Dai et
al., "Transformer-XL", ACL 2019 (position biases u and v). As in the published lip-to-speech system: ReLU
feed-forwards, Swish in the convolution module, pre-norm, LayerNorm eps 1e-12, the input scaled by
sqrt(hidden_size).
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_lip2speech import Lip2SpeechConfig
from .convolution import ChannelsLastConv1d, convolve_chunks, traced
from .padding import Padding


def eager_attention(
    module, query, key, value, attention_mask, scaling: float, dropout: float = 0.0, **kwargs
):
    """query, key, value (B, H, L, D), attention_mask (B, H, L, L) additive or None -> (B, L, H, D), weights
    (B, H, L, L)."""
    weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def relative_positions(length: int, dim: int, like: torch.Tensor) -> torch.Tensor:
    """Sinusoids of the distances length - 1, ..., 0, ..., -(length - 1): (2 * length - 1, dim), sine and
    cosine interleaved."""
    distance = torch.arange(length - 1, -length, -1, device=like.device, dtype=torch.float32)
    inverse = torch.exp(
        torch.arange(0, dim, 2, device=like.device, dtype=torch.float32) * (-math.log(10000.0) / dim)
    )
    angle = distance[:, None] * inverse
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(like.dtype)


def blocks(x: torch.Tensor, size: int) -> torch.Tensor:
    """(B, L, ...) -> (B * N, size, ...), zeros after the last position."""
    end = [0, 0] * (x.dim() - 2) + [0, -x.shape[1] % size]
    return F.pad(x, end).unflatten(1, (-1, size)).flatten(0, 1)


def surroundings(x: torch.Tensor, size: int) -> torch.Tensor:
    """The positions that each of `blocks` may look at, itself and a block on either side: (B, L, ...) ->
    (B * N, 3 * size, ...)."""
    sides = [0, 0] * (x.dim() - 2) + [size, size - x.shape[1] % -size]
    return F.pad(x, sides).unfold(1, 3 * size, size).movedim(-1, 2).flatten(0, 1)


class RelPositionMultiHeadAttention(nn.Module):
    """Multi-head self-attention with a content and a position term: softmax(((q + u) k + (q + v) p) /
    sqrt(d)) v. With a window, blocks of so many positions attend to themselves and their two neighbours."""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.position_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.position_bias_u = nn.Parameter(torch.empty(self.num_heads, self.head_dim))
        self.position_bias_v = nn.Parameter(torch.empty(self.num_heads, self.head_dim))

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        attention_mask: torch.Tensor | None,
        window: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """x (B, L, C), positions (2L - 1, C), additive attention_mask (B or 1, 1, L or 1, L) or None ->
        (B, L, C), weights (B, H, L, L) or None. With a window W the mask is (B * N, 1, W, 3W) and there are
        4W - 1 positions; weights are (B * N, H, W, 3W) or None."""
        (batch, length), heads = x.shape[:2], (self.num_heads, self.head_dim)
        query = self.q_proj(x).unflatten(-1, heads)
        key = self.k_proj(x).unflatten(-1, heads)
        value = self.v_proj(x).unflatten(-1, heads)
        if window is not None:
            query, key, value = blocks(query, window), surroundings(key, window), surroundings(value, window)
        key, value = key.transpose(1, 2), value.transpose(1, 2)  # (B, H, L, D)
        position = self.position_proj(positions[None]).unflatten(-1, heads)  # (1, 2L - 1, H, D)
        by_position = torch.matmul(
            ((query + self.position_bias_v) * self.scaling).transpose(1, 2), position.permute(0, 2, 3, 1)
        )
        bias = self._align(by_position)  # (B, H, L, L)
        if attention_mask is not None:
            bias = bias + attention_mask
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        x, weights = attend(
            self,
            (query + self.position_bias_u).transpose(1, 2),
            key,
            value,
            bias.to(value.dtype),
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
        )
        x = x.flatten(2)
        if window is not None:
            x = x.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
        return self.out_proj(x), weights

    @staticmethod
    def _align(scores: torch.Tensor) -> torch.Tensor:
        """(B, H, L, 2L - 1) by distance -> (B, H, L, L) by position, L >= 2: row i, column j holds distance
        i - j. A view: each row begins one place before where it began in the row above. With a window,
        (..., W, 4W - 1) -> (..., W, 3W): distance i - j + W."""
        rows, step = scores.shape[-2], scores.shape[-1] - 1
        scores = scores.flatten(-2)[..., rows - 1 : rows - 1 + rows * step]
        return scores.unflatten(-1, (rows, step))[..., : step - rows + 2]


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear. (B, L, C) -> (B, L, C)."""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        self.in_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.out_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_proj(self.dropout(F.relu(self.in_proj(x))))


class ConvolutionModule(nn.Module):
    """Pointwise, GLU, depthwise, BatchNorm, Swish, pointwise. (B, L, C) -> (B, L, C)."""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        channels, kernel = config.hidden_size, config.conv_kernel_size
        self.pointwise_in = nn.Linear(channels, 2 * channels)
        self.depthwise = ChannelsLastConv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.BatchNorm1d(channels)
        self.pointwise_out = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor, padding: Padding | None, chunk: int | None = None) -> torch.Tensor:
        x = F.glu(self.pointwise_in(x), dim=-1)
        if padding is not None:
            x = padding.zero(x)
        x = convolve_chunks(self.depthwise, x.transpose(1, 2), chunk).transpose(1, 2)
        if padding is None:
            x = self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        else:  # no padding in the statistics
            x = padding.unpack(self.norm(padding.pack(x)))
        return self.pointwise_out(F.silu(x))


class ConformerLayer(GradientCheckpointingLayer):
    """Half feed-forward, attention, convolution, half feed-forward, norm. (B, L, C) -> (B, L, C)."""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()

        def norm() -> nn.LayerNorm:
            return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

        self.macaron_norm, self.macaron = norm(), FeedForward(config)
        self.attention_norm, self.attention = norm(), RelPositionMultiHeadAttention(config)
        self.convolution_norm, self.convolution = norm(), ConvolutionModule(config)
        self.feed_forward_norm, self.feed_forward = norm(), FeedForward(config)
        self.final_norm = norm()
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        attention_mask: torch.Tensor | None,
        padding: Padding | None,
        chunk: int | None = None,
        window: int | None = None,
    ) -> torch.Tensor:
        x = x + 0.5 * self.dropout(self.macaron(self.macaron_norm(x)))
        x = x + self.dropout(self.attention(self.attention_norm(x), positions, attention_mask, window)[0])
        x = x + self.dropout(self.convolution(self.convolution_norm(x), padding, chunk))
        x = x + 0.5 * self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return self.final_norm(x)


class ConformerEncoder(nn.Module):
    """(B, L, C_in) -> (B, L, C)."""

    def __init__(self, config: Lip2SpeechConfig, in_features: int):
        super().__init__()
        self.config = config
        self.in_proj = nn.Linear(in_features, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: torch.Tensor, padding: Padding | None, chunk: int | None = None) -> torch.Tensor:
        """(B, L, C_in), with its padding or None -> (B, L, C). No position sees beyond its chunk's end."""
        x = self.dropout(self.in_proj(x) * math.sqrt(self.config.hidden_size))
        window = self._window(x)
        reach = x.shape[1] if window is None else 2 * window
        positions = self.dropout(relative_positions(reach, self.config.hidden_size, x))
        attention_mask = self._attention_mask(x, padding, chunk, window)
        outside_attention = padding if self.config.masked_convolutions else None
        for layer in self.layers:
            x = layer(x, positions, attention_mask, outside_attention, chunk, window)
        return self.final_norm(x)

    def _window(self, x: torch.Tensor) -> int | None:
        """The attention window, where x (B, L, C) is long enough to be cut into blocks. They give no weights
        (B, H, L, L), and cannot be traced for other lengths."""
        window = self.config.attention_window
        if window is None or x.shape[1] <= 3 * window or self.config._attn_implementation != "sdpa":
            return None
        return None if traced() else window

    def _attention_mask(
        self, x: torch.Tensor, padding: Padding | None, chunk: int | None, window: int | None
    ) -> torch.Tensor | None:
        """Additive (B or 1, 1, L or 1, L): 0 where attended to, the lowest number elsewhere; None if a
        position attends to all. With a window (B * N, 1, W, 3W)."""
        length = x.shape[1]
        allowed = None if padding is None else padding.mask[:, None, None, :]
        if self.config.attention_window is not None or chunk is not None:
            index = torch.arange(length, device=x.device)
            queries, keys = index[None, None, :, None], index[None, None, None, :]
            if window is not None:
                index = index.expand(len(x), -1)
                queries = blocks(index, window)[:, None, :, None]
                keys = surroundings(index + 1, window)[:, None, None, :] - 1  # -1 beyond either end
                if allowed is not None:
                    allowed = surroundings(padding.mask, window)[:, None, None, :]
            distance = (queries - keys).abs()
            near = (distance <= (self.config.attention_window or length)) & (keys >= 0)
            if chunk is not None:
                near = near & (keys // chunk <= queries // chunk)
            # a padded position far from every valid one still needs something to attend to: itself
            allowed = near if allowed is None else allowed & near | (distance == 0)
        if allowed is None:
            return None
        return torch.zeros_like(allowed, dtype=x.dtype).masked_fill(~allowed, torch.finfo(x.dtype).min)
