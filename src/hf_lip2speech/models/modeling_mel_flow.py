"""A flow-matching post-net: from the mean that a lip-to-speech model predicts to a sample of a mel.

Conditional flow matching with straight (optimal-transport) paths: Lipman et al., arXiv 2210.02747; as a
decoder of mels: Matcha-TTS, arXiv 2309.03199. The path starts at the predicted mel plus noise and not at
noise alone, as in shallow flow matching (arXiv 2505.12226), so that a small network and few steps suffice.

Shapes: B clips, U units (50 Hz), L = 2U mel frames (100 Hz), C channels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput
from transformers.utils import can_return_tuple

from ..constants import HOP_LENGTH, MEL_FLOOR, SAMPLES_PER_UNIT
from ..errors import Lip2SpeechError
from ..loading import StrictLoadingMixin
from .configuration_mel_flow import MelFlowConfig, check_sampling
from .convolution import ChannelsLastConv1d
from .istft_generator import VocoderConvNeXtBlock, masked
from .padding import check_inputs
from .text_conditioning import ZeroLinear

CHUNK_FRAMES = 2000  # mel frames computed at once, besides their context; any number gives the same mel
_MEL_PER_UNIT = SAMPLES_PER_UNIT // HOP_LENGTH
_MEL_MEAN, _MEL_STD = -6.0, 2.0  # roughly those of log-mels of speech; brings the condition to unit size
_SILENCE = math.log(MEL_FLOOR)
_FASTEST, _SLOWEST = 1000.0, 0.1  # radians per unit of the flow's time, of its sinusoids

Generators = torch.Generator | Sequence[torch.Generator]


@dataclass
class MelFlowOutput(ModelOutput):
    """Output of [`MelFlowModel`].

    Args:
        loss: mean squared error of the velocity over the mel frames that are not padding, float32 (); None
            without `mel_labels`.
        spectrogram: float32 (B, L, num_mel_bins), a sampled natural-log mel, zero where padded; None with
            `mel_labels`.
    """

    loss: torch.FloatTensor | None = None
    spectrogram: torch.FloatTensor | None = None


class MelFlowBlock(VocoderConvNeXtBlock):
    """A ConvNeXt block that time and speaker shift, scale and gate (adaLN-Zero: Peebles and Xie, arXiv
    2212.09748; one modulation for all blocks plus an offset of each: PixArt-alpha, arXiv 2310.00426)."""

    def __init__(self, config: MelFlowConfig):
        super().__init__(config.hidden_size, config.intermediate_size, config.conv_kernel_size)
        self.modulation_offset = nn.Parameter(torch.zeros(3 * config.hidden_size))

    def forward(
        self, hidden: torch.Tensor, mask: torch.Tensor | None, modulation: torch.Tensor
    ) -> torch.Tensor:
        """(B, L, C) to (B, L, C); mask (B, L, 1) or None; modulation (B, 1, 3C)."""
        shift, scale, gate = (modulation + self.modulation_offset).chunk(3, dim=-1)
        branch = self.depthwise_conv(masked(hidden, mask).transpose(1, 2)).transpose(1, 2)
        branch = self.norm(branch) * (1 + scale) + shift
        return hidden + gate * self.down_projection(F.gelu(self.up_projection(branch)))


class MelFlowModel(StrictLoadingMixin, PreTrainedModel):
    """Samples a mel spectrogram around the one that a `Lip2SpeechModel` predicts."""

    config_class = MelFlowConfig
    base_model_prefix = "mel_flow"
    main_input_name = "spectrogram"
    supports_gradient_checkpointing = True
    # There is no attention here: whatever a composite asks of its parts suits.
    _supports_sdpa = True
    _no_split_modules = ["MelFlowBlock"]
    # The other parts of a composite's repository.
    _keys_to_ignore_on_load_unexpected = [r"^lip2speech\.", r"^vocoder\."]

    def __init__(self, config: MelFlowConfig):
        super().__init__(config)
        width, bins = config.hidden_size, config.num_mel_bins
        self.unit_embedding = nn.Embedding(config.num_units, config.unit_embedding_dim)
        self.time_projection = nn.Linear(config.time_embedding_dim, width)
        self.speaker_projection = nn.Linear(config.speaker_embedding_dim, width)
        self.modulation = ZeroLinear(width, 3 * width)
        self.conv_pre = ChannelsLastConv1d(2 * bins + config.unit_embedding_dim, width, 3, padding="same")
        self.blocks = nn.ModuleList(MelFlowBlock(config) for _ in range(config.num_hidden_layers))
        self.norm_post = nn.LayerNorm(width)
        self.head = ZeroLinear(width, bins)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Normal weights scaled by their fan-in; at first every block is the identity, every velocity 0."""
        if isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv1d | nn.Linear):
            fan_in = module.weight[0].numel()
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range / fan_in**0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=1.0)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, MelFlowBlock):
            init.zeros_(module.modulation_offset)

    @can_return_tuple
    def forward(
        self,
        spectrogram: torch.FloatTensor,
        unit_ids: torch.LongTensor,
        speaker_embeddings: torch.FloatTensor,
        unit_attention_mask: torch.Tensor | None = None,
        mel_labels: torch.FloatTensor | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: Generators | None = None,
    ) -> MelFlowOutput:
        """Sample a mel, or measure the loss of training.

        Args:
            spectrogram: float (B, L, num_mel_bins), the predicted natural-log mel at 100 Hz.
            unit_ids: int64 (B, U), the predicted units, 0..num_units - 1.
            speaker_embeddings: float (B, speaker_embedding_dim), or (1, speaker_embedding_dim) for all.
            unit_attention_mask: (B, U), 1 = unit, 0 = padding, which comes last, or None when nothing is
                padded. With it, a clip has the same output in a padded batch as alone.
            mel_labels: float (B, L, num_mel_bins), the recording's mel: gives the loss and samples nothing.
            num_inference_steps: steps of Euler's method, 1 to 100; more follow the flow more closely. One
                step gives the mean of the samples. Default: the config's.
            guidance_scale: s in v = u + s (c - u), with the velocities c with and u without the condition;
                beyond 1 the sample keeps closer to the condition, at twice the cost. Default: the config's.
            generator: makes the noise, so that the result can be repeated; one for the batch, drawn from clip
                by clip, or one for each clip. Default: torch's.

        Raises:
            Lip2SpeechError: shapes that do not fit each other or the config, or numbers that cannot work.
        """
        given = (unit_ids, spectrogram, speaker_embeddings, unit_attention_mask, mel_labels)
        check_inputs(self.config, *given)
        batch, frames = spectrogram.shape[:2]
        mask, lengths = None, [frames] * batch
        if unit_attention_mask is not None:
            mask = unit_attention_mask.repeat_interleave(_MEL_PER_UNIT, dim=1)[..., None].float()
            lengths = [int(length) for length in mask.sum((1, 2))]
        steps = self.config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        check_sampling(steps, scale)
        condition = self._condition(spectrogram, unit_ids, speaker_embeddings.expand(batch, -1))
        noise = _noise(lengths, spectrogram, generator)
        if mel_labels is not None:
            return MelFlowOutput(loss=self._loss(noise, spectrogram, condition, mask, mel_labels, generator))
        state = noise
        for step in range(steps):
            time = state.new_full((batch,), step / steps)
            velocity = self._velocity_in_chunks(state, time, condition, mask, scale)
            state = state + velocity / steps
        sampled = spectrogram.float() + self.config.noise_std * state
        return MelFlowOutput(spectrogram=masked(sampled.clamp(min=_SILENCE), mask))

    def _loss(self, noise, spectrogram, condition, mask, mel_labels, generator) -> torch.Tensor:
        """Of the velocity at one time of each clip.

        Times are uniform, and spread evenly over the batch (arXiv 2107.00630, appendix I.1): of the
        logit-normal ones of image models few lie near 0, where the first step begins.
        """
        one = generator if isinstance(generator, torch.Generator) or generator is None else generator[0]
        place = {"generator": one, "device": one.device if one else spectrogram.device}
        batch = len(spectrogram)
        first = torch.rand((), **place).to(noise.device)
        time = (first + torch.arange(batch, device=noise.device) / batch) % 1
        end = masked((mel_labels.float() - spectrogram.float()) / self.config.noise_std, mask)
        state = torch.lerp(noise, end, time[:, None, None])
        keep = None
        if self.training and self.config.condition_dropout:
            kept = torch.rand(batch, **place) >= self.config.condition_dropout
            keep = kept.to(noise)[:, None, None]
        error = (self._velocity(state, time, *condition, mask, keep) - (end - noise)).square().mean(-1)
        if mask is None:
            return error.mean()
        return (error * mask.squeeze(-1)).sum() / mask.sum()

    def _condition(self, spectrogram, unit_ids, speaker_embeddings) -> tuple[torch.Tensor, torch.Tensor]:
        """Predicted mel and units (B, L, bins + E), and speaker (B, 1, C)."""
        dtype = self.unit_embedding.weight.dtype
        units = self.unit_embedding(unit_ids).repeat_interleave(_MEL_PER_UNIT, dim=1)
        mel = ((spectrogram.float() - _MEL_MEAN) / _MEL_STD).to(dtype)
        return torch.cat([mel, units], dim=-1), self.speaker_projection(speaker_embeddings.to(dtype))[:, None]

    def _velocity(
        self,
        state: torch.Tensor,
        time: torch.Tensor,
        features: torch.Tensor,
        speaker: torch.Tensor,
        mask: torch.Tensor | None,
        keep: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Of states (B, L, bins) at times (B,) from 0 to 1: float32 (B, L, bins). keep (B, 1, 1): 0 leaves
        out the condition."""
        if keep is not None:
            features, speaker = features * keep.to(features.dtype), speaker * keep.to(speaker.dtype)
        embedded = _sinusoids(time, self.config.time_embedding_dim).to(features.dtype)
        modulation = self.modulation(F.silu(self.time_projection(embedded)[:, None] + speaker))
        mask = None if mask is None else mask.to(features.dtype)
        hidden = torch.cat([state.to(features.dtype), features], dim=-1)
        hidden = self.conv_pre(masked(hidden, mask).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            hidden = block(hidden, mask, modulation)
        return masked(self.head(self.norm_post(hidden)), mask).float()

    def _velocity_in_chunks(self, state, time, condition, mask, guidance_scale: float) -> torch.Tensor:
        """The guided velocity of clips of any length, in bounded memory."""
        features, speaker = condition
        frames, context, pieces = state.shape[1], self.config.context_frames, []
        for start in range(0, frames, CHUNK_FRAMES):
            left, end = max(start - context, 0), min(start + CHUNK_FRAMES, frames)
            seen = slice(left, end + context)
            inside = None if mask is None else mask[:, seen]
            given = (state[:, seen], time, features[:, seen], speaker, inside)
            velocity = self._velocity(*given)
            if guidance_scale != 1:
                free = self._velocity(*given, keep=torch.zeros_like(speaker[..., :1]))
                velocity = free + guidance_scale * (velocity - free)
            pieces.append(velocity[:, start - left : end - left])
        return torch.cat(pieces, dim=1)


def _noise(lengths: list[int], like: torch.Tensor, generator: Generators | None) -> torch.Tensor:
    """Standard normal float32 (B, L, bins), zero after a clip's end, drawn clip by clip: what a clip gets
    depends neither on its padding nor on the device of the model."""
    single = generator is None or isinstance(generator, torch.Generator)
    generators = [generator] * len(lengths) if single else list(generator)
    if len(generators) != len(lengths):
        raise Lip2SpeechError(
            f"{len(generators)} generators were given for {len(lengths)} clips; give one, or one per clip."
        )
    noise = torch.zeros(like.shape, device=like.device)
    for row, length, source in zip(noise, lengths, generators, strict=True):
        device = like.device if source is None else source.device
        row[:length] = torch.randn(length, like.shape[2], generator=source, device=device).to(row.device)
    return noise


def _sinusoids(time: torch.Tensor, width: int) -> torch.Tensor:
    """(B,) -> float32 (B, width): cosines and sines of geometrically spaced frequencies."""
    steps = torch.linspace(0, 1, width // 2, device=time.device)
    angles = time.float()[:, None] * _SLOWEST * (_FASTEST / _SLOWEST) ** steps
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


__all__ = ["MelFlowModel", "MelFlowOutput"]
