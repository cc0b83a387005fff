"""AV-HuBERT's visual path: mouth frames -> features at 25 Hz.

Shi, Hsu, Lakhotia, Mohamed, "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster
Prediction", ICLR 2022. The audio half of the fused features is zeros, as where it reads lips.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from ..loading import StrictLoadingMixin
from .configuration_avhubert import AVHubertConfig
from .conformer import eager_attention
from .padding import check_videos, find_padding
from .visual_frontend import VisualFrontend, init_frontend_weights


class UnusedProjection(nn.Module):
    """Weights of a linear layer that no forward reads: kept, so that a checkpoint survives a round trip.

    As buffers: an optimiser does not hold them, and no training waits for their gradients.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.register_buffer("weight", torch.empty(out_features, in_features))
        self.register_buffer("bias", torch.empty(out_features))


class PositionalConvEmbedding(nn.Module):
    """Weight-normed grouped convolution over time, then GELU. (B, T, C) -> (B, T, C).

    The norm is over all dimensions but the kernel's (dim 2 of the weight, as published): magnitude (1, 1, K)
    and direction (C, C / groups, K) are the parameters.
    """

    def __init__(self, config: AVHubertConfig):
        super().__init__()
        channels, self.kernel, self.groups = (
            config.hidden_size,
            config.position_kernel_size,
            config.position_groups,
        )
        self.magnitude = nn.Parameter(torch.empty(1, 1, self.kernel))
        self.direction = nn.Parameter(torch.empty(channels, channels // self.groups, self.kernel))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # as torch's own weight_norm computes it, in a third of the time of tensor methods
        weight = torch._weight_norm(self.direction.float(), self.magnitude.float(), 2)
        length = x.shape[1]
        x = F.conv1d(
            x.transpose(1, 2), weight.to(x.dtype), self.bias, padding=self.kernel // 2, groups=self.groups
        )
        return F.gelu(x[..., :length].transpose(1, 2))  # an even kernel gives one frame too many


class AVHubertAttention(nn.Module):
    """Multi-head self-attention. (B, T, C), mask -> (B, T, C), weights (B, H, T, T) or None."""

    def __init__(self, config: AVHubertConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, x: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = (
            projection(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H, T, D)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        dropout = self.config.attention_dropout if self.training else 0.0
        x, weights = attend(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout
        )  # (B, T, H, D)
        return self.out_proj(x.flatten(2)), weights


class AVHubertLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer with GELU. (B, T, C) -> (B, T, C)."""

    def __init__(self, config: AVHubertConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = AVHubertAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.in_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.out_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(self, x: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), attention_mask)[0])
        hidden = self.activation_dropout(F.gelu(self.in_proj(self.feed_forward_norm(x))))
        return x + self.dropout(self.out_proj(hidden))


class AVHubertModel(StrictLoadingMixin, PreTrainedModel):
    """Front end, fusion with a silent audio half, transformer. See [`AVHubertConfig`] for Base and Large."""

    config: AVHubertConfig
    config_class = AVHubertConfig
    base_model_prefix = "avhubert"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["AVHubertLayer", "BasicBlock"]
    _can_record_outputs = {
        "hidden_states": AVHubertLayer,
        "attentions": OutputRecorder(AVHubertAttention, index=1),
    }

    def __init__(self, config: AVHubertConfig):
        super().__init__(config)
        self.frontend = VisualFrontend(config)
        self.video_proj = nn.Linear(self.frontend.width, config.hidden_size)
        self.audio_proj = UnusedProjection(config.audio_feature_size, config.hidden_size)
        self.fusion_norm = nn.LayerNorm(2 * config.hidden_size, eps=config.layer_norm_eps)
        self.fusion_proj = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.positions = PositionalConvEmbedding(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(AVHubertLayer(config) for _ in range(config.num_hidden_layers))
        self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Normal in the transformer, He in the front end; positions at the scale of HuBERT's."""
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | UnusedProjection):
            init.normal_(module.weight, std=std)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, PositionalConvEmbedding):
            init.normal_(module.direction, std=math.sqrt(4 / (module.kernel * self.config.hidden_size)))
            init.copy_(module.magnitude, module.direction.norm(dim=(0, 1), keepdim=True))
            init.zeros_(module.bias)
        else:
            init_frontend_weights(module)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        skip_padding: bool = True,
        **kwargs,
    ) -> BaseModelOutput:
        """
        Args:
            pixel_values_videos (`(B, T, 1, 88, 88)`): normalised mouth frames at 25 fps, as
                [`Lip2SpeechFeatureExtractor`] makes them.
            attention_mask (`(B, T)`, *optional*): 1 for a frame, 0 for padding; default: no padding.
            skip_padding (`bool`): whether the front end leaves padded frames out. The published code computes
                them, so that they enter the batch-norm statistics; `False` reproduces that.

        Returns:
            last_hidden_state (`(B, T, C)`), without meaning at padding; hidden_states, attentions.

        Raises:
            ValueError: wrong shapes.
        """
        check_videos(pixel_values_videos, self.config.crop_size)
        padding = find_padding(pixel_values_videos, attention_mask)
        if padding is not None and not skip_padding:
            pixel_values_videos = padding.zero(pixel_values_videos)
        video = self.frontend(pixel_values_videos, padding if skip_padding else None)
        video = self.video_proj(video)  # (B, T, C)
        fused = torch.cat([torch.zeros_like(video), video], dim=-1)  # the audio half comes first
        x = self.input_dropout(self.fusion_proj(self.fusion_norm(fused)))
        if padding is not None:
            x = padding.zero(x)
        x = self.dropout(x + self.positions(x))
        bias = None
        if padding is not None:
            bias = create_bidirectional_mask(config=self.config, inputs_embeds=x, attention_mask=padding.mask)
        for layer in self.layers:
            x = layer(x, bias)
        return BaseModelOutput(last_hidden_state=self.final_norm(x))


__all__ = ["AVHubertModel"]
