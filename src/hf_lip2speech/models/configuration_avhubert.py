"""Configuration of AV-HuBERT's visual path."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import CROP_SIZE
from ..loading import StrictConfigMixin

LARGEST_SIZE = 1 << 16  # of a layer: more is a damaged file or a slip
MOST_LAYERS = 1000
LARGEST_NUMBER = 1e9

AVHUBERT_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}


@strict
class AVHubertConfig(StrictConfigMixin, PreTrainedConfig):
    r"""
    Sizes of [`AVHubertModel`]. The defaults are those of Base; `AVHubertConfig(**AVHUBERT_LARGE)` is Large.

    crop_size (`int`): side of the input frames in pixels.
    frontend_stem_channels, frontend_stem_stride (`int`), frontend_channels, frontend_blocks (`list[int]`),
        frontend_activation (`str`): the front end, as in [`Lip2SpeechConfig`].
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size (`int`): the transformer.
    position_kernel_size, position_groups (`int`): the convolution that encodes positions.
    audio_feature_size (`int`): inputs of the audio projection, whose weights are kept but not used.
    input_dropout, hidden_dropout, attention_dropout, activation_dropout (`float`): on the fused features,
        after attention, feed-forward and positions, on the attention weights, inside the feed-forward.
    layer_norm_eps (`float`): 1e-5 in the published system.
    initializer_range (`float`): standard deviation of the transformer's weights at the start.
    """

    model_type = "lip2speech_avhubert"

    crop_size: int = CROP_SIZE
    frontend_stem_channels: int = 64
    frontend_stem_stride: int = 2
    frontend_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    frontend_blocks: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    frontend_activation: Literal["silu", "relu", "prelu"] = "prelu"
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    position_kernel_size: int = 128
    position_groups: int = 16
    audio_feature_size: int = 104
    input_dropout: float | int = 0.1
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    activation_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        super().validate_architecture()
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        check_positive(self, *sizes, "position_kernel_size", "position_groups")
        check_positive(self, "audio_feature_size")
        check_frontend(self)
        check_shares(self, "input_dropout", "hidden_dropout", "attention_dropout", "activation_dropout")
        check_finite(self)
        for name in ("num_attention_heads", "position_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(
                    f"hidden_size must be a multiple of {name}: got hidden_size={self.hidden_size}, "
                    f"{name}={getattr(self, name)}."
                )


def check_positive(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError unless the named fields, numbers or lists of them, are 1 to what a model has."""
    for name in names:
        value = getattr(config, name)
        most = MOST_LAYERS if name.endswith(("layers", "blocks")) else LARGEST_SIZE
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if not 1 <= number <= most:
                raise ValueError(f"{name} must be at least 1 and at most {most}: got {number}.")


def check_shares(config: PreTrainedConfig, *names: str) -> None:
    """Raise a ValueError unless the named fields, dropouts and the like, are at least 0 and less than 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 0 and less than 1: got {getattr(config, name)}.")


def check_finite(config: PreTrainedConfig) -> None:
    """Raise a ValueError for a number that is not finite, or beyond any use."""
    for name, value in vars(config).items():
        if isinstance(value, int | float) and not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"{name} must be a finite number of ordinary size: got {value}.")


def check_frontend(config: PreTrainedConfig) -> None:
    """Raise a ValueError unless the `frontend_*` fields and `crop_size` make a front end."""
    check_positive(config, "crop_size", "frontend_stem_channels", "frontend_stem_stride")
    check_positive(config, "frontend_channels", "frontend_blocks")
    if len(config.frontend_channels) != len(config.frontend_blocks):
        raise ValueError(
            "frontend_channels and frontend_blocks describe the same stages and must be equally long: "
            f"got {list(config.frontend_channels)} and {list(config.frontend_blocks)}."
        )


__all__ = ["AVHUBERT_LARGE", "AVHubertConfig"]
