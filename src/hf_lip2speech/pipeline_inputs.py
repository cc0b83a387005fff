"""What the pipeline takes for a video, alone and in batches, up to the model's input.

Worker processes, forked or spawned, run this part: all of it can be pickled and none of it needs the model.
"""

import itertools
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from .constants import FRAME_RATE, MOUTH_SIZE, UNITS_PER_FRAME
from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .text.characters import BLANK
from .video.tracks import check_face

INPUTS = (
    "a path, an http(s) URL, the bytes of a video file, a binary file, "
    '{"frames": RGB frames (T, H, W, 3), "fps": float}, or a row {"video": path or bytes}'
)


@dataclass
class Numbered:
    """An input of a batch with its index, so that an error can say which input it was."""

    index: int
    value: Any


class NumberedRows(Dataset):
    """A sized, indexable collection (`datasets.Dataset`, `KeyDataset`) as numbered inputs."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Numbered:
        return Numbered(index, self.rows[index])


def numbered(rows: Iterable) -> Iterator[Numbered]:
    for index, row in enumerate(rows):
        yield Numbered(index, row)


def video_source(item: Any) -> str | os.PathLike | bytes | BinaryIO | dict:
    """The video in one input of the pipeline, as `mouth_crops` takes it.

    Args:
        item: a path, URL, bytes or binary file; `{"frames": array, "fps": float}` with RGB frames; or a data
            set's row: its key "video" holds any of these, or `{"path": ..., "bytes": ...}`, which is what a
            column of `datasets.Video(decode=False)` yields (such a value is taken by itself too). Other keys
            of a row are ignored.

    Raises:
        Lip2SpeechError: it is none of these.
    """
    if isinstance(item, (str, os.PathLike, bytes)) or hasattr(item, "read"):
        return item
    if isinstance(item, (bytearray, memoryview)):
        return bytes(item)
    if isinstance(item, dict):
        if "frames" in item:
            if item.get("fps") is None:
                raise Lip2SpeechError(
                    'The input has "frames" but no "fps": give the frames per second as "fps".'
                )
            return {"frames": item["frames"], "fps": item["fps"]}
        if item.get("video") is not None:
            return video_source(item["video"])
        for key in ("bytes", "path"):
            if item.get(key) is not None:
                return item[key]
        raise Lip2SpeechError(
            f"The input is a dict with the keys {sorted(map(str, item))}: expected {INPUTS}."
        )
    shape = f" of shape {tuple(item.shape)}" if hasattr(item, "shape") else ""
    raise Lip2SpeechError(
        f"The input is a {type(item).__name__}{shape}: expected {INPUTS}; for several videos a list, a "
        "data set (video columns with decode=False) or a generator of such."
    )


@dataclass
class VideoReader:
    """One input of the pipeline -> the model's input."""

    feature_extractor: Lip2SpeechFeatureExtractor

    def __call__(
        self,
        inputs: Any,
        cropped: bool = False,
        return_mouth: bool = False,
        face: int | str = "talking",
        detector: Any = None,
        progress: Any = None,
        start: float = 0.0,
        end: float | None = None,
        on_error: str = "raise",
        text_ids: list[list[int]] | None = None,
    ) -> dict[str, Any]:
        """The model's input, as `Lip2SpeechFeatureExtractor.gray` gives it: frames (1, T, 88, 88), scale and
        offset (1,); attention_mask (1, T), face_mask bool (1, T), and on request mouth (1, T, 96, 96).

        text_ids (1, L) is added where texts are given, one for all inputs or one for each.

        With on_error="return", an input that cannot be read gives one blank frame and its error, [error].
        """
        from .media.sources import describe
        from .media.video import open_video
        from .video.mouth import MouthClip, follow_mouth, ready_made_crops, view_problems

        place, item = (
            (f"Input {inputs.index}: ", inputs.value) if isinstance(inputs, Numbered) else ("", inputs)
        )
        failed = {}
        ids = (text_ids or [[]])[inputs.index if text_ids and len(text_ids) > 1 else 0]
        label = ""
        try:
            source = video_source(item)
            label = describe(source)
            with open_video(source, start=start, end=end) as video:
                if cropped:
                    crops = ready_made_crops(video, name=video.name)
                    mouth = MouthClip(crops, np.ones(len(crops), dtype=bool))
                else:
                    mouth = follow_mouth(
                        video, name=video.name, face=face, detector=detector, progress=progress
                    )
            check_room(ids, len(mouth.crops))
            problems = view_problems(mouth.crops, mouth.points, mouth.face_mask)
            if problems:
                warnings.warn(
                    f"{label or place or 'the video'} is hard to read, and the speech may be wrong: "
                    + "; ".join(problems),
                    stacklevel=2,
                )
        except Lip2SpeechError as error:
            where = f"{label}: " if label and label not in str(error) else ""
            if on_error == "return":
                failed = {"error": [type(error)(f"{where}{error}")]}
                mouth = MouthClip(np.zeros((1, MOUTH_SIZE, MOUTH_SIZE), np.uint8), np.ones(1, dtype=bool))
            elif place or where:
                raise type(error)(f"{place}{where}{error}") from error
            else:
                raise
        frames, (scale, offset) = self.feature_extractor.gray(mouth.crops)
        features: dict[str, Any] = {
            "frames": torch.from_numpy(frames)[None],
            "scale": torch.tensor([scale]),
            "offset": torch.tensor([offset]),
            "attention_mask": torch.ones((1, len(frames)), dtype=torch.int64),
            "face_mask": torch.from_numpy(mouth.face_mask)[None],
        }
        if return_mouth:
            features["mouth"] = torch.from_numpy(mouth.crops)[None]
        if text_ids:
            features["text_ids"] = torch.tensor([[BLANK] if failed else ids])
        return features | failed


