"""The multi-input vocoder: a Unit HiFi-GAN (CodeHiFiGAN) of speech units, log-mel and speaker embedding.

Architecture: Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units" (Interspeech 2023),
section 2.3, on the generator of Kong, Kim, Bae, "HiFi-GAN" (NeurIPS 2020).

Shapes: B clips, U units (50 Hz), 2U mel frames (100 Hz), 320U samples (16 kHz), C channels, L steps of a
layer.
"""

import math
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
from .convolution import ChannelsLastConv1d, ChannelsLastConvTranspose1d, Float32Conv1d, fold_weight_norm
from .istft_generator import InverseSTFTGenerator, masked
from .padding import check_inputs
from .phase_recovery import raised

_LAST_SLOPE = 0.01
MOST_SEMITONES = 24


@dataclass
class UnitVocoderOutput(ModelOutput):
    """Output of the vocoder.

    Args:
        waveform: float32 (B, 320U), in [-1, 1], 16 kHz; zero where `unit_attention_mask` is 0.
        f0: float32 (B, 2U), the pitch spoken, in Hz every 10 ms, 0 where unvoiced; None from HiFi-GAN.
        log_f0, voicing_logits: float32 (B, 2U), the predicted pitch (natural logarithm of Hz) and the logit
            that a frame is voiced; None from HiFi-GAN, and where the pitch was given, but in training.
    """

    waveform: torch.FloatTensor | None = None
    f0: torch.FloatTensor | None = None
    log_f0: torch.FloatTensor | None = None
    voicing_logits: torch.FloatTensor | None = None


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
            branch = dilated(masked(F.leaky_relu(hidden, self.slope), mask))
            branch = plain(masked(F.leaky_relu(branch, self.slope), mask))
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
        hidden = self.upsampler(masked(F.leaky_relu(hidden, self.slope), mask))
        mask = _stretch(mask, self.rate)
        total = self.resblocks[0](hidden, mask)
        for block in self.resblocks[1:]:
            total = total + block(hidden, mask)
        return total / len(self.resblocks)


