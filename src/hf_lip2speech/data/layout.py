"""Where the files of a prepared folder are, how they are written (complete or not at all) and read, and the
journal.

OUT/manifest.parquet    one row per clip, written last: a folder without it is incomplete
OUT/report.json         counts, hours, what was skipped and why
OUT/contact_sheet.png   the middle frames of random clips, to look at
OUT/unit_extractor/     the SpeechUnitExtractor that made the units
OUT/video/ID.mp4        mouth crops, 96x96 gray, 25 fps, T frames
OUT/audio/ID.flac       16 kHz mono, 640T samples
OUT/mel/ID.npy          log-mel, float32 (4T, 80)
OUT/units/ID.npy        units, int16 (2T,)
OUT/speaker/ID.npy      speaker embedding, float32 (256,)
OUT/visual_units/ID.npy on request: uint16 (T,), by the VisualUnitExtractor in OUT/visual_unit_extractor/
OUT/.prepare/           what is done so far (journal/), and files being written (staging/)

Paths follow from clip IDs alone, so that processes and machines can share the work without coordination.
"""

import errno
import json
import os
import socket
import tokenize
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import av
import numpy as np
import soundfile

from .. import constants
from ..constants import UNIT_EXTRACTOR
from ..errors import DatasetError, NotLoadedError
from ..files import atomic_file
from ..loading import json_object
from ..media.sources import ffmpeg_name, one_file

