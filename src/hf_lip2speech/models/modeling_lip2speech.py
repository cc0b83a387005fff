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

from ..constants import UNITS_PER_FRAME
from ..loading import StrictLoadingMixin
from ..losses.lip2speech import ctc_loss, multi_target_losses
from ..text.characters import BLANK
from .configuration_lip2speech import Lip2SpeechConfig
from .conformer import ConformerEncoder, ConformerLayer, RelPositionMultiHeadAttention
from .face_voice import FaceVoiceHead
from .mel_head import MelHead
from .modeling_avhubert import AVHubertModel
from .padding import Padding, check_speakers, check_videos, find_padding
from .text_conditioning import TextConditioner, ZeroLinear
from .visual_frontend import VisualFrontend, init_frontend_weights


@dataclass
class Lip2SpeechOutput(ModelOutput):
    """
    Output of [`Lip2SpeechModel`] for B clips of T frames, V unit classes, C characters.

    Args:
        loss (`torch.FloatTensor` of shape `()`): `unit_loss_weight * unit_loss + mel_loss_weight *
            (mel_loss + spectral_convergence_loss) + correlation_loss_weight * correlation_loss`, over the
            targets that were given, + `ctc_loss_weight * ctc_loss` times the share of clips that have a text
            + `text_conditioned_loss` + `face_voice_loss`.
        unit_loss: label-smoothed cross entropy, summed over a clip's units, mean over clips.
        mel_loss: mean absolute error over a clip's valid mel frames, mean over clips.
        spectral_convergence_loss: |y - x|_F / |y|_F of a clip, mean over clips.
        correlation_loss: 1 - `stoi_like_correlation` of a clip, mean over clips; None where its weight is 0.
        ctc_loss: -log p(text) per character, mean over the clips that have a text; 0 where none has.
        text_conditioned_loss: the same weighted sum over units and mel as in `loss`, of what is predicted
            where `text_labels` are given as `text_ids`; None without `text_conditioner_size`.
        face_voice_loss: 1 - cosine of `face_voices` and the given embeddings, mean over clips; None without
            `voice_from_face`.
        unit_logits (`(B, 2T, V)`): class scores; `Lip2SpeechModel.unit_ids` turns them into units.
        spectrogram (`(B, 4T, 80)`): natural-log mel; zeros where a clip has ended.
        text_logits (`(B, 2T, C + 1)`): scores of the blank (class 0) and the characters of
            `text_vocabulary`; None where it is None.
        face_voices (`(B, 256)`): speaker embeddings that fit the faces; None without `voice_from_face`.
        last_hidden_state (`(B, 2T, hidden_size)`): of the conformer.
        hidden_states, attentions: of its layers.
    """

    loss: torch.FloatTensor | None = None
    unit_loss: torch.FloatTensor | None = None
    mel_loss: torch.FloatTensor | None = None
    spectral_convergence_loss: torch.FloatTensor | None = None
    correlation_loss: torch.FloatTensor | None = None
    ctc_loss: torch.FloatTensor | None = None
    text_conditioned_loss: torch.FloatTensor | None = None
    face_voice_loss: torch.FloatTensor | None = None
    unit_logits: torch.FloatTensor | None = None
    spectrogram: torch.FloatTensor | None = None
    text_logits: torch.FloatTensor | None = None
    face_voices: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class Lip2SpeechPreTrainedModel(StrictLoadingMixin, PreTrainedModel):
    config: Lip2SpeechConfig
    config_class = Lip2SpeechConfig
    base_model_prefix = "lip2speech"
    main_input_name = "pixel_values_videos"
    input_modalities = ("video",)
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["ConformerLayer", "AVHubertLayer", "BasicBlock"]
    # The other parts of a composite's repository.
    _keys_to_ignore_on_load_unexpected = [r"^vocoder\.", r"^mel_flow\."]
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
        elif isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, RelPositionMultiHeadAttention):
            init.normal_(module.position_bias_u, std=self.config.initializer_range)
            init.normal_(module.position_bias_v, std=self.config.initializer_range)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight)
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
        if config.num_visual_units is not None:
            width = config.frontend_channels[-1]  # so that a front end for pictures can take its place
            self.frontend = nn.Embedding(config.num_visual_units, width)
        elif config.encoder is None:
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
        if config.text_vocabulary is not None:
            self.text_head = nn.Linear(config.hidden_size, len(config.text_vocabulary) + 1)
        if config.text_conditioner_size is not None:
            self.text_conditioner = TextConditioner(config)
        if config.voice_from_face:
            self.face_voice_head = FaceVoiceHead(config)
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
        pixel_values_videos: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        speaker_embeddings: torch.Tensor | None = None,
        unit_labels: torch.Tensor | None = None,
        mel_labels: torch.Tensor | None = None,
        mel_attention_mask: torch.Tensor | None = None,
        chunk_frames: int | None = None,
        text_labels: torch.Tensor | None = None,
        text_times: torch.Tensor | None = None,
        text_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs,
    ) -> Lip2SpeechOutput:
        """
        Args:
            pixel_values_videos (`(B, T, 1, 88, 88)`): normalised mouth frames at 25 fps, as
                [`Lip2SpeechFeatureExtractor`] makes them; of a model with `num_visual_units`, int64 `(B, T)`.
            attention_mask (`(B, T)`, *optional*): 1 for a frame, 0 for padding; default: no padding.
            speaker_embeddings (`(B, 256)`): GE2E embeddings of the voice.
            unit_labels (`(B, 2T)`, *optional*): class ids (unit + `config.unit_offset`), -100 = ignore.
            mel_labels (`(B, 4T, 80)`, *optional*): natural-log mel.
            mel_attention_mask (`(B, 4T)`, *optional*): 1 for a mel frame that counts; default: all of the
                clip's.
            chunk_frames (`int`, *optional*): no output depends on frames beyond the end of its chunk of so
                many frames, as in a live stream (dynamic-chunk training: Zhang et al., arXiv 2012.05481).
                Only with the front end. Default: every output sees the whole clip.
            text_labels (`(B, L)`, *optional*): classes of the text's characters, as
                `hf_lip2speech.text.characters.encode_text` makes them, -100 = padding; all -100 = a clip
                without text.
            text_times (`(B, L, 2)`, *optional*): from when to when, in seconds, each of them may be said, so
                that the text head keeps time; default: anywhere.
            text_ids (`(B, L)`, *optional*): the same of texts that the clips are to say, with the lips'
                timing, for a model with `text_conditioner_size`; a clip without text says what is read.
            inputs_embeds (`(B, T, C)`, *optional*): what `frame_features` made of the frames, in place of
                `pixel_values_videos`; without a voice from the face.

        Raises:
            ValueError: wrong shapes, no speaker embeddings, text_labels for a model without text head,
                text_ids for one without text conditioning, or both or neither of frames and their features.
        """
        given = self._checked_inputs(pixel_values_videos, inputs_embeds)
        padding = find_padding(given, attention_mask)
        check_speakers(speaker_embeddings, given.shape[0], self.config.speaker_embedding_dim)
        face_voices = None
        if inputs_embeds is None:
            features = self.frame_features(given, padding, chunk_frames)
            if self.config.voice_from_face:
                face_voices = self.face_voice_head(given, padding)
        else:
            features = inputs_embeds
        padding = None if padding is None else padding.repeat(UNITS_PER_FRAME)
        states, unit_logits, spectrogram = self.predict(features, speaker_embeddings, padding, chunk_frames)
        text_logits = None if self.config.text_vocabulary is None else self.text_head(states)
        if text_ids is not None:
            unit_logits, spectrogram = self.predict_text(states, text_ids, speaker_embeddings, padding)

        losses = {}
        if unit_labels is not None or mel_labels is not None:
            if mel_attention_mask is None:
                mel_attention_mask = spectrogram.new_ones(spectrogram.shape[:2])
                if padding is not None:
                    mel_attention_mask = padding.mask.repeat_interleave(self.mel_head.frames_per_state, dim=1)
            targets = (unit_labels, mel_labels, mel_attention_mask.bool())
            losses = multi_target_losses(self.config, unit_logits, spectrogram, *targets)
            if self.config.text_conditioner_size is not None and text_labels is not None:
                told = self.predict_text(states.detach(), text_labels, speaker_embeddings, padding)
                losses["text_conditioned_loss"] = multi_target_losses(self.config, *told, *targets)["loss"]
                losses["loss"] = losses["loss"] + losses["text_conditioned_loss"]
            if face_voices is not None:
                likeness = F.cosine_similarity(face_voices.float(), speaker_embeddings.float())
                losses["face_voice_loss"] = 1 - likeness.mean()
                losses["loss"] = losses["loss"] + losses["face_voice_loss"]
        if text_labels is not None:
            if text_logits is None:
                raise ValueError(
                    "text_labels were given, but the model has no text head (its text_vocabulary is None). "
                    "Train one with a vocabulary, or leave text_labels out."
                )
            mask = None if padding is None else padding.mask
            of_clips = ctc_loss(text_logits, text_labels, mask, text_times)
            with_text = (text_labels > BLANK).any(dim=1).sum().clamp(min=1)
            losses["ctc_loss"] = of_clips.sum() / with_text
            losses["loss"] = losses.get("loss", 0.0) + self.config.ctc_loss_weight * of_clips.mean()
        return Lip2SpeechOutput(
            **losses,
            unit_logits=unit_logits,
            spectrogram=spectrogram,
            text_logits=text_logits,
            face_voices=face_voices,
            last_hidden_state=states,
        )

    def _checked_inputs(self, videos: torch.Tensor | None, features: torch.Tensor | None) -> torch.Tensor:
        """The one that is given, if its shape is right."""
        if (videos is None) == (features is None):
            raise ValueError("Give one of pixel_values_videos and inputs_embeds.")
        if features is None:
            check_videos(videos, self.config.crop_size if self.config.num_visual_units is None else None)
            return videos
        width = self.encoder.in_proj.in_features
        if features.ndim != 3 or features.shape[2] != width:
            raise ValueError(
                f"inputs_embeds has shape {tuple(features.shape)}; expected (batch, frames, {width}), as "
                "frame_features makes it."
            )
        return features

    def predict(
        self,
        features: torch.Tensor,
        speaker_embeddings: torch.Tensor,
        padding: Padding | None = None,
        chunk_frames: int | None = None,
        first: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What `forward` makes of the frames' features (B, T, C): states, unit logits and spectrogram.

        Args:
            padding: that of the units (B, 2T).
            first: frame from which on logits and spectrogram are predicted (states are of all frames); the
                frames before are its context. Only without padding and chunks.
        """
        features = self.frontend_dropout(features).repeat_interleave(UNITS_PER_FRAME, dim=1)  # (B, 2T, C)
        chunk = None if chunk_frames is None else chunk_frames * UNITS_PER_FRAME
        states = self.encoder(features, padding, chunk)
        masked = padding if self.config.masked_convolutions else None
        context = min(UNITS_PER_FRAME * first, len(self.mel_head.convs))  # each of which sees one more state
        seen = states[:, UNITS_PER_FRAME * first - context :]
        mel = self.mel_head(seen, speaker_embeddings, masked, chunk)
        return (
            states,
            self.unit_head(seen[:, context:]),
            mel[:, context * self.mel_head.frames_per_state :],
        )

    @torch.no_grad()
    def predict_voices(
        self, pixel_values_videos: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The `face_voices` of clips, (B, 256), without reading lips; for a model with `voice_from_face`."""
        check_videos(pixel_values_videos, self.config.crop_size)
        padding = find_padding(pixel_values_videos, attention_mask)
        return self.face_voice_head(pixel_values_videos, padding)

    def predict_text(
        self,
        states: torch.Tensor,
        text_ids: torch.Tensor,
        speaker_embeddings: torch.Tensor,
        padding: Padding | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit logits and spectrogram of clips that say given texts where their lips say them best.

        Args:
            states: the encoder's, (B, 2T, C).
            text_ids: (B, L), see `forward`. A text for which a clip is too short is left out.
            padding: that of the units (B, 2T).
        """
        if self.config.text_conditioner_size is None:
            raise ValueError(
                "A text was given, but the model cannot be told what to say: its config has "
                "text_conditioner_size=None. Leave the text out, or train a model with one."
            )
        states = self.text_conditioner(states, text_ids, self.text_head(states), padding)
        masked = padding if self.config.masked_convolutions else None
        return self.unit_head(states), self.mel_head(states, speaker_embeddings, masked)

    def frame_features(
        self,
        videos: torch.Tensor,
        padding: Padding | None = None,
        chunk_frames: int | None = None,
        first: int = 0,
    ) -> torch.Tensor:
        """(B, T, 1, S, S) -> (B, T - first, C), from the front end or the encoder.

        The frames before number `first` are seen by their neighbours; only with a front end and no padding.
        """
        if self.config.num_visual_units is not None:
            features = self.frontend(videos)[:, first:]
            return features if padding is None else padding.zero(features)
        skip_padding = self.config.masked_convolutions
        if self.config.encoder is None:
            if padding is not None and not skip_padding:
                videos = padding.zero(videos)
            return self.frontend(videos, padding if skip_padding else None, chunk_frames, first)
        if chunk_frames is not None:
            raise ValueError("chunk_frames is for models with a front end: an AV-HuBERT sees the whole clip.")
        # Not by requires_grad alone: weights that are to be unfrozen later have it from the start. Where some
        # have it and others not, adapters were put into a frozen encoder.
        adapted = len({parameter.requires_grad for parameter in self.avhubert.parameters()}) > 1
        trained = not self.encoder_is_frozen or adapted
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            features = self.avhubert(videos, padding, skip_padding=skip_padding).last_hidden_state
        return self.avhubert_proj(features)


__all__ = ["Lip2SpeechModel", "Lip2SpeechOutput", "Lip2SpeechPreTrainedModel"]
