"""Configuration of the multi-target lip-to-speech model."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import CROP_SIZE, NUM_MEL_BINS, NUM_UNITS, SPEAKER_EMBEDDING_DIM


@strict
class Lip2SpeechConfig(PreTrainedConfig):
    r"""
    Sizes of [`Lip2SpeechModel`]. The defaults are those of the paper (90,271,788 parameters).

    crop_size (`int`): side of the input frames in pixels.
    frontend_stem_channels, frontend_stem_stride (`int`): width and spatial stride of the 3-D convolution.
    frontend_channels, frontend_blocks (`list[int]`): widths and basic blocks of the residual stages; every
        stage but the first halves the resolution.
    frontend_dropout (`float`): dropout on the front end's output features (0 in the paper).
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, conv_kernel_size (`int`): the
        conformer.
    hidden_dropout, attention_dropout (`float`): dropout of the conformer.
    attention_window (`int` or `None`): how many unit positions (50 Hz) a position attends to on either side;
        `None`, as published, is the whole clip. With a window, a long video gives in overlapping windows what
        it gives at once.
    layer_norm_eps (`float`): 1e-12 in the published system.
    num_units (`int`): size of the speech-unit vocabulary.
    unit_offset (`int`): special classes before the units: unit u is class u + unit_offset.
    num_mel_bins (`int`), speaker_embedding_dim (`int`): mel bins and speaker-embedding size.
    mel_head_size, mel_head_layers (`int`), mel_head_dropout (`float`): the mel head's convolutions.
    label_smoothing, unit_loss_weight, mel_loss_weight (`float`): the loss, see [`Lip2SpeechOutput`].
    masked_convolutions (`bool`): keep padding out of the convolutions, so that a clip in a padded batch gives
        what it gives alone. The published code lets padding in; `False` reproduces that.
    initializer_range (`float`): standard deviation of the attention's position biases at the start.
    """

    model_type = "lip2speech"

    crop_size: int = CROP_SIZE
    frontend_stem_channels: int = 64
    frontend_stem_stride: int = 2
    frontend_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    frontend_blocks: list[int] | tuple[int, ...] = (2, 2, 2, 2)
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
    masked_convolutions: bool = True
    initializer_range: float = 0.02

    @property
    def num_unit_classes(self) -> int:
        """Columns of `unit_logits`: the special classes, then the units."""
        return self.num_units + self.unit_offset

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        super().validate_architecture()
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size must be even and a multiple of num_attention_heads: got "
                f"hidden_size={self.hidden_size}, num_attention_heads={self.num_attention_heads}."
            )
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size must be odd to keep the length: got {self.conv_kernel_size}.")
        if len(self.frontend_channels) != len(self.frontend_blocks):
            raise ValueError(
                "frontend_channels and frontend_blocks describe the same stages and must be equally long: "
                f"got {list(self.frontend_channels)} and {list(self.frontend_blocks)}."
            )
        if self.attention_window is not None and self.attention_window < 1:
            raise ValueError(f"attention_window must be None or at least 1: got {self.attention_window}.")
        positive = (
            "num_units",
            "num_mel_bins",
            "mel_head_layers",
            "num_hidden_layers",
            "crop_size",
            "frontend_stem_stride",
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1: got {getattr(self, name)}.")
        if self.unit_offset < 0:
            raise ValueError(
                f"unit_offset counts special classes and cannot be negative: got {self.unit_offset}."
            )


__all__ = ["Lip2SpeechConfig"]