def check_reading(given: Mapping[str, Any]) -> None:
    """
    Raises:
        Lip2SpeechError: Arguments of a call that are for the `VideoReader` cannot be used.
    """
    if "face" in given:
        check_face(given["face"])
    if "start" in given:
        from .media.decoding import check_part  # imports FFmpeg

        check_part(given["start"], given["end"])
    if given.get("on_error", "raise") not in ("raise", "return"):
        raise Lip2SpeechError(f'on_error is "raise" or "return", got {given["on_error"]!r}.')
    if "progress" in given and not callable(given["progress"]):
        raise Lip2SpeechError(f"progress must be callable, got {given['progress']!r}.")
    detector = given.get("detector")
    if detector is not None and not (callable(detector) and hasattr(detector, "reset")):
        raise Lip2SpeechError(
            f"detector must be a LandmarkDetector, which is called and has reset(), got {detector!r}."
        )


def check_room(text_ids: list[int], frames: int) -> None:
    """
    Raises:
        Lip2SpeechError: The characters of a text are more than a clip has positions for.
    """
    needed = len(text_ids) + sum(a == b for a, b in itertools.pairwise(text_ids))
    if needed > UNITS_PER_FRAME * frames:
        raise Lip2SpeechError(
            f"the text has {len(text_ids)} characters, more than can be said in {frames / FRAME_RATE:g} s: "
            "give what is said in this video alone"
        )


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Items of one clip each, (1, T, ...) -> a batch, padded at the end with zeros; "error" is a list."""
    if len(items) == 1:
        return items[0]
    errors = [item.pop("error", [None])[0] for item in items]
    batch = {}
    for name in items[0]:
        tensors = [item[name] for item in items]
        if tensors[0].ndim == 1:
            batch[name] = torch.cat(tensors)
            continue
        longest = max(one.shape[1] for one in tensors)
        batch[name] = torch.cat(
            [F.pad(one, (0, 0) * (one.ndim - 2) + (0, longest - one.shape[1])) for one in tensors]
        )
    return batch | ({"error": errors} if any(errors) else {})
