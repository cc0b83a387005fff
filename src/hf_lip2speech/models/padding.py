"""Padded batches: which positions hold frames, looked at once per forward pass."""

from typing import Any, NamedTuple

import torch

from ..constants import HOP_LENGTH, SAMPLES_PER_UNIT
from ..errors import Lip2SpeechError


class Padding(NamedTuple):
    """The positions of a padded batch that hold frames.

    A named tuple of tensors, so that accelerate moves it between devices with a layer's other arguments.

    Args:
        mask: bool (B, L), true where a position is a frame.
        index: int64 (N,), those positions in the flattened batch.
    """

    mask: torch.Tensor
    index: torch.Tensor

    @classmethod
    def from_mask(cls, mask: torch.Tensor) -> "Padding":
        return cls(mask, mask.flatten().nonzero().squeeze(1))

    def repeat(self, times: int) -> "Padding":
        """The same at a rate `times` as high."""
        return self.from_mask(self.mask.repeat_interleave(times, dim=1))

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        """The frames alone: (B, L, ...) -> (N, ...)."""
        return x.flatten(0, 1)[self.index]

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        """Back to their positions, zeros elsewhere: (N, ...) -> (B, L, ...)."""
        x = packed.new_zeros(self.mask.numel(), *packed.shape[1:])
        return x.index_copy(0, self.index, packed).unflatten(0, self.mask.shape)

    def zero(self, x: torch.Tensor) -> torch.Tensor:
        """Zeros wherever there is no frame: (B, L, ...) -> (B, L, ...)."""
        return x.masked_fill(~self.mask.view(*self.mask.shape, *[1] * (x.ndim - 2)), 0)


def find_padding(inputs: torch.Tensor, attention_mask: torch.Tensor | Padding | None) -> Padding | None:
    """The padding of inputs (B, T, ...) by a mask (B, T) or already found; None if nothing is padded.

    Raises:
        ValueError: the mask has another shape.
    """
    if attention_mask is None or isinstance(attention_mask, Padding):
        return attention_mask
    if attention_mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; expected "
            f"{tuple(inputs.shape[:2])}, one value per frame."
        )
    mask = attention_mask.bool()
    return None if bool(mask.all()) else Padding.from_mask(mask)


def check_videos(videos: torch.Tensor, crop_size: int | None) -> None:
    """Raise ValueError unless these are videos (B, T, 1, S, S); without a crop_size, visual units (B, T)."""
    if crop_size is None and videos.ndim != 2:
        raise ValueError(
            f"pixel_values_videos has shape {tuple(videos.shape)}; this model reads visual units (batch, "
            "frames), as VisualUnitExtractor makes them."
        )
    if crop_size is not None and (videos.ndim != 5 or videos.shape[2:] != (1, crop_size, crop_size)):
        raise ValueError(
            f"pixel_values_videos has shape {tuple(videos.shape)}; expected "
            f"(batch, frames, 1, {crop_size}, {crop_size}), as Lip2SpeechFeatureExtractor makes it."
        )


def check_speakers(speaker_embeddings: torch.Tensor | None, batch: int, size: int) -> None:
    """Raise ValueError unless there is one embedding (size,) per clip."""
    if speaker_embeddings is None or speaker_embeddings.shape != (batch, size):
        given = "nothing" if speaker_embeddings is None else f"shape {tuple(speaker_embeddings.shape)}"
        raise ValueError(
            f"speaker_embeddings: got {given}; expected ({batch}, {size}), one embedding per clip, as "
            "SpeakerEncoder makes it."
        )


def check_inputs(
    config: Any,
    unit_ids: torch.Tensor,
    spectrogram: torch.Tensor,
    speaker_embeddings: torch.Tensor,
    unit_attention_mask: torch.Tensor | None,
    mel_labels: torch.Tensor | None = None,
) -> None:
    """Raise `Lip2SpeechError` for shapes that do not fit each other or the config."""
    if torch.jit.is_tracing():  # sizes are tensors there
        return
    if unit_ids.ndim != 2 or unit_ids.shape[1] == 0:
        raise Lip2SpeechError(
            f"unit_ids has shape {tuple(unit_ids.shape)}; expected (batch, units), units >= 1."
        )
    batch, units = unit_ids.shape
    mel = (batch, units * (SAMPLES_PER_UNIT // HOP_LENGTH), config.num_mel_bins)
    for name, value in (("spectrogram", spectrogram), ("mel_labels", mel_labels)):
        if value is not None and value.shape != mel:
            raise Lip2SpeechError(
                f"{name} has shape {tuple(value.shape)}; unit_ids of shape {(batch, units)} need {mel}: two "
                "mel frames per unit. Cut both to the same duration."
            )
    width = config.speaker_embedding_dim
    if speaker_embeddings.shape != (batch, width) and speaker_embeddings.shape != (1, width):
        raise Lip2SpeechError(
            f"speaker_embeddings has shape {tuple(speaker_embeddings.shape)}; expected {(batch, width)} or "
            f"{(1, width)}."
        )
    if unit_attention_mask is not None and unit_attention_mask.shape != unit_ids.shape:
        raise Lip2SpeechError(
            f"unit_attention_mask has shape {tuple(unit_attention_mask.shape)}; expected that of unit_ids, "
            f"{(batch, units)}."
        )
