"""Views of a prepared split that change with the epoch, made in `__getitem__` so that workers do the work."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..audio.speech import f0_of_mel_frames
from ..constants import MEL_FLOOR, MEL_PER_FRAME, SAMPLES_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..errors import Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..losses.lags import best_lags, move_labels
from .augmentation import VideoAugmentation, evaluation_transform, sample_generator

# of `Lip2SpeechModel.forward`, by field of a `PreparedDataset`, where they differ
ARGUMENT_OF = {
    "unit_ids": "unit_labels",
    "mel": "mel_labels",
    "text": "text_labels",
    "visual_units": "pixel_values_videos",
}
PEAK = 0.95  # of the vocoder's target waveforms


class EpochDataset(Dataset):
    """A view of `dataset` whose items depend on (seed, epoch, index) and on nothing else.

    The epoch is in shared memory: `set_epoch` also reaches the workers of a DataLoader with persistent
    workers, provided that it is called before the epoch's iteration begins.
    """

    def __init__(self, dataset: Dataset, *, seed: int = 0):
        self.dataset = dataset
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Call before each epoch; a resumed training calls it with the epoch at which it resumes."""
        self._epoch.fill_(epoch)

    def generator(self, index: int) -> torch.Generator:
        return sample_generator(self.seed, self.epoch, index)

    def __len__(self) -> int:
        return len(self.dataset)  # ty: ignore[invalid-argument-type]