MANIFEST = "manifest.parquet"
REPORT = "report.json"
COLUMNS = {
    "video": "video/{}.mp4",
    "audio": "audio/{}.flac",
    "mel": "mel/{}.npy",
    "units": "units/{}.npy",
    "speaker_embedding": "speaker/{}.npy",
}
FILES = COLUMNS | {"visual_units": "visual_units/{}.npy"}  # the last is not in the manifest
LARGEST = 100  # of a log-mel, of which e**-100 and e**100 are no magnitudes, or an embedding
# what the readers of video, sound and arrays raise for a damaged file
DAMAGE = (
    *(av.FFmpegError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)


class PreparedFolder:
    """Paths in a prepared folder `root`, and atomic writing to them.

    `part` is the name of the shard that this process works on: shards stage unfinished files apart.
    """

    def __init__(self, root: str | Path, part: str = ""):
        self.root = Path(root)
        self.manifest = self.root / MANIFEST
        self.report = self.root / REPORT
        self.contact_sheet = self.root / "contact_sheet.png"
        self.unit_extractor = self.root / UNIT_EXTRACTOR
        self.visual_unit_extractor = self.root / f"visual_{UNIT_EXTRACTOR}"
        self.state = self.root / ".prepare"
        self.journal = self.state / "journal"
        self.staging = self.state / "staging" / part

    def relative(self, column: str, clip_id: str) -> str:
        """The manifest's entry for a clip's file; `column` is one of FILES."""
        return FILES[column].format(clip_id)

    def read_report(self) -> dict[str, Any]:
        """The report of the preparation; a DatasetError where it is missing or damaged."""
        try:
            report = json_object(self.report)
        except NotLoadedError as error:
            raise DatasetError(f"{self.report} is missing or damaged: prepare again to mend it.") from error
        if not {"corpus", "clips", "hours", "splits", "skipped"} <= set(report):
            raise DatasetError(f"{self.report} is no report of a preparation: prepare again to mend it.")
        return report

    def path(self, column: str, clip_id: str) -> Path:
        return self.root / self.relative(column, clip_id)

    def existing(self, column: str) -> set[str]:
        """The IDs that have a file in a column. Each folder is listed once; files are not looked at."""
        top, suffix = self.root / FILES[column].split("/")[0], Path(FILES[column]).suffix
        return {path.relative_to(top).as_posix().removesuffix(suffix) for path in top.rglob(f"*{suffix}")}

    def writing(self, path: Path) -> AbstractContextManager[Path]:
        """`atomic_file`, whose unfinished file (or folder) is in the staging folder."""
        return atomic_file(path, self.staging)

    def write_array(self, path: Path, array: np.ndarray) -> None:
        with self.writing(path) as unfinished:
            np.save(unfinished, array)

    def write_json(self, path: Path, value: Any) -> None:
        with self.writing(path) as unfinished:
            unfinished.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class Journal:
    """What was done to each clip: one line of JSON per clip, in one file per process in `directory`.

    Few files with many lines, not one file per clip: 150,000 lines are read in seconds, over a network too.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._path: Path | None = None

    def write(self, record: dict[str, Any]) -> None:
        """Add one line to this process's file, in one step."""
        if self._path is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._path = self.directory / f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        with open(self._path, "ab", buffering=0) as file:
            written = file.write(line)
        if written != len(line):
            self._path = None  # nothing is added after half a line
            raise OSError(errno.ENOSPC, "No space left on device", str(self.directory))

    def read(self) -> Iterator[dict[str, Any]]:
        """The records of all processes, those of one process in order.

        A line that is incomplete or damaged in any way is left out: its clip is prepared again.
        """
        for path in sorted(self.directory.glob("*.jsonl")):
            with open(path, "rb") as file:
                for line in file:
                    try:
                        record: Any = json.loads(line) if line.endswith(b"\n") else None
                    except (ValueError, RecursionError):
                        continue
                    if _is_record(record):
                        yield record


def _is_record(value: Any) -> bool:
    """Whether a journal's line has what `ClipWriter.write_files` writes, of the right types."""
    types = {"id": str, "speaker": str, "time": (int, float), "limit": int, "sources": list, "warnings": list}
    if not (
        isinstance(value, dict)
        and all(isinstance(value.get(name), kind) for name, kind in types.items())
        and isinstance(value.get("seconds", ...), int | float | None)
        and all(isinstance(text, str) for text in value["warnings"])
    ):
        return False
    if "segments" in value:
        segments = value["segments"] if isinstance(value["segments"], list) else [None]
        return all(isinstance(one, list) and [*map(type, one)] == [str, int, int] for one in segments)
    texts = (value.get("skipped") or value.get("failed"), value.get("message"))
    return all(isinstance(text, str) for text in texts)


# ---- Reading


@contextmanager
def named_damage(source: str | Path | BinaryIO) -> Generator[None]:
    """What reading a damaged file raises, inside the block, becomes a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, av.FFmpegError):
            raise  # of the machine: no permission, a lost network, ...
        name = source if isinstance(source, str | Path) else "a prepared file"
        raise DatasetError(
            f"{name} is damaged ({error}). Remove it and run the same `hf-lip2speech prepare` again."
        ) from error


def read_crops(source: Path | BinaryIO) -> np.ndarray:
    """The mouth crops of a prepared folder's video, uint8 (T, 96, 96).

    Straight to gray, since its size and frame rate are known: a third of the time of reading any video.

    Raises:
        DatasetError: It is damaged.
    """
    opened = ffmpeg_name(source) if isinstance(source, Path) else source
    with named_damage(source), av.open(opened, **one_file()) as container:
        return np.stack([_gray(picture) for picture in container.decode(container.streams.video[0])])


def _gray(picture: av.VideoFrame) -> np.ndarray:
    if picture.is_corrupt:  # FFmpeg makes up what it could not decode
        raise ValueError("not all of its pictures can be decoded")
    return picture.to_ndarray(format="gray", threads=1)


def _read_floats(source: Path | BinaryIO) -> np.ndarray:
    values = np.load(source)
    if values.dtype.kind != "f" or not -LARGEST < values.min() <= values.max() < LARGEST:  # or NaN
        raise ValueError(f"{values.dtype} numbers; expected floats within +-{LARGEST}")
    return values


def _read_units(source: Path | BinaryIO) -> np.ndarray:
    given = np.load(source)
    units = given.astype(np.int64)
    if given.dtype.kind not in "iu" or (units.size and units.min() < 0):
        raise ValueError(f"negative or {given.dtype} numbers; expected units from 0 on")
    return units


def read_waveform(source: Path | BinaryIO) -> np.ndarray:
    """The sound of a prepared folder's clip, float32 (640T,)."""
    waveform, rate = soundfile.read(source, dtype="float32")
    if rate != constants.SAMPLING_RATE or not np.isfinite(waveform).all():
        raise ValueError(f"sampled at {rate} Hz or not finite; expected {constants.SAMPLING_RATE} Hz")
    return waveform


def word_times(words: Sequence[dict[str, Any]]) -> np.ndarray:
    """float32 (words, 2), start and end in seconds, of a row's decoded words."""
    return np.array([(word["start"], word["end"]) for word in words], np.float32).reshape(-1, 2)


# Field of an item -> the column that holds it or its file, how that is read, its shape for T video frames.
READERS: dict[str, tuple[str, Callable[[Any], Any], Callable[[int], tuple[int, ...]] | None]] = {
    "frames": ("video", read_crops, lambda frames: (frames, constants.MOUTH_SIZE, constants.MOUTH_SIZE)),
    "mel": ("mel", _read_floats, lambda frames: (constants.MEL_PER_FRAME * frames, constants.NUM_MEL_BINS)),
    "unit_ids": ("units", _read_units, lambda frames: (constants.UNITS_PER_FRAME * frames,)),
    "speaker_embeddings": ("speaker_embedding", _read_floats, lambda _: (constants.SPEAKER_EMBEDDING_DIM,)),
    "waveform": ("audio", read_waveform, lambda frames: (constants.SAMPLES_PER_FRAME * frames,)),
    "text": ("text", str, None),
    "word_times": ("words", word_times, None),
    "visual_units": ("visual_units", _read_units, lambda frames: (frames,)),
}
FIELDS = tuple(READERS)[:-1]  # by default; few folders have visual units
