"""The multi-input vocoder: a Unit HiFi-GAN (CodeHiFiGAN) of speech units, log-mel and speaker embedding.

Architecture: Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units" (Interspeech 2023),
section 2.3, on the generator of Kong, Kim, Bae, "HiFi-GAN" (NeurIPS 2020).

Shapes: B clips, U units (50 Hz), 2U mel frames (100 Hz), 320U samples (16 kHz), C channels, L steps of a
layer.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput

from ..constants import HOP_LENGTH, SAMPLES_PER_UNIT
from ..errors import Lip2SpeechError
from ..loading import StrictLoadingMixin
from .configuration_unit_vocoder import UnitVocoderConfig
from .convolution import ChannelsLastConv1d, ChannelsLastConvTranspose1d, Float32Conv1d

_LAST_SLOPE = 0.01


@dataclass
class UnitVocoderOutput(ModelOutput):
    """Output of the vocoder.

    Args:
        waveform: float32 (B, 320U), in [-1, 1], 16 kHz; zero where `unit_attention_mask` is 0.
    """

    waveform: torch.FloatTensor | None = None


class UnitVocoderResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each with a residual connection (HiFi-GAN, figure 1)."""

    def __init__(self, channels: int, kernel_size: int, dilations: list[int], slope: float):
        super().__init__()
        self.slope = slope
        # "same" and not a number: a LoRA adapter takes the padding over, but not the dilation
        self.dilated_convs = nn.ModuleList(
            ChannelsLastConv1d(channels, channels, kernel_size, dilation=dilation, padding="same")
            for dilation in dilations
        )
        self.plain_convs = nn.ModuleList(
            ChannelsLastConv1d(channels, channels, kernel_size, padding="same") for _ in dilations
        )

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, C, L) to (B, C, L); mask (B, 1, L) or None."""
        for dilated, plain in zip(self.dilated_convs, self.plain_convs, strict=True):
            branch = dilated(_masked(F.leaky_relu(hidden, self.slope), mask))
            branch = plain(_masked(F.leaky_relu(branch, self.slope), mask))
            hidden = hidden + branch
        return hidden


class UnitVocoderStage(GradientCheckpointingLayer):
    """One upsampling and the mean of its residual blocks; halves the channels."""

    def __init__(self, config: UnitVocoderConfig, index: int):
        super().__init__()
        self.slope = config.leaky_relu_slope
        rate, kernel = config.upsample_rates[index], config.upsample_kernel_sizes[index]
        inside = config.upsample_initial_channel // 2**index
        self.rate = rate
        self.upsampler = ChannelsLastConvTranspose1d(
            inside, inside // 2, kernel, stride=rate, padding=(kernel - rate) // 2
        )
        self.resblocks = nn.ModuleList(
            UnitVocoderResidualBlock(inside // 2, size, dilations, self.slope)
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            )
        )

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, C, L) to (B, C / 2, L * rate); mask (B, 1, L) or None."""
        hidden = self.upsampler(_masked(F.leaky_relu(hidden, self.slope), mask))
        mask = _stretch(mask, self.rate)
        total = self.resblocks[0](hidden, mask)
        for block in self.resblocks[1:]:
            total = total + block(hidden, mask)
        return total / len(self.resblocks)


