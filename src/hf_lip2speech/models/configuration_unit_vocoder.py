"""Configuration of the multi-input vocoder (Choi, Kim, Ro, Interspeech 2023, section 2.3)."""

import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import (
    HOP_LENGTH,
    MEL_WINDOW,
    NUM_MEL_BINS,
    NUM_UNITS,
    SAMPLES_PER_UNIT,
    SAMPLING_RATE,
    SPEAKER_EMBEDDING_DIM,
)
from ..loading import StrictConfigMixin
from .configuration_avhubert import MOST_LAYERS, check_finite, check_positive, check_shares

_MEL_PER_UNIT = SAMPLES_PER_UNIT // HOP_LENGTH


@strict
class UnitVocoderConfig(StrictConfigMixin, PreTrainedConfig):
    """Sizes of a `UnitVocoderModel`; the defaults are the paper's (14,101,185 parameters; 14,111,618 with the
    weight norm of its training).

    Args:
        generator_type: "hifigan", upsampling by transposed convolutions, or "istft", ConvNeXt blocks at
            100 Hz and an inverse Fourier transform (after Vocos, arXiv 2306.00814), which predicts pitch too.
        inputs: "both", or "mel" or "units" alone; the other's channels are zeros.
        num_units: number of speech units; ids are 0..num_units - 1.
        unit_embedding_dim: width of the unit embedding, of its upsampler and of its projection.
        num_mel_bins: bins of the log-mel input.
        speaker_embedding_dim: width of the speaker embedding given by the caller.
        speaker_dim: width to which the speaker embedding is projected.
        upsample_initial_channel: channels after the first convolution; each upsampling stage halves them.
        upsample_rates: stride of every upsampling stage; their product is the 160 samples of a mel frame.
        upsample_kernel_sizes: kernel of every upsampling stage; at least its rate and of the same parity, so
            that a stage multiplies the length exactly.
        resblock_kernel_sizes: odd kernel of every residual block of a stage; the blocks' outputs are
            averaged.
        resblock_dilation_sizes: for every residual block, the dilations of its convolution pairs.
        leaky_relu_slope: slope of the activations (the one before the last convolution is 0.01, as in
            HiFi-GAN).
        hidden_size, intermediate_size: widths of the ConvNeXt blocks, of "istft" as all that follow here.
        num_hidden_layers: number of these blocks.
        conv_kernel_size: odd kernel of their convolutions.
        pitch_hidden_size, num_pitch_layers: sizes of the blocks that predict pitch; they are three times as
            wide inside.
        num_phase_iterations: iterations of Griffin and Lim that make the phases consistent, part of the
            model.
        harmonic_dropout: probability, in training, that a clip's mel is smoothed over frequency until no
            harmonics are left, so that the pitch asked for is spoken and not that of the mel.
        unit_dropout: dropout on the upsampled unit embedding, in training.
        initializer_range: standard deviation of newly made weights, times the square root of their fan-in.
            At 1 the first outputs are loud and learning starts slower than at 0.5.
    """

    model_type = "lip2speech_unit_vocoder"
    former_model_types = ("unit_vocoder",)
    base_config_key = "vocoder"

    generator_type: Literal["hifigan", "istft"] = "hifigan"
    inputs: Literal["both", "mel", "units"] = "both"
    num_units: int = NUM_UNITS
    unit_embedding_dim: int = 128
    num_mel_bins: int = NUM_MEL_BINS
    speaker_embedding_dim: int = SPEAKER_EMBEDDING_DIM
    speaker_dim: int = 128
    upsample_initial_channel: int = 512
    upsample_rates: list[int] | tuple[int, ...] = (5, 4, 2, 2, 2)
    upsample_kernel_sizes: list[int] | tuple[int, ...] = (11, 8, 4, 4, 4)
    resblock_kernel_sizes: list[int] | tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: list | tuple = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    leaky_relu_slope: float = 0.1
    hidden_size: int = 512
    intermediate_size: int = 1536
    num_hidden_layers: int = 5
    conv_kernel_size: int = 7
    pitch_hidden_size: int = 192
    num_pitch_layers: int = 3
    num_phase_iterations: int = 4
    harmonic_dropout: float | int = 0.2
    unit_dropout: float | int = 0.1
    initializer_range: float = 0.5

    def __post_init__(self, **kwargs):
        # Lists, as JSON gives them back: a config equals its reloaded copy.
        self.upsample_rates = list(self.upsample_rates)
        self.upsample_kernel_sizes = list(self.upsample_kernel_sizes)
        self.resblock_kernel_sizes = list(self.resblock_kernel_sizes)
        self.resblock_dilation_sizes = [
            list(row) if isinstance(row, list | tuple) else row for row in self.resblock_dilation_sizes
        ]
        rate = kwargs.pop("sampling_rate", SAMPLING_RATE)  # a field until 0.1
        if rate != SAMPLING_RATE:
            raise ValueError(f"sampling_rate is {rate}; the vocoder's waveforms have {SAMPLING_RATE} Hz.")
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        """Every width is positive and the channels can be halved once per stage."""
        widths = ("unit_embedding_dim", "num_mel_bins", "speaker_embedding_dim", "speaker_dim")
        check_positive(self, "num_units", *widths, "upsample_initial_channel")
        check_positive(self, "hidden_size", "intermediate_size", "num_hidden_layers", "conv_kernel_size")
        check_positive(self, "pitch_hidden_size", "num_pitch_layers")
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size is {self.conv_kernel_size}; it must be odd.")
        if not 0 <= self.num_phase_iterations <= MOST_LAYERS:
            raise ValueError(
                f"num_phase_iterations is {self.num_phase_iterations}; it must be 0 to {MOST_LAYERS}."
            )
        check_positive(self, "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes")
        check_shares(self, "unit_dropout", "harmonic_dropout", "leaky_relu_slope")
        check_finite(self)
        halvings = 2 ** len(self.upsample_rates)
        if self.upsample_initial_channel % halvings:
            raise ValueError(
                f"upsample_initial_channel is {self.upsample_initial_channel}, which "
                f"{len(self.upsample_rates)} upsampling stages cannot halve evenly: give a multiple of "
                f"{halvings}."
            )

    def validate_upsampling(self):
        """The stages turn one mel frame into exactly 160 samples."""
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        if not rates or min(rates) < 1 or math.prod(rates) != HOP_LENGTH:
            raise ValueError(
                f"upsample_rates {rates} multiply to {math.prod(rates)}; they must be positive and multiply "
                f"to {HOP_LENGTH}, the samples of a mel frame."
            )
        if len(kernels) != len(rates):
            raise ValueError(
                f"upsample_kernel_sizes has {len(kernels)} entries and upsample_rates {len(rates)}: give "
                "one kernel per stage."
            )
        for rate, kernel in zip(rates, kernels, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(
                    f"An upsampling kernel of {kernel} with rate {rate} does not multiply the length by the "
                    "rate: the kernel must be at least the rate and differ from it by an even number."
                )

    def validate_resblocks(self):
        """Every residual block has an odd kernel and at least one dilation."""
        kernels, dilations = self.resblock_kernel_sizes, self.resblock_dilation_sizes
        if not kernels or len(kernels) != len(dilations):
            raise ValueError(
                f"resblock_kernel_sizes has {len(kernels)} entries and resblock_dilation_sizes "
                f"{len(dilations)}: give one list of dilations per kernel, and at least one kernel."
            )
        if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise ValueError(
                f"resblock_kernel_sizes {kernels} must be odd, so that a block keeps the length."
            )
        for row in dilations:
            if not isinstance(row, list) or not row or any(not isinstance(v, int) or v < 1 for v in row):
                raise ValueError(f"resblock_dilation_sizes {dilations} must hold lists of positive integers.")

    @property
    def input_channels(self) -> int:
        """Channels that enter the generator: mel, units and speaker."""
        return self.num_mel_bins + self.unit_embedding_dim + self.speaker_dim

    @property
    def context_units(self) -> int:
        """Units on either side of a unit that its 320 samples can depend on: the receptive field, rounded up.

        Walks back from one unit's samples, layer by layer, through every convolution and upsampling.
        """
        first, last = self._reach_of_hifigan() if self.generator_type == "hifigan" else self._reach_of_istft()
        # The mel frames reached, as units; then the unit upsampler (kernel 4, stride 2) reaches further.
        mel_side = max(-first, last - (_MEL_PER_UNIT - 1))
        first, last = _transposed_reach(first, last, kernel=4, rate=_MEL_PER_UNIT)
        return max(-first, last, math.ceil(mel_side / _MEL_PER_UNIT))

    def _reach_of_hifigan(self) -> tuple[int, int]:
        """The first and the last mel frame that a unit's samples depend on, 0 and 1 being its own."""
        first, last = 0, SAMPLES_PER_UNIT - 1
        first, last = first - 3, last + 3  # conv_post, kernel 7
        blocks = zip(self.resblock_kernel_sizes, self.resblock_dilation_sizes, strict=True)
        reach = max((kernel - 1) // 2 * sum(d + 1 for d in dilations) for kernel, dilations in blocks)
        stages = [*zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True)]
        for rate, kernel in reversed(stages):
            first, last = first - reach, last + reach
            first, last = _transposed_reach(first, last, kernel, rate)
        first, last = first - 3, last + 3  # conv_pre, kernel 7
        return first, last

    def _reach_of_istft(self) -> tuple[int, int]:
        """The same; the pitch is given."""
        overlap = MEL_WINDOW // HOP_LENGTH
        inside = (overlap - 1) * self.num_phase_iterations
        layers = max(self.num_hidden_layers, self.num_pitch_layers)
        inside += 1 + layers * (self.conv_kernel_size // 2)  # conv_pre, kernel 3
        return -(overlap // 2 - 1) - inside, _MEL_PER_UNIT - 1 + overlap // 2 + inside


def _transposed_reach(first: int, last: int, kernel: int, rate: int) -> tuple[int, int]:
    """The first and the last input that outputs first..last of a transposed convolution depend on."""
    padding = (kernel - rate) // 2
    # Output o is the sum over inputs i and taps t in 0..kernel - 1 with o = i * rate - padding + t.
    return math.ceil((first + padding - (kernel - 1)) / rate), (last + padding) // rate


__all__ = ["UnitVocoderConfig"]