def _hertz(log_f0: torch.Tensor, voicing_logits: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    f0 = torch.where(voicing_logits > 0, log_f0.exp(), torch.zeros_like(log_f0))
    return f0 if mask is None else f0 * mask.squeeze(-1)


def _stretch(mask: torch.Tensor | None, rate: int) -> torch.Tensor | None:
    return None if mask is None else mask.repeat_interleave(rate, dim=-1)


class UnitVocoderModel(StrictLoadingMixin, PreTrainedModel):
    """Unit HiFi-GAN (CodeHiFiGAN) with log-mel input: units, log-mel and speaker embedding to speech.

    The modules hold plain convolutions. `apply_weight_norm` puts weight normalisation on them for training,
    `remove_weight_norm` folds it away, and what is saved never has it.
    """

    config_class = UnitVocoderConfig
    base_model_prefix = "vocoder"
    main_input_name = "unit_ids"
    supports_gradient_checkpointing = True
    # There is no attention here: whatever a composite asks of its parts suits.
    _supports_sdpa = True
    _no_split_modules = ["UnitVocoderStage", "VocoderConvNeXtBlock"]
    # The other parts of a composite's repository.
    _keys_to_ignore_on_load_unexpected = [r"^lip2speech\.", r"^mel_flow\."]

    def __init__(self, config: UnitVocoderConfig):
        super().__init__(config)
        width = config.unit_embedding_dim
        channels = config.upsample_initial_channel
        self.unit_embedding = nn.Embedding(config.num_units, width)
        self.unit_upsampler = ChannelsLastConvTranspose1d(width, width, kernel_size=4, stride=2, padding=1)
        self.unit_dropout = nn.Dropout(config.unit_dropout)
        self.unit_projection = nn.Linear(width, width)
        self.speaker_projection = nn.Linear(config.speaker_embedding_dim, config.speaker_dim)
        if config.generator_type == "istft":
            self.generator = InverseSTFTGenerator(config)
        else:
            self.conv_pre = ChannelsLastConv1d(config.input_channels, channels, kernel_size=7, padding=3)
            self.stages = nn.ModuleList(
                UnitVocoderStage(config, index) for index in range(len(config.upsample_rates))
            )
            # in float32 at any precision: bfloat16 would be 8 bits of sound
            self.conv_post = Float32Conv1d(channels // 2 ** len(self.stages), 1, kernel_size=7, padding=3)
        self.gradient_checkpointing = False
        self.post_init()

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
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        if isinstance(module, InverseSTFTGenerator):  # at first the magnitudes are those of the mel
            init.zeros_(module.convnext.head.weight)

    def save_pretrained(self, save_directory, *args, state_dict: dict | None = None, **kwargs):
        """Save as `PreTrainedModel.save_pretrained` does; weight norm is folded into plain weights."""
        state_dict = fold_weight_norm(self.state_dict() if state_dict is None else state_dict)
        return super().save_pretrained(save_directory, *args, state_dict=state_dict, **kwargs)

    def forward(
        self,
        unit_ids: torch.LongTensor,
        spectrogram: torch.FloatTensor,
        speaker_embeddings: torch.FloatTensor,
        unit_attention_mask: torch.Tensor | None = None,
        f0: torch.FloatTensor | None = None,
        pitch_shift: float = 0.0,
        first_frame: int = 0,
        first_phase: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> UnitVocoderOutput | tuple[torch.Tensor, ...]:
        """Speak.

        Args:
            unit_ids: int64 (B, U), in 0..num_units - 1 (any such value where padded).
            spectrogram: float (B, 2U, num_mel_bins), natural-log mel at 100 Hz.
            speaker_embeddings: float (B, speaker_embedding_dim), or (1, speaker_embedding_dim) for all.
            unit_attention_mask: (B, U), 1 = unit, 0 = padding, or None when nothing is padded. With it, a
                clip has the same output in a padded batch as alone.
            f0: float (B, 2U), the pitch in Hz every 10 ms, 0 where unvoiced; None: it is predicted.
            pitch_shift: semitones by which the pitch, given or predicted, is raised, -24 to 24.
            first_frame: mel frames of the clip that were spoken before, by an earlier call.
            first_phase: float (B,), cycles of the voice at the frame before; None: 0. See `phase_of`.

        Raises:
            Lip2SpeechError: shapes that do not fit each other or the config; pitch asked of HiFi-GAN, which
                has none.
        """
        check_inputs(self.config, unit_ids, spectrogram, speaker_embeddings, unit_attention_mask)
        self.check_pitch_shift(pitch_shift)
        if f0 is not None:
            self.check_knows_pitch("f0")
            if not torch.jit.is_tracing() and f0.shape != spectrogram.shape[:2]:
                raise Lip2SpeechError(
                    f"f0 has shape {tuple(f0.shape)}; expected {tuple(spectrogram.shape[:2])}, a value per "
                    "mel frame."
                )
        features, mask = self._features(unit_ids, spectrogram, speaker_embeddings, unit_attention_mask)
        if self.config.generator_type == "istft":
            output = self._speak(features, mask, f0, pitch_shift, first_frame, first_phase)
        else:
            output = UnitVocoderOutput(waveform=self._upsample(features, mask))
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()

    def predict_pitch(
        self,
        unit_ids: torch.LongTensor,
        spectrogram: torch.FloatTensor,
        speaker_embeddings: torch.FloatTensor,
        unit_attention_mask: torch.Tensor | None = None,
    ) -> torch.FloatTensor:
        """Pitch in Hz every 10 ms, float32 (B, 2U), 0 where unvoiced; the arguments are those of `forward`.

        Raises:
            Lip2SpeechError: as `forward`.
        """
        check_inputs(self.config, unit_ids, spectrogram, speaker_embeddings, unit_attention_mask)
        self.check_knows_pitch("predict_pitch")
        features, mask = self._features(unit_ids, spectrogram, speaker_embeddings, unit_attention_mask)
        return _hertz(*self.generator.pitch_predictor(features, mask), mask)

    def _features(
        self, unit_ids, spectrogram, speaker_embeddings, unit_attention_mask
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mel, units and speaker (B, 2U, input_channels), and the mask (B, 2U, 1) or None."""
        dtype = self.unit_embedding.weight.dtype
        mask = None if unit_attention_mask is None else unit_attention_mask.to(dtype)[:, None, :]

        units = self.unit_embedding(unit_ids).transpose(1, 2)  # (B, E, U)
        units = F.gelu(self.unit_upsampler(masked(units, mask))).transpose(1, 2)  # (B, 2U, E)
        units = self.unit_projection(self.unit_dropout(units))
        speaker = self.speaker_projection(speaker_embeddings.to(dtype))  # (B, S)
        batch, frames = spectrogram.shape[:2]
        speaker = speaker[:, None, :].expand(batch, frames, -1)

        spectrogram = spectrogram.to(units.dtype)
        if self.config.inputs == "units":
            spectrogram = torch.zeros_like(spectrogram)
        elif self.config.inputs == "mel":  # times 0: processes that train together expect gradients here, too
            units = units * 0
        mask = _stretch(mask, SAMPLES_PER_UNIT // HOP_LENGTH)
        return torch.cat([spectrogram, units, speaker], dim=-1), None if mask is None else mask.mT

    def _upsample(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """HiFi-GAN: (B, 2U, input_channels) to (B, 320U)."""
        hidden, mask = features.transpose(1, 2), None if mask is None else mask.mT  # channels last in memory
        hidden = self.conv_pre(masked(hidden, mask))
        for stage in self.stages:
            hidden = stage(hidden, mask)
            mask = _stretch(mask, stage.rate)
        hidden = F.leaky_relu(hidden, _LAST_SLOPE)
        return masked(torch.tanh(self.conv_post(masked(hidden, mask))), mask).squeeze(1)

    def _speak(self, features, mask, f0, pitch_shift, first_frame, first_phase) -> UnitVocoderOutput:
        """The inverse-STFT generator."""
        bins = self.config.num_mel_bins
        log_f0 = voicing_logits = None
        if f0 is None or self.training:
            log_f0, voicing_logits = self.generator.pitch_predictor(features, mask)
        f0 = _hertz(log_f0.detach(), voicing_logits, mask) if f0 is None else f0.float()
        log_mel = features[..., :bins].float()
        smooth = self.generator.without_harmonics(log_mel)
        if pitch_shift:
            f0, log_mel = raised(f0, pitch_shift), smooth
        elif self.training and self.config.harmonic_dropout:
            dropped = torch.rand(len(log_mel), 1, 1, device=log_mel.device) < self.config.harmonic_dropout
            log_mel = torch.where(dropped, smooth, log_mel)
        features = torch.cat([log_mel.to(features.dtype), features[..., bins:]], dim=-1)
        waveform = self.generator(features, log_mel, f0, mask, first_frame, first_phase).clamp(-1, 1)
        if mask is not None:
            waveform = waveform * mask.repeat_interleave(HOP_LENGTH, dim=1).squeeze(-1)
        return UnitVocoderOutput(waveform=waveform, f0=f0, log_f0=log_f0, voicing_logits=voicing_logits)

    def check_pitch_shift(self, semitones: float) -> None:
        """Raise `Lip2SpeechError` if this vocoder cannot shift its pitch so."""
        if not math.isfinite(semitones) or abs(semitones) > MOST_SEMITONES:
            raise Lip2SpeechError(
                f"pitch_shift is {semitones} semitones; expected -{MOST_SEMITONES} to {MOST_SEMITONES}."
            )
        if semitones:
            self.check_knows_pitch(f"pitch_shift={semitones}")

    def check_knows_pitch(self, asked: str) -> None:
        """Raise `Lip2SpeechError` if this vocoder knows no pitch, but `asked` needs it."""
        if self.config.generator_type != "istft":
            raise Lip2SpeechError(
                f"{asked} was asked of a HiFi-GAN vocoder, which knows no pitch: use a model whose vocoder "
                'has generator_type "istft".'
            )

    def _normalised_layers(self) -> list[nn.Module]:
        """The convolutions that weight norm covers in training: all but the unit branch, as published."""
        if self.config.generator_type == "istft":
            return []
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


__all__ = ["UnitVocoderModel", "UnitVocoderOutput"]