def _masked(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return hidden if mask is None else hidden * mask


def _stretch(mask: torch.Tensor | None, rate: int) -> torch.Tensor | None:
    return None if mask is None else mask.repeat_interleave(rate, dim=-1)


class UnitVocoderPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    """Initialisation and saving shared by the vocoder's classes."""

    config_class = UnitVocoderConfig
    base_model_prefix = "vocoder"
    main_input_name = "unit_ids"
    supports_gradient_checkpointing = True
    # There is no attention here: whatever a composite asks of its parts suits.
    _supports_sdpa = True
    _no_split_modules = ["UnitVocoderStage"]
    # The other half of a composite's repository.
    _keys_to_ignore_on_load_unexpected = [r"^lip2speech\."]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Normal weights scaled by their fan-in, zero biases.

        HiFi-GAN draws every convolution from N(0, 0.01^2), which suits 512 channels: a generator that starts
        with 128 made silence for 1,500 steps of the mel loss and learned nothing.
        """
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d, nn.Linear)):
            fan_in = module.weight[0].numel()
            if isinstance(module, nn.ConvTranspose1d):  # one output sees kernel / stride of the inputs
                fan_in = module.in_channels * module.kernel_size[0] / module.stride[0]
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range / fan_in**0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=1.0)

    def save_pretrained(self, save_directory, *args, state_dict: dict | None = None, **kwargs):
        """Save as `PreTrainedModel.save_pretrained` does; weight norm is folded into plain weights."""
        state_dict = fold_weight_norm(self.state_dict() if state_dict is None else state_dict)
        return super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)


class UnitVocoderModel(UnitVocoderPreTrainedModel):
    """Unit HiFi-GAN (CodeHiFiGAN) with log-mel input: units, log-mel and speaker embedding to speech.

    The modules hold plain convolutions. `apply_weight_norm` puts weight normalisation on them for training,
    `remove_weight_norm` folds it away, and what is saved never has it.
    """

    def __init__(self, config: UnitVocoderConfig):
        super().__init__(config)
        width = config.unit_embedding_dim
        channels = config.upsample_initial_channel
        self.unit_embedding = nn.Embedding(config.num_units, width)
        self.unit_upsampler = ChannelsLastConvTranspose1d(width, width, kernel_size=4, stride=2, padding=1)
        self.unit_dropout = nn.Dropout(config.unit_dropout)
        self.unit_projection = nn.Linear(width, width)
        self.speaker_projection = nn.Linear(config.speaker_embedding_dim, config.speaker_dim)
        self.conv_pre = ChannelsLastConv1d(config.input_channels, channels, kernel_size=7, padding=3)
        self.stages = nn.ModuleList(
            UnitVocoderStage(config, index) for index in range(len(config.upsample_rates))
        )
        # in float32 at any precision: bfloat16 would be 8 bits of sound
        self.conv_post = Float32Conv1d(channels // 2 ** len(self.stages), 1, kernel_size=7, padding=3)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        unit_ids: torch.LongTensor,
        spectrogram: torch.FloatTensor,
        speaker_embeddings: torch.FloatTensor,
        unit_attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> UnitVocoderOutput | tuple[torch.Tensor]:
        """Speak.

        Args:
            unit_ids: int64 (B, U), in 0..num_units - 1 (any such value where padded).
            spectrogram: float (B, 2U, num_mel_bins), natural-log mel at 100 Hz.
            speaker_embeddings: float (B, speaker_embedding_dim), or (1, speaker_embedding_dim) for all.
            unit_attention_mask: (B, U), 1 = unit, 0 = padding, or None when nothing is padded. With it, a
                clip has the same output in a padded batch as alone.

        Raises:
            Lip2SpeechError: shapes that do not fit each other or the config.
        """
        self._check_inputs(unit_ids, spectrogram, speaker_embeddings, unit_attention_mask)
        dtype = self.unit_embedding.weight.dtype
        mask = None if unit_attention_mask is None else unit_attention_mask.to(dtype)[:, None, :]

        units = self.unit_embedding(unit_ids).transpose(1, 2)  # (B, E, U)
        units = F.gelu(self.unit_upsampler(_masked(units, mask))).transpose(1, 2)  # (B, 2U, E)
        units = self.unit_projection(self.unit_dropout(units))
        speaker = self.speaker_projection(speaker_embeddings.to(dtype))  # (B, S)
        batch, frames = spectrogram.shape[:2]
        speaker = speaker[:, None, :].expand(batch, frames, -1)

        spectrogram = spectrogram.to(units.dtype)
        if self.config.inputs == "units":
            spectrogram = torch.zeros_like(spectrogram)
        elif self.config.inputs == "mel":  # times 0: processes that train together expect gradients here, too
            units = units * 0

        hidden = torch.cat([spectrogram, units, speaker], dim=-1).transpose(1, 2)  # (B, C, 2U), channels last
        mask = _stretch(mask, SAMPLES_PER_UNIT // HOP_LENGTH)
        hidden = self.conv_pre(_masked(hidden, mask))
        for stage in self.stages:
            hidden = stage(hidden, mask)
            mask = _stretch(mask, stage.rate)
        hidden = F.leaky_relu(hidden, _LAST_SLOPE)
        waveform = _masked(torch.tanh(self.conv_post(_masked(hidden, mask))), mask).squeeze(1)
        if return_dict is None:
            return_dict = self.config.return_dict
        return UnitVocoderOutput(waveform=waveform) if return_dict else (waveform,)

    def _check_inputs(self, unit_ids, spectrogram, speaker_embeddings, unit_attention_mask):
        config = self.config
        if unit_ids.ndim != 2 or unit_ids.shape[1] == 0:
            raise Lip2SpeechError(
                f"unit_ids has shape {tuple(unit_ids.shape)}; expected (batch, units), units >= 1."
            )
        batch, units = unit_ids.shape
        expected = (batch, units * (SAMPLES_PER_UNIT // HOP_LENGTH), config.num_mel_bins)
        if spectrogram.shape != expected:
            raise Lip2SpeechError(
                f"spectrogram has shape {tuple(spectrogram.shape)}; unit_ids of shape {(batch, units)} need "
                f"{expected}: two mel frames per unit. Cut both to the same duration."
            )
        width = config.speaker_embedding_dim
        if speaker_embeddings.shape != (batch, width) and speaker_embeddings.shape != (1, width):
            raise Lip2SpeechError(
                f"speaker_embeddings has shape {tuple(speaker_embeddings.shape)}; expected {(batch, width)} "
                f"or {(1, width)}."
            )
        if unit_attention_mask is not None and unit_attention_mask.shape != unit_ids.shape:
            raise Lip2SpeechError(
                f"unit_attention_mask has shape {tuple(unit_attention_mask.shape)}; expected that of "
                f"unit_ids, {(batch, units)}."
            )

    def _normalised_layers(self) -> list[nn.Module]:
        """The convolutions that weight norm covers in training: all but the unit branch, as published."""
        inside = (m for m in self.stages.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d)))
        return [self.conv_pre, *inside, self.conv_post]

    def apply_weight_norm(self) -> None:
        """Put weight normalisation on the convolutions, for training; the speech stays the same."""
        for layer in self._normalised_layers():
            if not parametrize.is_parametrized(layer, "weight"):
                weight_norm(layer)

    def remove_weight_norm(self) -> None:
        """Fold weight normalisation into plain weights; the speech stays the same."""
        for layer in self._normalised_layers():
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight")


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


__all__ = ["UnitVocoderModel", "UnitVocoderOutput", "UnitVocoderPreTrainedModel", "fold_weight_norm"]
