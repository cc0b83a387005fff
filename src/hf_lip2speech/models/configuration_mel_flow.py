"""Configuration of the flow-matching post-net."""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import NUM_MEL_BINS, NUM_UNITS, SPEAKER_EMBEDDING_DIM
from ..errors import Lip2SpeechError
from ..loading import StrictConfigMixin
from .configuration_avhubert import check_finite, check_positive, check_shares

MOST_STEPS = 100


@strict
class MelFlowConfig(StrictConfigMixin, PreTrainedConfig):
    """Sizes of a `MelFlowModel` and its defaults of sampling (4,733,520 parameters).

    Args:
        num_units: number of speech units; ids are 0..num_units - 1.
        unit_embedding_dim: width of the unit embedding.
        num_mel_bins: bins of the log-mel.
        speaker_embedding_dim: width of the speaker embedding given by the caller.
        hidden_size, intermediate_size: widths of the ConvNeXt blocks.
        num_hidden_layers: number of these blocks.
        conv_kernel_size: odd kernel of their convolutions, in mel frames.
        time_embedding_dim: width of the embedding of the flow's time, even.
        noise_std: standard deviation of the noise that is added to the predicted mel, in natural-log units:
            about that of the difference between the predicted mel and the recording's.
        condition_dropout: probability, in training, that a clip is learned without its condition (predicted
            mel, units and speaker), for classifier-free guidance.
        num_inference_steps: steps of Euler's method, 1 to 100, where the caller gives none.
        guidance_scale: of classifier-free guidance, where the caller gives none; 1 = none, at half the cost.
        initializer_range: standard deviation of newly made weights, times the square root of their fan-in.
    """

    model_type = "lip2speech_mel_flow"
    base_config_key = "mel_flow"

    num_units: int = NUM_UNITS
    unit_embedding_dim: int = 64
    num_mel_bins: int = NUM_MEL_BINS
    speaker_embedding_dim: int = SPEAKER_EMBEDDING_DIM
    hidden_size: int = 256
    intermediate_size: int = 1024
    num_hidden_layers: int = 8
    conv_kernel_size: int = 7
    time_embedding_dim: int = 128
    noise_std: float | int = 0.7
    condition_dropout: float | int = 0.1
    num_inference_steps: int = 4
    guidance_scale: float | int = 1.0
    initializer_range: float | int = 0.5

    def validate_sizes(self):
        """Every width is positive, and the defaults of sampling are possible."""
        check_positive(self, "num_units", "unit_embedding_dim", "num_mel_bins", "speaker_embedding_dim")
        check_positive(self, "hidden_size", "intermediate_size", "num_hidden_layers", "conv_kernel_size")
        check_positive(self, "time_embedding_dim")
        check_shares(self, "condition_dropout")
        check_finite(self)
        if self.conv_kernel_size % 2 == 0 or self.time_embedding_dim % 2:
            raise ValueError(
                f"conv_kernel_size is {self.conv_kernel_size} and time_embedding_dim "
                f"{self.time_embedding_dim}; they must be odd and even."
            )
        if self.noise_std <= 0:
            raise ValueError(f"noise_std is {self.noise_std}; it must be positive.")
        check_sampling(self.num_inference_steps, self.guidance_scale)

    @property
    def context_frames(self) -> int:
        """Mel frames on either side of a frame that one step of the flow depends on."""
        return 1 + self.num_hidden_layers * (self.conv_kernel_size // 2)  # the first kernel is 3


def check_sampling(num_inference_steps: int, guidance_scale: float) -> None:
    """Raise `Lip2SpeechError` for a number of steps or a scale with which nothing can be sampled."""
    whole = isinstance(num_inference_steps, int) and not isinstance(num_inference_steps, bool)
    if not whole or not 1 <= num_inference_steps <= MOST_STEPS:
        raise Lip2SpeechError(
            f"num_inference_steps is {num_inference_steps!r}; expected a whole number, 1 to {MOST_STEPS}."
        )
    number = isinstance(guidance_scale, int | float) and math.isfinite(guidance_scale)
    if not number or guidance_scale < 0:
        raise Lip2SpeechError(
            f"guidance_scale is {guidance_scale!r}; expected a number of at least 0, 1 for no guidance."
        )


__all__ = ["MelFlowConfig", "check_sampling"]
