"""Which clips make a batch, and from lists of items to the models' batches."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

from ..errors import DatasetError
from ..text.alignment import character_times
from ..text.characters import UnknownCharacterError, decode_text, encode_text
from .sampling import EpochDataset

if TYPE_CHECKING:
    from ..models.configuration_lip2speech import Lip2SpeechConfig

IGNORED_LABEL = -100
SPREAD = 1.1  # a bucket's longest clip over its shortest


class FrameBatchSampler(Sampler[list[int]]):
    """Batches of indices, in an order and with neighbours that are drawn again for each epoch.

    Lengths are sorted into buckets whose longest is at most 1.1 times their shortest, so that no batch is
    padded by more than a tenth. A bucket's clips are shuffled and dealt out into batches as even in size as
    can be, so that all clips are seen; with several processes, at the end of an epoch up to `processes` - 1
    batches are left out. The number of batches per epoch depends on the lengths only, their contents on
    (seed, epoch): a training that is resumed in the middle of an epoch finds its place by counting.

    Args:
        lengths: Frames of each clip, as they are in the batch.
        batch_frames: Frames per batch at most, padding included; a longer clip is a batch of its own.
        dataset: Its `seed` and `epoch` are read when an epoch begins.
        processes: The number of batches is a multiple of it; process i takes batches i, i + processes, ...

    Raises:
        DatasetError: There are fewer batches than processes.
    """

    drop_last = True  # what accelerate asks: no batch is repeated to fill a round of processes

    def __init__(self, lengths: Sequence[int], batch_frames: int, dataset: EpochDataset, processes: int = 1):
        self.dataset = dataset
        order = np.argsort(lengths, kind="stable")
        ordered = np.asarray(lengths)[order]
        self._buckets: list[np.ndarray] = []
        self._counts: list[int] = []  # batches of each bucket
        start = 0
        while start < len(order):
            end = int(np.searchsorted(ordered, ordered[start] * SPREAD, side="right"))
            bucket = order[start:end]
            size = max(1, batch_frames // int(ordered[end - 1]))
            self._buckets.append(bucket)
            self._counts.append(-(-len(bucket) // size))
            start = end
        batches = sum(self._counts)
        self._length = batches // processes * processes
        if not self._length:
            raise DatasetError(
                f"{len(order)} clips of {sum(lengths)} frames are {batches} batches of at most "
                f"{batch_frames} frames, fewer than there are processes ({processes}): lower batch_frames."
            )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.dataset.seed, self.dataset.epoch))
        batches = [
            batch
            for bucket, count in zip(self._buckets, self._counts, strict=True)
            for batch in np.array_split(random.permutation(bucket), count)
        ]
        for number in random.permutation(len(batches))[: self._length]:
            yield batches[number].tolist()


class Lip2SpeechCollator:
    """Stage 1: pads the items of an `AugmentedDataset` into the arguments of `Lip2SpeechModel.forward`.

    Args:
        config: The model's.
        waveform: Whether batches have the recordings, too.
    """

    def __init__(self, config: "Lip2SpeechConfig", waveform: bool = False):
        self.waveform = waveform
        self.unit_offset = config.unit_offset
        self.num_units = config.num_units
        self.num_visual_units = config.num_visual_units
        self.text_vocabulary = config.text_vocabulary

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Items of T_i frames -> a batch, T the largest T_i, B = len(items).

        Returns:
            pixel_values_videos (B, T, 1, 88, 88) float32, or visual units (B, T), 0 after the end;
            attention_mask (B, T) int64, 1 = frame; speaker_embeddings (B, 256); unit_labels (B, 2T) int64
            class ids, -100 after the end; mel_labels (B, 4T, 80) float32, 0 after the end;
            mel_attention_mask (B, 4T) int64. For a model with a text head, text_labels (B, L) int64, classes
            of the characters of the items' texts, -100 after its end, L the largest number of characters, and
            text_times (B, L, 2) float32, from when to when each may be said (`character_times`), -inf to inf
            where nobody knows. If asked for, waveform (B, 640T) float32, 0 after the end.

        Raises:
            DatasetError: A unit or a visual unit is outside of the model's, or a text has a letter or digit
                that its vocabulary lacks.
        """
        units = [item["unit_labels"] for item in items]
        _check_units("unit", units, self.num_units)
        if self.num_visual_units is not None:
            seen = [item["pixel_values_videos"] for item in items]
            _check_units("visual unit", seen, self.num_visual_units)
        batch = {
            "pixel_values_videos": _pad([item["pixel_values_videos"] for item in items]),
            "attention_mask": _mask([item["pixel_values_videos"] for item in items]),
            "speaker_embeddings": torch.stack([item["speaker_embeddings"] for item in items]),
            "unit_labels": _pad([clip + self.unit_offset for clip in units], IGNORED_LABEL),
            "mel_labels": _pad([item["mel_labels"] for item in items]),
            "mel_attention_mask": _mask([item["mel_labels"] for item in items]),
        }
        if self.waveform:
            batch["waveform"] = _pad([item["waveform"] for item in items])
        if self.text_vocabulary is not None:
            texts = [self._characters(item) for item in items]
            batch["text_labels"] = _pad(texts, IGNORED_LABEL)
            batch["text_times"] = _pad([self._times(*pair) for pair in zip(items, texts, strict=True)])
        return batch

    def _characters(self, item: dict[str, Any]) -> torch.Tensor:
        try:
            ids = encode_text(item.get("text_labels", ""), self.text_vocabulary or "")
        except UnknownCharacterError as error:
            raise DatasetError(f"Clip {item.get('id', 'without ID')}: {error}") from error
        return torch.tensor(ids, dtype=torch.int64)

    def _times(self, item: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
        characters = decode_text(ids.tolist(), self.text_vocabulary or "")
        spaces = torch.tensor([character == " " for character in characters], dtype=torch.bool)
        return character_times(spaces, item.get("word_times", torch.zeros(0, 2)))


class VocoderSegmentCollator:
    """Stage 2: stacks the equally long items of a `VocoderSegmentDataset`.

    `num_units`: of the vocoder's config; a DatasetError where an item has another unit.
    """

    def __init__(self, num_units: int):
        self.num_units = num_units

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """B items of U units -> unit_ids (B, U) int64, spectrogram (B, 2U, 80), speaker_embeddings (B, 256),
        waveform (B, 320U), predicted (B,) bool and, where the items have it, f0 (B, 2U)."""
        _check_units("unit", [item["unit_ids"] for item in items], self.num_units)
        return {
            name: torch.stack([item[name] for item in items])
            for name, value in items[0].items()
            if isinstance(value, torch.Tensor)
        }


class MelFlowCollator:
    """Stage 3: pads the items of a `PredictedClips` into the arguments of `MelFlowModel.forward`."""

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Items of T_i frames -> a batch, T the largest T_i.

        Returns:
            spectrogram and mel_labels (B, 4T, 80) float32, 0 after the end; unit_ids (B, 2T) int64;
            unit_attention_mask (B, 2T) int64; speaker_embeddings (B, 256).
        """
        padded = {name: _pad([item[name] for item in items]) for name in ("spectrogram", "mel_labels")}
        units = [item["unit_ids"] for item in items]
        speakers = torch.stack([item["speaker_embeddings"] for item in items])
        return padded | {
            "unit_ids": _pad(units),
            "unit_attention_mask": _mask(units),
            "speaker_embeddings": speakers,
        }


def _check_units(kind: str, clips: Sequence[torch.Tensor], number: int) -> None:
    largest = max(int(clip.max()) for clip in clips)
    if largest >= number:
        raise DatasetError(
            f"The prepared clips hold {kind} {largest}, but the model's config has "
            f"num_{kind.replace(' ', '_')}s={number}; set it to the number of clusters that prepared them."
        )


def _pad(clips: Sequence[torch.Tensor], value: float = 0.0) -> torch.Tensor:
    return pad_sequence(list(clips), batch_first=True, padding_value=value)


def _mask(clips: Sequence[torch.Tensor]) -> torch.Tensor:
    return _pad([torch.ones(len(clip), dtype=torch.int64) for clip in clips])
