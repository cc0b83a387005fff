"""A split of a prepared folder as a map-style PyTorch dataset."""

import json
import tokenize
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from torch.utils.data import ConcatDataset, Dataset
from tqdm import tqdm

from .. import constants
from ..errors import DamagedClipError, DatasetError
from ..media.sources import ffmpeg_name, one_file
from .layout import COLUMNS, FILES, PreparedFolder
from .published import LABELS, is_published_layout, published_rows

PREPARE_AGAIN = (
    "Run the same `hf-lip2speech prepare` again: it keeps what is done and writes the manifest anew."
)
# what the readers of video, sound and arrays raise for a damaged file
DAMAGE = (
    *(av.FFmpegError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)


def read_crops(source: Path | BinaryIO) -> np.ndarray:
    """The mouth crops of a prepared folder's video, uint8 (T, 96, 96).

    Straight to gray, since its size and frame rate are known: a third of the time of reading any video.

    Raises:
        DatasetError: It is damaged.
    """
    opened = ffmpeg_name(source) if isinstance(source, Path) else source
    try:
        with av.open(opened, **one_file()) as container:
            pictures = container.decode(container.streams.video[0])
            return np.stack([picture.to_ndarray(format="gray", threads=1) for picture in pictures])
    except (av.FFmpegError, IndexError, ValueError) as error:
        name = source if isinstance(source, Path) else "a prepared video"
        raise DatasetError(
            f"{name} is damaged ({error}). Remove it and run the same `hf-lip2speech prepare` again."
        ) from error


def _read_units(source: Path | BinaryIO) -> np.ndarray:
    units = np.load(source)
    if units.dtype.kind not in "iu" or (units.size and units.min() < 0):
        raise ValueError(f"negative or {units.dtype} numbers; expected units from 0 on")
    return units.astype(np.int64)


def _read_sound(source: Path | BinaryIO) -> np.ndarray:
    waveform, rate = soundfile.read(source, dtype="float32")
    if rate != constants.SAMPLING_RATE:
        raise ValueError(f"sampled at {rate} Hz; expected {constants.SAMPLING_RATE}")
    return waveform


def word_times(words: Sequence[dict[str, Any]]) -> np.ndarray:
    """float32 (words, 2), start and end in seconds, of a row's decoded words."""
    return np.array([(word["start"], word["end"]) for word in words], np.float32).reshape(-1, 2)


# Field of an item -> the column that holds it or its file, how that is read, and the length per video frame.
READERS: dict[str, tuple[str, Callable[[Any], Any], int | None]] = {
    "frames": ("video", read_crops, 1),
    "mel": ("mel", np.load, constants.MEL_PER_FRAME),
    "unit_ids": ("units", _read_units, constants.UNITS_PER_FRAME),
    "speaker_embeddings": ("speaker_embedding", np.load, None),
    "waveform": ("audio", _read_sound, constants.SAMPLES_PER_FRAME),
    "text": ("text", str, None),
    "word_times": ("words", word_times, None),
    "visual_units": ("visual_units", _read_units, 1),
}
FIELDS = tuple(READERS)[:-1]  # by default; few folders have visual units


class ManifestRows(Sequence[dict[str, Any]]):
    """The rows of a manifest, of one split or all, as dicts, each made when it is asked for.

    They stay in Arrow's columns: those of 150,000 clips take 0.2 GB, which worker processes share. Words are
    read from the file when they are first asked for.
    """

    def __init__(self, path: Path, split: str | None):
        self._path = path
        self._filters = None if split is None else [("split", "=", split)]
        try:
            names = pyarrow.parquet.read_schema(path).names
            self._table = self._columns([name for name in names if name != "words"])
            self.lengths: list[int] = self._table["frames"].cast(pyarrow.int64()).to_pylist()
            whole = {"id", "speaker", "split", "frames", *COLUMNS} <= set(names) and None not in self.lengths
        except (pyarrow.ArrowException, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise DatasetError(f"{path} is damaged ({error}). {PREPARE_AGAIN}") from error
        if not whole or min(self.lengths, default=1) < 1:
            raise DatasetError(f"{path} lacks a column, or a clip has no length. {PREPARE_AGAIN}")
        self._words: pyarrow.Table | None = None

    def _columns(self, names: list[str]) -> pyarrow.Table:
        table = pyarrow.parquet.read_table(self._path, columns=names, filters=self._filters)
        return table.select(names)

    def __len__(self) -> int:
        return len(self._table)

    def column(self, name: str) -> list[Any]:
        """One column, but "words", as a list."""
        return self._table[name].to_pylist()

    def without_words(self, index: int) -> dict[str, Any]:
        """The row without its words."""
        return {name: self._table[name][index].as_py() for name in self._table.column_names}

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        if self._words is None:
            self._words = self._columns(["words"])
        row = self.without_words(index)
        try:
            return row | {"words": json.loads(self._words["words"][index].as_py())}
        except (TypeError, ValueError) as error:
            raise DamagedClipError(
                f"The words of {row['id']} in {self._path} are damaged ({error}). {PREPARE_AGAIN}", row["id"]
            ) from error


def prepared_split(roots: str | Path | Sequence[str | Path], split: str, **options: Any) -> Dataset:
    """A split of one prepared folder, or of several one after another, with the `lengths` of all clips.

    Of several, those without this split are left out if another has it: a folder of training clips alone
    joins one with clips to validate on. The options are those of `PreparedDataset`.
    """
    if isinstance(roots, (str, Path)):
        return PreparedDataset(roots, split, **options)
    having = [root for root in roots if split in _splits(root)]
    return JoinedClips([PreparedDataset(root, split, **options) for root in having or roots])


def _splits(root: str | Path) -> set[str]:
    """A prepared folder's splits; every one is asked for where there is no manifest to tell."""
    path = PreparedFolder(root).manifest
    if not path.is_file():
        return {"train", "val", "test"}
    return set(ManifestRows(path, None).column("split"))


class JoinedClips(ConcatDataset):
    """Several prepared splits as one."""

    @property
    def lengths(self) -> list[int]:
        return [length for part in self.datasets for length in part.lengths]  # ty: ignore[missing-attribute]


class PreparedDataset(Dataset):
    """What `prepare` wrote, clip by clip in the order of the IDs; or a folder in the published layout.

    An item of a clip with T frames is a dict of "id" (str) and the chosen fields: "frames" uint8 (T, 96, 96)
    gray, "mel" float32 (4T, 80), "unit_ids" int64 (2T,), "speaker_embeddings" float32 (256,), "waveform"
    float32 (640T,) in [-1, 1] at 16 kHz, "text" (str), what is said, "" where the corpus does not tell,
    "word_times" float32 (words, 2), start and end of each word in seconds, (0, 2) where nobody knows, and, on
    request, "visual_units" int64 (T,).

    Args:
        root: The prepared folder, or one in the layout of published.py, in its lists' order.
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
        DatasetError: The folder was not (or not to the end) prepared, or has no such split.
        DamagedClipError: From `dataset[index]`: a file of the clip is missing, damaged, or of another length
            than the manifest says.
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
        if unknown := set(self.fields) - set(READERS):
            known = tuple(READERS)
            raise DatasetError(f"fields={self.fields} has {sorted(unknown)}; expected some of {known}.")
        self.published = not self.folder.manifest.is_file() and is_published_layout(root)
        if not self.published and not self.folder.manifest.is_file():
            advice = "Make one with hf-lip2speech prepare CORPUS DATA_DIR OUT and give OUT here."
            if self.folder.state.is_dir():
                advice = "Its preparation was not finished: run hf-lip2speech prepare again to resume."
            raise DatasetError(
                f"{root} has neither {self.folder.manifest.name} nor {LABELS}/train.tsv; expected a prepared "
                f"folder or the published layout. {advice}"
            )
        self.rows: Sequence[dict[str, Any]]
        if self.published:
            every = published_rows(root)
            self.rows = [row for row in every if split is None or row["split"] == split]
            self.lengths = [row["frames"] for row in self.rows]
            present = {row["split"] for row in every}
        else:
            self.rows = ManifestRows(self.folder.manifest, split)
            self.lengths = self.rows.lengths
            present = set() if self.rows else _splits(root)
        if not self.rows:
            raise DatasetError(f"{root} has no clip of split={split!r}; expected one of {sorted(present)}.")
        self._cache: list[dict[str, Any] | DamagedClipError] | None = None
        if cache:
            clips = tqdm(range(len(self)), "reading clips", disable=not progress)
            self._cache = [self._read_or_error(index) for index in clips]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._cache is None:
            return self._read(index)
        if isinstance(item := self._cache[index], DamagedClipError):
            raise DamagedClipError(str(item), item.clip)
        return dict(item)

    def column(self, name: str) -> list[Any]:
        """What each clip's row has under a name other than "words"."""
        rows = self.rows
        return rows.column(name) if isinstance(rows, ManifestRows) else [row[name] for row in rows]

    def _read(self, index: int) -> dict[str, Any]:
        rows = self.rows
        if isinstance(rows, ManifestRows) and "word_times" not in self.fields:
            row = rows.without_words(index)
        else:
            row = rows[index]
        return {"id": row["id"], **{field: self._field(field, row) for field in self.fields}}

    def _read_or_error(self, index: int) -> dict[str, Any] | DamagedClipError:
        try:
            return self._read(index)
        except DamagedClipError as error:
            return error.with_traceback(None)

    def _field(self, field: str, row: dict[str, Any]) -> np.ndarray | str:
        try:
            return self._values(field, row)
        except DatasetError as error:
            raise DamagedClipError(str(error), row["id"]) from error.__cause__
        except DAMAGE as error:
            if isinstance(error, OSError) and error.errno and not isinstance(error, av.FFmpegError):
                raise  # of the machine: no permission, a lost network, ...
            raise DamagedClipError(
                f"The {field} of {row['id']} in {self.folder.root} is damaged ({error}). Remove that file "
                "and run the same `hf-lip2speech prepare` again.",
                row["id"],
            ) from error

    def _values(self, field: str, row: dict[str, Any]) -> np.ndarray | str:
        column, read, per_frame = READERS[field]
        if column not in FILES:
            return read(row.get(column) or "")
        length = constants.SPEAKER_EMBEDDING_DIM if per_frame is None else per_frame * row["frames"]
        if self.published and field == "unit_ids":
            return row["units"][:length]
        path = (
            self.folder.path(column, row["id"]) if column not in COLUMNS else self.folder.root / row[column]
        )
        if column not in COLUMNS and not path.is_file():
            raise DatasetError(
                f"{row['id']} in {self.folder.root} has no visual units: run `hf-lip2speech prepare` with "
                "--visual-units."
            )
        if not path.is_file():
            raise DatasetError(
                f"{path} is missing although the manifest lists it. Copy the folder again, or prepare the "
                "corpus into an empty one."
            )
        value = read(path)
        if not np.isfinite(value).all():
            raise DatasetError(f"{path} has numbers that are not finite. Prepare the clip again.")
        if self.published:  # which are not cut in the files
            value = value[:length]
        shape = (length, constants.NUM_MEL_BINS) if field == "mel" else (length, *value.shape[1:])
        if value.shape != shape:
            advice = "It was changed after the preparation: prepare the corpus into an empty folder."
            raise DatasetError(
                f"{path} has shape {value.shape}; expected a length of {length}, since the manifest says "
                f"{row['frames']} frames. {'Take both from the same release.' if self.published else advice}"
            )
        return value


def speaker_voices(root: str | Path, *, most: int | None = None) -> dict[str, np.ndarray]:
    """The voice of each speaker: float32 (256,), the mean of the embeddings of their training clips (where
    there are none, all), scaled to length 1 as GE2E's are.

    A folder with more than `most` speakers has no voices; of thousands, nobody chooses one by name. A
    DatasetError where it is not a prepared folder, or all clips of a speaker are damaged; a warning if some
    are.
    """
    dataset = PreparedDataset(root, fields=("speaker_embeddings",))
    speakers, splits = dataset.column("speaker"), dataset.column("split")
    train = [index for index, split in enumerate(splits) if split == "train"] or range(len(dataset))
    if most is not None and len({speakers[index] for index in train}) > most:
        return {}
    damaged: dict[str, list[DamagedClipError]] = defaultdict(list)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(constants.SPEAKER_EMBEDDING_DIM))
    for index in train:
        try:
            embedding = dataset[index]["speaker_embeddings"]
        except DamagedClipError as error:
            damaged[speakers[index]].append(error)
        else:
            sums[speakers[index]] += embedding
    for speaker, errors in damaged.items():
        if speaker not in sums:
            raise errors[0]
        message = f"The voice of {speaker} is made without {len(errors)} clip(s): {errors[0]}"
        warnings.warn(message, stacklevel=2)
    return {speaker: (total / np.linalg.norm(total)).astype(np.float32) for speaker, total in sums.items()}
