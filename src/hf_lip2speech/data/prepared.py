"""A split of a prepared folder, or of one in the published layout, as a map-style PyTorch dataset."""

import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from torch.utils.data import ConcatDataset, Dataset

from .. import constants
from ..errors import DamagedClipError, DatasetError
from .corpora.clip import read_text
from .layout import COLUMNS, FIELDS, READERS, PreparedFolder, named_damage

PREPARE_AGAIN = (
    "Run the same `hf-lip2speech prepare` again: it keeps what is done and writes the manifest anew."
)
LABELS = "label"
SPLITS = {"train": "train", "valid": "val", "test": "test"}
TEXTS = ("id", "speaker", "split", *COLUMNS)  # columns of a manifest in which every clip has a text


class ManifestRows(Sequence[dict[str, Any]]):
    """The rows of a manifest, of one split or all, as dicts, each made when it is asked for.

    They stay in Arrow's columns, which worker processes share: 150,000 clips take 0.2 GB, and words as much.
    """

    def __init__(self, path: Path, split: str | None):
        self._path = path
        filters = None if split is None else [("split", "=", split)]
        try:
            self._table = pyarrow.parquet.read_table(path, filters=filters)
            self.lengths: list[int] = self._table["frames"].cast(pyarrow.int64()).to_pylist()
            whole = "words" in self._table.column_names and None not in self.lengths
            whole = whole and all(_is_text(self._table[name]) for name in TEXTS)
        except (pyarrow.ArrowException, KeyError, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise DatasetError(f"{path} is damaged ({error}). {PREPARE_AGAIN}") from error
        if not whole or min(self.lengths, default=1) < 1:
            raise DatasetError(f"{path} lacks a column, or a clip's entry in one. {PREPARE_AGAIN}")

    def __len__(self) -> int:
        return len(self._table)

    def column(self, name: str) -> list[Any]:
        """One column, but "words", as a list."""
        return self._table[name].to_pylist()

    def with_encoded_words(self, index: int) -> dict[str, Any]:
        """The row, its words as JSON."""
        return {name: self._table[name][index].as_py() for name in self._table.column_names}

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        row = self.with_encoded_words(index)
        try:
            return row | {"words": json.loads(row["words"])}
        except (TypeError, ValueError) as error:
            raise DamagedClipError(
                f"The words of {row['id']} in {self._path} are damaged ({error}). {PREPARE_AGAIN}", row["id"]
            ) from error


def _is_text(column: pyarrow.ChunkedArray) -> bool:
    text = pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)
    return text and not column.null_count


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
        root: The prepared folder, or one in the published layout (`published_rows`), in its lists' order.
        split: "train", "val" or "test"; None: all clips.
        fields: Which fields an item has; only their files are read.
        cache: Read all clips now and keep them in memory (GRID's s1: 0.6 GB of frames, 0.25 GB of the rest),
            so that no video is decoded in the epochs; worker processes that are forked later share the
            memory.

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
            self._cache = [self._read_or_error(index) for index in range(len(self))]

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
            row = rows.with_encoded_words(index)
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
            with named_damage(f"The {field} of {row['id']} in {self.folder.root}"):
                return self._values(field, row)
        except DatasetError as error:
            raise DamagedClipError(str(error), row["id"]) from error.__cause__

    def _values(self, field: str, row: dict[str, Any]) -> np.ndarray | str:
        column, read, shape_of = READERS[field]
        if shape_of is None:
            return read(row.get(column) or "")
        shape = shape_of(row["frames"])
        if self.published and field == "unit_ids":
            return row["units"][: shape[0]]
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
        if self.published:  # which are not cut in the files
            value = value[: shape[0]]
        if value.shape != shape:
            advice = "It was changed after the preparation: prepare the corpus into an empty folder."
            raise DatasetError(
                f"{path} has shape {value.shape}; expected {shape}, since the manifest says "
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


# ---- The layout that the published systems share


def is_published_layout(root: str | Path) -> bool:
    """Whether `root` holds label/train.tsv or one of the other splits' lists."""
    return any((Path(root) / LABELS / f"{name}.tsv").is_file() for name in SPLITS)


def published_rows(root: str | Path) -> list[dict[str, Any]]:
    """One row per clip, in the order of the lists, as `PreparedDataset.rows` has them.

    ROOT/label/{train,valid,test}.tsv   a line naming a folder, then one clip per line: ID, video, audio,
                                        frames, samples
    ROOT/label/{train,valid,test}.unt   one clip per line, in the same order: its units, 50 per second
    ROOT/video/ID.mp4                   mouth crops, 96x96, 25 fps
    ROOT/audio/ID.wav                   16 kHz mono
    ROOT/mel/ID.npy                     log-mel, float32 (frames, 80)
    ROOT/spk_emb/ID.npy                 speaker embedding, float32 (256,)

    Sound, units and mel are a few video frames longer: a clip's targets are cut to its T frames.

    Paths of a row are relative to `root`; "units" holds the units themselves, int64 (2T or more,). A clip's T
    frames are those with video, sound and units. A DatasetError where a list does not have that form.
    """
    rows = []
    for name, split in SPLITS.items():
        path = Path(root) / LABELS / f"{name}.tsv"
        if not path.is_file():
            continue
        clips = read_text(path).splitlines()[1:]
        units_path = path.with_suffix(".unt")
        if not units_path.is_file():
            raise DatasetError(f"{units_path} is missing; expected the units of {path.name}, line by line.")
        units = read_text(units_path).splitlines()
        if len(units) != len(clips):
            raise DatasetError(
                f"{units_path} has {len(units)} lines and {path.name} lists {len(clips)} clips. Take both "
                "from the same release."
            )
        rows += [_row(path, split, *pair) for pair in zip(clips, units, strict=True)]
    return rows


def _row(path: Path, split: str, clip: str, units: str) -> dict[str, Any]:
    try:
        name, video, audio, frames, samples = clip.split("\t")
        ids = np.array(units.split(), dtype=np.int64)
        length = min(
            int(frames), int(samples) // constants.SAMPLES_PER_FRAME, len(ids) // constants.UNITS_PER_FRAME
        )
        stem = Path(video).relative_to("video").with_suffix(".npy")
    except ValueError as error:
        raise DatasetError(
            f"{path} has the clip {clip!r} with the units {units[:20]!r}...; expected ID, video/ID.mp4, "
            "audio/ID.wav, frames and samples between tabs, and whole numbers as units."
        ) from error
    return {
        "id": name,
        "speaker": Path(name).parent.name,  # the folder of a clip is the talk that it was cut from
        "split": split,
        "text": "",
        "words": [],
        "frames": length,
        "video": video,
        "audio": audio,
        "mel": f"mel/{stem}",
        "units": ids,
        "speaker_embedding": f"spk_emb/{stem}",
    }