class AugmentedDataset(EpochDataset):
    """Stage 1: mouth crops become the model's input, augmented if told so, and long clips are cut.

    Args:
        dataset: A `PreparedDataset` with at least the field "frames" or "visual_units".
        augmentation: What to do to the video; None: the evaluation's centre crop. Visual units take none.
        max_frames: Longer clips are cut to this many frames at a place drawn from seed, epoch and index,
            together with their targets; None: never (evaluation).
        extractor: The model's feature extractor: size of the crop, mean and deviation of the pixels.

    An item holds the fields of `dataset` as tensors, named as the arguments of `Lip2SpeechModel.forward`:
    "frames" becomes "pixel_values_videos", float32 (T, 1, 88, 88), or "visual_units" do, int64 (T,), "mel"
    becomes "mel_labels", "unit_ids" becomes "unit_labels" (still units 0..num_units-1: `Lip2SpeechCollator`
    makes class ids of them), "text" becomes "text_labels" (still a str, "" where the clip was cut).
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: VideoAugmentation | None,
        *,
        max_frames: int | None = 600,
        seed: int = 0,
        extractor: Lip2SpeechFeatureExtractor | None = None,
    ):
        super().__init__(dataset, seed=seed)
        self.augmentation = augmentation
        self.extractor = extractor or Lip2SpeechFeatureExtractor()
        self.max_frames = max_frames

    @property
    def lengths(self) -> list[int]:
        """Frames of each item, as they are before a change of speed."""
        longest = self.max_frames or max(self.dataset.lengths)  # ty: ignore[missing-attribute]
        return [min(length, longest) for length in self.dataset.lengths]  # ty: ignore[missing-attribute]

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = self.generator(index)
        item = self.dataset[index]
        if self.augmentation is not None and self.augmentation.speed:
            faster = 2 * float(torch.rand((), generator=generator)) - 1
            item = change_speed(item, 1 + self.augmentation.speed * faster)
        frames = len(item["frames" if "frames" in item else "visual_units"])
        if self.max_frames is not None and frames > self.max_frames:
            start = int(torch.randint(frames - self.max_frames + 1, (), generator=generator))
            item = cut_frames(item, start, start + self.max_frames)
        item = _as_tensors(item)
        if "frames" in item:
            clip = item.pop("frames")
            if self.augmentation is None:
                item["pixel_values_videos"] = evaluation_transform(clip, self.extractor)
            else:
                item["pixel_values_videos"] = self.augmentation(clip, generator, self.extractor)
        return {ARGUMENT_OF.get(field, field): value for field, value in item.items()}


class VocoderSegmentDataset(EpochDataset):
    """Stage 2: one random segment of each clip per epoch (in validation, whole clips), true mel and units in,
    waveform out.

    Args:
        dataset: A `PreparedDataset` with "mel", "unit_ids", "speaker_embeddings" and "waveform".
        segment_units: Units U of a segment (28: 56 mel frames, 8,960 samples); None: all of the clip.
        augmentation: What to do to the mel that goes in, called with (2U, 80) and a generator; None: nothing.
        predictions: For each clip a dict with "mel" and "unit_ids" as a lip-to-speech model predicts them;
            they replace the true ones in half of the items, without augmentation. None: always the true ones.
        pitch: Items have "f0", float32 (2U,), Hz every 10 ms, 0 where unvoiced: Praat's, of the recording.
        seed: Of all draws.

    An item is {"id", "unit_ids" int64 (U,), "spectrogram" float32 (2U, 80), "speaker_embeddings" float32
    (256,), "waveform" float32 (320U,), "predicted" bool ()}; the waveform is scaled so that the whole clip's
    peak is 0.95. A clip shorter than a segment is followed by silence (its last unit repeated).
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        segment_units: int | None = 28,
        augmentation: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        predictions: Sequence[dict[str, Any]] | None = None,
        pitch: bool = False,
        seed: int = 0,
    ):
        super().__init__(dataset, seed=seed)
        if segment_units is not None and segment_units < 1:
            raise Lip2SpeechError(f"segment_units={segment_units}; expected at least one, or None.")
        if predictions is not None and len(predictions) != len(self):
            raise Lip2SpeechError(f"{len(predictions)} predictions for {len(self)} clips; expected one each.")
        self.predictions = predictions
        self.segment_units = segment_units
        self.augmentation = augmentation
        self.pitch = pitch
        self._f0: dict[int, np.ndarray] = {}  # of the clips that were read, since it takes a while

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = self.generator(index)
        item = self.dataset[index]
        if self.pitch:
            if index not in self._f0:
                self._f0[index] = f0_of_mel_frames(item["waveform"])
            item = item | {"f0": self._f0[index]}
        predicted = self.predictions is not None and float(torch.rand((), generator=generator)) < 0.5
        if predicted:
            item = item | self.predictions[index]
        item = _as_tensors(item)
        units, mel, waveform = item["unit_ids"], item["mel"], item["waveform"]
        peak = waveform.abs().max()
        if peak > 0:
            waveform = waveform * (PEAK / peak)
        size = self.segment_units or len(units)
        missing = size - len(units)
        if missing > 0:
            silence = torch.full((), MEL_FLOOR).log().item()
            units = torch.cat([units, units[-1:].expand(missing)])
            mel = torch.nn.functional.pad(mel, (0, 0, 0, 2 * missing), value=silence)
            waveform = torch.nn.functional.pad(waveform, (0, SAMPLES_PER_UNIT * missing))
            if self.pitch:
                item["f0"] = torch.nn.functional.pad(item["f0"], (0, 2 * missing))
        start = int(torch.randint(len(units) - size + 1, (), generator=generator))
        spectrogram = mel[2 * start : 2 * (start + size)]
        if self.augmentation is not None and not predicted:
            spectrogram = self.augmentation(spectrogram, generator)
        pitch = {"f0": item["f0"][2 * start : 2 * (start + size)]} if self.pitch else {}
        return pitch | {
            "id": item["id"],
            "unit_ids": units[start : start + size],
            "spectrogram": spectrogram,
            "speaker_embeddings": item["speaker_embeddings"],
            "waveform": waveform[SAMPLES_PER_UNIT * start : SAMPLES_PER_UNIT * (start + size)],
            "predicted": torch.tensor(predicted),
        }


