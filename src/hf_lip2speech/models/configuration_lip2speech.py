"""Configuration of the multi-target lip-to-speech model."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..constants import CROP_SIZE, NUM_MEL_BINS, NUM_UNITS, SPEAKER_EMBEDDING_DIM
from ..loading import StrictConfigMixin
from .configuration_avhubert import (
    LARGEST_SIZE,
    AVHubertConfig,
    check_finite,
    check_frontend,
    check_positive,
    check_shares,
)


@strict
class Lip2SpeechConfig(StrictConfigMixin, PreTrainedConfig):
    r"""
    Sizes of [`Lip2SpeechModel`]. The defaults are those of the paper (90,271,788 parameters).

    encoder ([`AVHubertConfig`], its `dict` or `None`): the encoder of the frames. `None`: the ResNet front
        end of the `frontend_*` fields, trained from scratch. Otherwise an AV-HuBERT of these sizes.
    freeze_encoder (`bool`): an AV-HuBERT's weights are not trained until `Lip2SpeechModel.unfreeze_encoder`
        is called; `False`: they are trained with the rest. The front end is trained in any case.
    frozen_encoder_eval (`bool`): a frozen AV-HuBERT stays in eval mode while the rest trains: no dropout,
        fixed batch-norm statistics. In the published training the statistics move; `False` reproduces that.
    num_visual_units (`int` or `None`): the model reads visual units, 0 .. num_visual_units - 1, one per
        frame, as [`VisualUnitExtractor`] makes them: the front end is an embedding of them. `None`, as
        published: it reads pictures.
    crop_size (`int`): side of the input frames in pixels.
    frontend_stem_channels, frontend_stem_stride (`int`): width and spatial stride of the 3-D convolution.
    frontend_channels, frontend_blocks (`list[int]`): widths and basic blocks of the residual stages; every
        stage but the first halves the resolution.
    frontend_activation (`str`): silu (as published), relu or prelu.
    frontend_dropout (`float`): dropout on the features of the front end or encoder (0 in the paper).
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, conv_kernel_size (`int`): the
        conformer.
    hidden_dropout, attention_dropout (`float`): dropout of the conformer.
    attention_window (`int` or `None`): how many unit positions (50 Hz) a position attends to on either side;
        `None`, as published, is the whole clip. With a window and the default attention implementation
        ("sdpa"), time and memory grow linearly with the length, and with the front end a long video has the
        same output in overlapping windows as at once; an AV-HuBERT attends to the whole clip in any case.
    layer_norm_eps (`float`): 1e-12 in the published system.
    num_units (`int`): size of the speech-unit vocabulary.
    unit_offset (`int`): special classes before the units: unit u is class u + unit_offset.
    num_mel_bins (`int`), speaker_embedding_dim (`int`): mel bins and speaker-embedding size.
    mel_head_size, mel_head_layers (`int`), mel_head_dropout (`float`): the mel head's convolutions.
    label_smoothing, unit_loss_weight, mel_loss_weight (`float`): the loss, see [`Lip2SpeechOutput`].
    text_vocabulary (`str`, `list[str]` or `None`): the characters that a CTC head on the encoder spells, the
        space between words among them, such as `" 'abcdefghijklmnopqrstuvwxyz"`. Character i is class i + 1;
        class 0 is the blank. `None`: no head.
    vocabulary (`list[str]`, `list[list[str]]` or `None`): the words that the model knows, as a call of the
        pipeline takes them; `None`: any.
    ctc_loss_weight (`float`): of the head's loss, see [`Lip2SpeechOutput`].
    text_conditioner_size (`int` or `None`): width of a branch that lets a given text decide what is said
        (`text_ids` of the model), aligned by the text head, which it needs. It is trained on the texts of the
        clips; the encoder is not trained by its loss. `None`: no branch.
    voice_from_face (`bool`): a head that predicts the speaker embedding from the frames, so that no voice has
        to be given (`speaker="face"` of the pipeline). It has convolutions of its own, trained by the
        cosine to the given embeddings.
    text_calibration (`list[float]`): scale and offset of the log-odds of a word's confidence, fitted on
        validation clips (`scripts/calibrate_text.py`), so that of the words of confidence p a share p is
        right. The default changes nothing.
    unlikely_word_score (`float`): a word of a given text that scores less (`text/plausibility.py`) cannot be
        what the lips say, and the pipeline warns. To be set on validation clips
        (`scripts/calibrate_text.py`); at the default, its characters have on average 1/33 of the probability
        of the head's own choice.
    max_av_offset (`int`): largest offset of the labels from the picture in mel frames (10 ms), to either
        side; the loss uses the offset that fits each clip best. For corpora whose sound and picture are
        aligned only to a frame, such as GRID; 0, as published, uses the labels as they are.
    correlation_loss_weight (`float`): of a loss that the paper does not have: 1 - the mean of a STOI-like and
        an ESTOI-like correlation of the mel's envelopes (`losses/lip2speech.py`). With `max_av_offset`,
        each clip's labels are given the lag of another clip of the batch for it, so that the model
        cannot memorise lags.
    masked_convolutions (`bool`): keep padding out of the front end, the convolutions and the batch-norm
        statistics, so that it changes no clip. The published code lets padding in; `False` reproduces that.
    initializer_range (`float`): standard deviation of the attention's position biases at the start.
    """

    model_type = "lip2speech"
    sub_configs_defaults = {"encoder": SubConfigSpec(config_class=AVHubertConfig, optional=True)}

    encoder: dict | PreTrainedConfig | None = None
    freeze_encoder: bool = True
    frozen_encoder_eval: bool = True
    num_visual_units: int | None = None
    crop_size: int = CROP_SIZE
    frontend_stem_channels: int = 64
    frontend_stem_stride: int = 2
    frontend_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    frontend_blocks: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    frontend_activation: Literal["silu", "relu", "prelu"] = "silu"
    frontend_dropout: float | int = 0.0
    hidden_size: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    conv_kernel_size: int = 31
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    attention_window: int | None = None
    layer_norm_eps: float = 1e-12
    num_units: int = NUM_UNITS
    unit_offset: int = 4
    num_mel_bins: int = NUM_MEL_BINS
    speaker_embedding_dim: int = SPEAKER_EMBEDDING_DIM
    mel_head_size: int = 512
    mel_head_layers: int = 3
    mel_head_dropout: float | int = 0.0
    label_smoothing: float | int = 0.1
    unit_loss_weight: float | int = 1.0
    mel_loss_weight: float | int = 10.0
    text_vocabulary: str | list[str] | tuple[str, ...] | None = None
    vocabulary: list | tuple | None = None
    ctc_loss_weight: float | int = 1.0
    text_conditioner_size: int | None = None
    voice_from_face: bool = False
    text_calibration: list[float | int] | tuple[float | int, ...] = (1.0, 0.0)
    unlikely_word_score: float | int = -3.5
    max_av_offset: int = 0
    correlation_loss_weight: float | int = 0.0
    masked_convolutions: bool = True
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs):
        self.max_av_offset = kwargs.pop("label_lag", self.max_av_offset)  # its former name
        super().__post_init__(**kwargs)

    @property
    def num_unit_classes(self) -> int:
        """Columns of `unit_logits`: the special classes, then the units."""
        return self.num_units + self.unit_offset

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        super().validate_architecture()
        if self.encoder is not None:
            self._validate_encoder()
        if self.num_visual_units is not None:
            check_positive(self, "num_visual_units")
            if self.encoder is not None:
                raise ValueError("num_visual_units and encoder are both given: a model reads one of the two.")
            if self.voice_from_face:
                raise ValueError("voice_from_face needs video, and num_visual_units is given: leave one out.")
        check_positive(self, "hidden_size", "num_attention_heads")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size must be even and a multiple of num_attention_heads: got "
                f"hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads}."
            )
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size must be odd to keep the length: got {self.conv_kernel_size}.")
        if self.attention_window is not None and self.attention_window < 1:
            raise ValueError(f"attention_window must be None or at least 1: got {self.attention_window}.")
        check_frontend(self)
        sizes = ("num_units", "num_mel_bins", "speaker_embedding_dim", "mel_head_size", "mel_head_layers")
        check_positive(self, *sizes, "num_hidden_layers", "intermediate_size", "conv_kernel_size")
        dropouts = ("frontend_dropout", "hidden_dropout", "attention_dropout", "mel_head_dropout")
        check_shares(self, *dropouts, "label_smoothing")
        check_finite(self)
        if self.max_av_offset < 0:
            raise ValueError(f"max_av_offset cannot be negative: got {self.max_av_offset}.")
        characters = () if self.text_vocabulary is None else list(self.text_vocabulary)
        if (self.text_vocabulary is not None and not characters) or len(set(characters)) != len(
            "".join(characters)
        ):
            raise ValueError(
                f"text_vocabulary must hold single characters, each once, or be None for no text head: got "
                f"{self.text_vocabulary!r}."
            )
        if self.vocabulary is not None and self.text_vocabulary is None:
            raise ValueError("vocabulary needs a text head: give text_vocabulary too.")
        if len(self.text_calibration) != 2:
            raise ValueError(f"text_calibration must be scale and offset: got {self.text_calibration!r}.")
        if self.text_conditioner_size is not None:
            check_positive(self, "text_conditioner_size")
            if self.text_vocabulary is None:
                raise ValueError("text_conditioner_size needs a text head: give text_vocabulary too.")
        if not 0 <= self.unit_offset <= LARGEST_SIZE:
            raise ValueError(
                f"unit_offset counts special classes, 0 to {LARGEST_SIZE}: got {self.unit_offset}."
            )

    def _validate_encoder(self):
        if self.encoder.model_type != AVHubertConfig.model_type:
            raise ValueError(
                f"encoder has model_type {self.encoder.model_type!r}; expected {AVHubertConfig.model_type!r} "
                "(an AVHubertConfig or its dict), or None for the ResNet front end."
            )
        if self.encoder.crop_size != self.crop_size:
            raise ValueError(
                f"crop_size is {self.crop_size} and the encoder's {self.encoder.crop_size}: both see the "
                "same frames, give one size."
            )


__all__ = ["Lip2SpeechConfig"]
