"""A split of a prepared folder as a map-style PyTorch dataset."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet
import soundfile
from torch.utils.data import Dataset
from tqdm import tqdm

from ..constants import MEL_PER_FRAME, NUM_MEL_BINS, SAMPLES_PER_FRAME, SAMPLING_RATE, UNITS_PER_FRAME
from ..errors import DatasetError
from .layout import PreparedFolder

FIELDS = ("frames", "mel", "unit_ids", "speaker_embedding", "waveform")


def read_crops(path: Path) -> np.ndarray:
    """The mouth crops of a prepared folder's video, uint8 (T, 96, 96).

    Straight to gray, since its size and frame rate are known: a third of the time of reading any video.
    """
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="gray", threads=1) for frame in container.decode(video=0)])


class PreparedDataset(Dataset):
    """What `prepare` wrote, clip by clip in the order of the IDs.

    An item of a clip with T frames is a dict of "id" (str) and the chosen fields: "frames" uint8 (T, 96, 96)
    gray, "mel" float32 (4T, 80), "unit_ids" int64 (2T,), "speaker_embedding" float32 (256,), "waveform"
    float32 (640T,) in [-1, 1] at 16 kHz.

    Args:
        root: The prepared folder.
        split: "train", "val" or "test"; None: all clips.
        fields: Which fields an item has; only their files are read.
        cache: Read all clips now and keep them in memory (GRID's s1: 0.6 GB of frames, 0.25 GB of the rest),
            so that no video is decoded in the epochs; worker processes that are forked later share the
            memory.
        progress: Show a progress bar while they are read.

    Attributes:
        rows: The manifest's rows as dicts ("id", "speaker", "split", "text", "words", "frames", paths), with
            "words" decoded to [{"word", "start", "end"}] in seconds.
        lengths: Frames of each clip.

    Raises:
        DatasetError: The folder was not (or not to the end) prepared, has no such split, or a file of it is
            missing or of another length than the manifest says.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        fields: Iterable[str] = FIELDS,
        cache: bool = False,
        progress: bool = False,
    ):
        self.folder = PreparedFolder(root)
        self.split = split
        self.fields = tuple(fields)
        unknown = set(self.fields) - set(FIELDS)
        if unknown:
            raise DatasetError(f"fields={self.fields} has {sorted(unknown)}; expected some of {FIELDS}.")
        if not self.folder.manifest.is_file():
            if self.folder.state.is_dir():
                advice = "Its preparation was not finished: run hf-lip2speech prepare again to go on."
            else:
                advice = "Make one with hf-lip2speech prepare CORPUS DATA_DIR OUT and give OUT here."
            raise DatasetError(
                f"{root} has no {self.folder.manifest.name}; expected a prepared folder. {advice}"
            )
        rows = pyarrow.parquet.read_table(self.folder.manifest).to_pylist()
        self.rows = [row for row in rows if split is None or row["split"] == split]
        if not self.rows:
            raise DatasetError(
                f"{root} has no clip of split={split!r}; expected one of "
                f"{sorted({row['split'] for row in rows})}."
            )
        for row in self.rows:
            row["words"] = json.loads(row["words"])
        self.lengths = [row["frames"] for row in self.rows]
        self._cache: list[dict[str, Any]] | None = None
        if cache:
            self._cache = [self._read(row) for row in tqdm(self.rows, "reading clips", disable=not progress)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self._cache[index]) if self._cache is not None else self._read(self.rows[index])

    def _read(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], **{field: self._field(field, row) for field in self.fields}}

    def _field(self, field: str, row: dict[str, Any]) -> np.ndarray:
        frames = row["frames"]
        if field == "frames":
            path = self._existing(row["video"])
            value, length = read_crops(path), frames
        elif field == "mel":
            path = self._existing(row["mel"])
            value, length = np.load(path), MEL_PER_FRAME * frames
        elif field == "unit_ids":
            path = self._existing(row["units"])
            value, length = np.load(path).astype(np.int64), UNITS_PER_FRAME * frames
        elif field == "speaker_embedding":
            return np.load(self._existing(row["speaker_embedding"]))
        else:
            path = self._existing(row["audio"])
            value, rate = soundfile.read(path, dtype="float32")
            length = SAMPLES_PER_FRAME * frames
            if rate != SAMPLING_RATE:
                raise DatasetError(
                    f"{path} is sampled at {rate} Hz; expected {SAMPLING_RATE}. Prepare it anew."
                )
        if len(value) != length or (field == "mel" and value.shape[1:] != (NUM_MEL_BINS,)):
            raise DatasetError(
                f"{path} has shape {value.shape}; expected a length of {length}, since the manifest says "
                f"{frames} frames. The file was changed after the preparation: prepare the corpus into an "
                "empty folder."
            )
        return value

    def _existing(self, relative: str) -> Path:
        path = self.folder.root / relative
        if not path.is_file():
            raise DatasetError(
                f"{path} is missing although the manifest lists it; expected what `hf-lip2speech prepare` "
                "wrote, whole. Copy the folder again, or prepare the corpus into an empty one."
            )
        return path