class PredictedClips(EpochDataset):
    """Stage 3: what a lip-to-speech model predicts of each clip, and the recording's mel.

    Args:
        dataset: A `PreparedDataset` with "mel" and "speaker_embeddings".
        predictions: For each clip a dict with "mel" and "unit_ids".
        max_frames: Longer clips are cut to this many video frames at a random place; None: never.
        max_av_offset: By how many mel frames the recording may lag behind the prediction, to either side; it
            is moved to where it fits best.
        seed: Of all draws.

    An item is {"id", "spectrogram" float32 (4T, 80), "unit_ids" int64 (2T,), "speaker_embeddings" float32
    (256,), "mel_labels" float32 (4T, 80)}.
    """

    def __init__(
        self,
        dataset: Dataset,
        predictions: Sequence[dict[str, Any]],
        *,
        max_frames: int | None = None,
        max_av_offset: int = 0,
        seed: int = 0,
    ):
        super().__init__(dataset, seed=seed)
        self.predictions, self.max_frames, self.max_av_offset = predictions, max_frames, max_av_offset
        self._lags: dict[int, torch.Tensor] = {}  # of the clips that were read, since they take a while

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = _as_tensors(self.dataset[index])
        predicted = _as_tensors(self.predictions[index])
        spectrogram, labels = predicted["mel"][None], item["mel"][None]
        if self.max_av_offset:
            everywhere = torch.ones(labels.shape[:2], dtype=torch.bool)
            if index not in self._lags:
                self._lags[index] = best_lags(spectrogram, labels, everywhere, self.max_av_offset)
            labels = move_labels(labels, self._lags[index], everywhere.sum(1))
        frames = labels.shape[1] // MEL_PER_FRAME
        start, end = 0, frames
        if self.max_frames is not None and frames > self.max_frames:
            start = int(torch.randint(frames - self.max_frames + 1, (), generator=self.generator(index)))
            end = start + self.max_frames
        return {
            "id": item["id"],
            "spectrogram": spectrogram[0, MEL_PER_FRAME * start : MEL_PER_FRAME * end],
            "unit_ids": predicted["unit_ids"][UNITS_PER_FRAME * start : UNITS_PER_FRAME * end],
            "speaker_embeddings": item["speaker_embeddings"],
            "mel_labels": labels[0, MEL_PER_FRAME * start : MEL_PER_FRAME * end],
        }


def change_speed(item: dict[str, Any], factor: float) -> dict[str, Any]:
    """An item of `PreparedDataset` played `factor` times as fast: T / factor frames, with their targets.

    Frames and mel are interpolated linearly in time (the pitch stays), units are the nearest. An item must
    have no waveform: its pitch would change.
    """
    length = len(item["frames"])
    frames = max(1, round(length / factor))
    scale = length / frames  # so that the new clip ends where the old one does
    middles = (torch.arange(frames) + 0.5) * scale - 0.5
    units = ((torch.arange(UNITS_PER_FRAME * frames) + 0.5) * scale).long()
    mel = torch.arange(MEL_PER_FRAME * frames) * scale
    clip = _interpolate(torch.as_tensor(item["frames"]).float(), middles).round().to(torch.uint8)
    if "word_times" in item:
        item = item | {"word_times": torch.as_tensor(item["word_times"]) / scale}
    return item | {
        "frames": clip,
        "unit_ids": torch.as_tensor(item["unit_ids"])[units.clamp(max=UNITS_PER_FRAME * length - 1)],
        "mel": _interpolate(torch.as_tensor(item["mel"]), mel),
    }


def _interpolate(values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """`values` (N, ...) at fractional positions (M,), linearly; the ends are repeated."""
    positions = positions.clamp(0, len(values) - 1)
    before = positions.long().clamp(max=max(0, len(values) - 2))
    weight = (positions - before).view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[before], values[(before + 1).clamp(max=len(values) - 1)], weight)


def cut_frames(item: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """The video frames start..end of an item of `PreparedDataset`, with the targets that belong to them. Its
    text becomes "", since nobody knows which part of it they show."""
    if "text" in item:
        item = item | {"text": ""}
    rates = {"frames": 1, "visual_units": 1, "unit_ids": UNITS_PER_FRAME, "mel": MEL_PER_FRAME}
    rates["waveform"] = SAMPLES_PER_FRAME
    return {
        name: value[rates[name] * start : rates[name] * end] if name in rates else value
        for name, value in item.items()
    }


def _as_tensors(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else torch.as_tensor(value) for name, value in item.items()}
