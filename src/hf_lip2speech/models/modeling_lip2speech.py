"""The multi-target model: mouth frames and a speaker embedding -> speech-unit logits and a mel-spectrogram.

Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023, sections 2.1, 2.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from ..constants import MEL_PER_FRAME, UNITS_PER_FRAME
from ..loading import StrictLoadingMixin
from ..losses.av_offset import best_lags, move_labels
from ..losses.stoi_like import stoi_like_correlation
from .configuration_lip2speech import Lip2SpeechConfig
from .conformer import ConformerEncoder, ConformerLayer, RelPositionMultiHeadAttention, channels_last_conv1d
from .modeling_avhubert import AVHubertModel
from .visual_frontend import VisualFrontend, blank_padding, checked_mask, init_frontend_weights


@dataclass
class Lip2SpeechOutput(ModelOutput):
    """
    Output of [`Lip2SpeechModel`] for B clips of T frames, V unit classes.

    Args:
        loss (`torch.FloatTensor` of shape `()`): `unit_loss_weight * unit_loss + mel_loss_weight *
            (mel_loss + spectral_convergence_loss) + correlation_loss_weight * correlation_loss`, over the
            targets that were given.
        unit_loss: label-smoothed cross entropy, summed over a clip's units, mean over clips.
        mel_loss: mean absolute error over a clip's valid mel frames, mean over clips.
        spectral_convergence_loss: |y - x|_F / |y|_F of a clip, mean over clips.
        correlation_loss: 1 - `stoi_like_correlation` of a clip, mean over clips; None where its weight is 0.
        unit_logits (`(B, 2T, V)`): class scores; `Lip2SpeechModel.unit_ids` turns them into units.
        spectrogram (`(B, 4T, 80)`): natural-log mel; zeros where a clip has ended.
        last_hidden_state (`(B, 2T, C)`): of the conformer.
        hidden_states, attentions: of its layers.
    """

    loss: torch.FloatTensor | None = None
    unit_loss: torch.FloatTensor | None = None
    mel_loss: torch.FloatTensor | None = None
    spectral_convergence_loss: torch.FloatTensor | None = None
    correlation_loss: torch.FloatTensor | None = None
    unit_logits: torch.FloatTensor | None = None
    spectrogram: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class MelHead(nn.Module):
    """Speaker embedding and encoder states -> two mel frames a state. (B, L, C), (B, E) -> (B, 2L, bins)."""

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__()
        self.num_mel_bins = config.num_mel_bins
        self.frames_per_state = MEL_PER_FRAME // UNITS_PER_FRAME
        widths = [config.speaker_embedding_dim + config.hidden_size] + config.mel_head_layers * [
            config.mel_head_size
        ]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, 3, padding=1) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.dropout = nn.Dropout(config.mel_head_dropout)
        self.out_proj = nn.Linear(config.mel_head_size, config.num_mel_bins * self.frames_per_state)

    def forward(
        self, x: torch.Tensor, speaker_embeddings: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        speaker = speaker_embeddings.to(x.dtype)[:, None].expand(-1, x.shape[1], -1)
        x = torch.cat([speaker, x], dim=-1)  # the speaker comes first in the published weights
        for conv in self.convs:
            x = x if mask is None else x * mask
            x = F.gelu(self.dropout(channels_last_conv1d(conv, x)))
        x = self.out_proj(x)  # channel = 2 * bin + phase
        x = x.unflatten(-1, (self.num_mel_bins, self.frames_per_state)).transpose(2, 3)  # (B, L, 2, bins)
        return x.flatten(1, 2)


class Lip2SpeechPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    config: Lip2SpeechConfig
    config_class = Lip2SpeechConfig
    base_model_prefix = "lip2speech"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["ConformerLayer", "AVHubertLayer", "BasicBlock"]
    _keys_to_ignore_on_load_unexpected = [r"^vocoder\."]  # when loaded from a composite's repository
    _can_record_outputs = {
        "hidden_states": ConformerLayer,
        "attentions": OutputRecorder(RelPositionMultiHeadAttention, index=1),
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """He initialisation in the front end, Glorot in the conformer, as usual for either."""
        if isinstance(module, nn.Conv1d):
            bound = 1 / math.sqrt(module.weight[0].numel())
            init.uniform_(module.weight, -bound, bound)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, RelPositionMultiHeadAttention):
            init.normal_(module.position_bias_u, std=self.config.initializer_range)
            init.normal_(module.position_bias_v, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        else:
            init_frontend_weights(module)


class Lip2SpeechModel(Lip2SpeechPreTrainedModel):
    """Front end or AV-HuBERT, conformer, unit head and mel head. [`Lip2SpeechConfig`] has the paper's sizes.

    A frozen AV-HuBERT (`config.freeze_encoder`) runs without gradients until `unfreeze_encoder` is called.
    """

    def __init__(self, config: Lip2SpeechConfig):
        super().__init__(config)
        self.encoder_is_frozen = config.encoder is not None and config.freeze_encoder
        if config.encoder is None:
            self.frontend = VisualFrontend(config)
            width = self.frontend.width
        else:
            self.avhubert = AVHubertModel(config.encoder).requires_grad_(not self.encoder_is_frozen)
            self.avhubert_proj = nn.Linear(config.encoder.hidden_size, config.hidden_size)
            width = config.hidden_size
        self.frontend_dropout = nn.Dropout(config.frontend_dropout)
        self.encoder = ConformerEncoder(config, width)
        self.unit_head = nn.Linear(config.hidden_size, config.num_unit_classes)
        self.mel_head = MelHead(config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As `PreTrainedModel.from_pretrained`, which would leave a frozen encoder's weights trainable."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        if model.encoder_is_frozen:
            model.avhubert.requires_grad_(False)
        return loaded

    @classmethod
    def with_encoder(cls, encoder: AVHubertModel, **fields) -> "Lip2SpeechModel":
        """A new model that reads lips with a trained AV-HuBERT, which it holds (not a copy).

        Args:
            fields: of [`Lip2SpeechConfig`], where they differ from its defaults.
        """
        model = cls(Lip2SpeechConfig(encoder=encoder.config, **fields))
        model.avhubert = encoder.requires_grad_(not model.encoder_is_frozen)
        return model.train(model.training)

    def unfreeze_encoder(self) -> None:
        """Train the AV-HuBERT with the rest from now on."""
        self.encoder_is_frozen = False
        self.avhubert.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Lip2SpeechModel":
        super().train(mode)
        if self.encoder_is_frozen and self.config.frozen_encoder_eval:
            self.avhubert.eval()
        return self

    def unit_ids(self, unit_logits: torch.Tensor) -> torch.Tensor:
        """Most likely units, special classes excluded: (B, 2T, V) -> (B, 2T), 0 .. num_units - 1."""
        return unit_logits[..., self.config.unit_offset :].argmax(dim=-1)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        unit_labels: torch.Tensor | None = None,
        mel_labels: torch.Tensor | None = None,
        mel_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> Lip2SpeechOutput:
        """
        Args:
            pixel_values_videos (`(B, T, 1, 88, 88)`): normalised mouth frames at 25 fps, as
                [`Lip2SpeechFeatureExtractor`] makes them.
            attention_mask (`(B, T)`, *optional*): 1 for a frame, 0 for padding; default: no padding.
            speaker_embeddings (`(B, 256)`): GE2E embeddings of the voice.
            unit_labels (`(B, 2T)`, *optional*): class ids (unit + `config.unit_offset`), -100 = ignore.
            mel_labels (`(B, 4T, 80)`, *optional*): natural-log mel.
            mel_attention_mask (`(B, 4T)`, *optional*): 1 for a mel frame that counts; default: all of the
                clip's.

        Raises:
            ValueError: wrong shapes, or no speaker embeddings.
        """
        mask = checked_mask(pixel_values_videos, attention_mask, self.config.crop_size)
        self._check_speakers(speaker_embeddings, len(mask))
        padded = not bool(mask.all())
        features = self.frontend_dropout(self._features(pixel_values_videos, mask))  # (B, T, C)
        features = features.repeat_interleave(UNITS_PER_FRAME, dim=1)  # (B, 2T, C)
        mask = mask.repeat_interleave(UNITS_PER_FRAME, dim=1)
        states = self.encoder(features, mask)
        unit_logits = self.unit_head(states)
        conv_mask = mask[..., None].to(states.dtype) if padded and self.config.masked_convolutions else None
        spectrogram = self.mel_head(states, speaker_embeddings, conv_mask)

        mel_mask = mask.repeat_interleave(MEL_PER_FRAME // UNITS_PER_FRAME, dim=1)
        if conv_mask is not None:
            spectrogram = spectrogram * mel_mask[..., None].to(spectrogram.dtype)
        mel_mask = mel_mask if mel_attention_mask is None else mel_attention_mask.bool()
        losses = {}
        expected = mel_labels
        if self.config.max_av_offset and mel_labels is not None:
            mel_labels, unit_labels, expected = self._fitting_labels(
                spectrogram, mel_labels, unit_labels, mel_mask
            )
        if unit_labels is not None:
            losses["unit_loss"] = self._unit_loss(unit_logits, unit_labels)
        if mel_labels is not None:
            losses |= self._mel_losses(spectrogram, mel_labels, mel_mask)
            if self.config.correlation_loss_weight:
                correlation = stoi_like_correlation(spectrogram, expected, mel_mask)
                losses["correlation_loss"] = 1 - correlation.mean()
        return Lip2SpeechOutput(
            loss=self._total(losses),
            **losses,
            unit_logits=unit_logits,
            spectrogram=spectrogram,
            last_hidden_state=states,
        )

    def _features(self, videos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, T, 1, S, S) -> (B, T, C), from the front end or the encoder."""
        if self.config.encoder is None:
            return self.frontend(blank_padding(videos, mask))
        # not by requires_grad alone: weights that are to be unfrozen later have it from the start
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.encoder_is_frozen):
            features = self.avhubert(videos, mask).last_hidden_state
        return self.avhubert_proj(features)

    def _check_speakers(self, speaker_embeddings: torch.Tensor | None, batch: int) -> None:
        size = self.config.speaker_embedding_dim
        if speaker_embeddings is None or speaker_embeddings.shape != (batch, size):
            given = "nothing" if speaker_embeddings is None else f"shape {tuple(speaker_embeddings.shape)}"
            raise ValueError(
                f"speaker_embeddings: got {given}; expected ({batch}, {size}), one embedding a clip, as "
                "SpeakerEncoder makes it."
            )

    def _fitting_labels(self, spectrogram, mel_labels, unit_labels, mel_mask):
        """Both targets, moved by the lag of at most `max_av_offset` mel frames that fits each clip best; and
        the mel with another clip's lag in place of its own."""
        lengths = mel_mask.sum(1)
        lags = best_lags(spectrogram, mel_labels, mel_mask, self.config.max_av_offset)
        fitting = move_labels(mel_labels, lags, lengths)
        if unit_labels is not None:
            unit_lags = torch.div(lags, MEL_PER_FRAME // UNITS_PER_FRAME, rounding_mode="trunc")
            unit_labels = move_labels(unit_labels, unit_lags, (unit_labels != -100).sum(1))
        return fitting, unit_labels, move_labels(mel_labels, lags - lags.roll(1), lengths)

    def _unit_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy, its smoothing mass spread over the other classes; sum over units, mean over
        clips."""
        log_probs = F.log_softmax(logits.float(), dim=-1)
        valid = labels != -100
        nll = -log_probs.gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
        share = self.config.label_smoothing / (logits.shape[-1] - 1)
        smooth = (1 - self.config.label_smoothing - share) * nll - share * log_probs.sum(-1)
        return (smooth * valid).sum() / len(labels)

    @staticmethod
    def _mel_losses(
        spectrogram: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        weight = mask[..., None].float()
        error = (spectrogram.float() - labels.float()) * weight
        frames = weight.sum(dim=(1, 2)).clamp(min=1)
        l1 = error.abs().sum(dim=(1, 2)) / (frames * labels.shape[-1])
        norm = (labels.float() * weight).flatten(1).norm(dim=1)
        convergence = error.flatten(1).norm(dim=1) / norm.clamp(min=1e-8)
        return {"mel_loss": l1.mean(), "spectral_convergence_loss": convergence.mean()}

    def _total(self, losses: dict[str, torch.Tensor]) -> torch.Tensor | None:
        if not losses:
            return None
        total = 0.0
        if "unit_loss" in losses:
            total = self.config.unit_loss_weight * losses["unit_loss"]
        if "mel_loss" in losses:
            total = total + self.config.mel_loss_weight * (
                losses["mel_loss"] + losses["spectral_convergence_loss"]
            )
        if "correlation_loss" in losses:
            total = total + self.config.correlation_loss_weight * losses["correlation_loss"]
        return total


__all__ = ["Lip2SpeechModel", "Lip2SpeechOutput", "Lip2SpeechPreTrainedModel"]
