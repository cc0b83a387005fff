"""What the pipeline takes for a video, one by one and in batches, before any of it is read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch.utils.data import Dataset

from .errors import Lip2SpeechError

INPUTS = (
    "a path, an http(s) URL, the bytes of a video file, a binary file, "
    '{"frames": uint8 (T, H, W[, 3]), "fps": float}, or a row {"video": path or bytes}'
)


@dataclass
class Numbered:
    """An input of a batch with its place in it, so that an error can say which input it was."""

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
        item: a path, URL, bytes or binary file; `{"frames": uint8 (T, H, W[, 3]), "fps": float}`; or a data
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
            frames = item["frames"]
            return {
                "frames": frames.cpu().numpy() if isinstance(frames, torch.Tensor) else frames,
                "fps": item["fps"],
            }
        if item.get("video") is not None:
            return video_source(item["video"])
        if item.get("bytes") is not None:
            return item["bytes"]
        if item.get("path") is not None:
            return item["path"]
        raise Lip2SpeechError(
            f"The input is a dict with the keys {sorted(map(str, item))}: expected {INPUTS}."
        )
    shape = f" of shape {tuple(item.shape)}" if hasattr(item, "shape") else ""
    raise Lip2SpeechError(
        f"The input is a {type(item).__name__}{shape}: expected {INPUTS}; for several videos a list, a "
        "data set (video columns with decode=False) or a generator of such."
    )
