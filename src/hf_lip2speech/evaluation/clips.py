"""The clips to evaluate on: one split of a corpus folder, whose kind is recognised by its layout."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..data.clip_files import file_signature
from ..data.corpora import GRID, LRS2, LRS3, Clip, FaceVideoFolder, ListedCorpus
from ..data.layout import PreparedFolder
from ..errors import DatasetError
from ..synthetic import RenderedTalker

TITLES = {"grid": "GRID", "lrs2": "LRS2", "lrs3": "LRS3", "rendered": "rendered speakers"}
PREFERRED_SPLITS = ("test", "val")  # the default split: the first of these that the corpus has


@dataclass(frozen=True)
class EvaluationSet:
    """Clips to evaluate on.

    Attributes:
        corpus: "grid", "folder", ... or "prepared".
        name: Its name in tables.
        clips: Sorted by ID. In a prepared folder a clip's video holds its mouth crops.
        unit_extractor: Folder of the extractor that made a prepared folder's units.
    """

    corpus: str
    name: str
    path: Path
    split: str
    clips: tuple[Clip, ...]
    unit_extractor: Path | None = None

    @property
    def cropped(self) -> bool:
        """Whether the videos hold mouth crops instead of whole faces."""
        return self.corpus == "prepared"

    def fingerprint(self) -> str:
        """A hash of the clips, their sentences, and the sizes and times of their files."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(repr((clip.id, clip.speaker, clip.text, file_signature(clip.files))).encode())
        return digest.hexdigest()


def open_evaluation_set(
    path: str | Path, split: str | None = None, *, limit: int | None = None
) -> EvaluationSet:
    """The clips of a split of a corpus, a prepared folder, or any folder of talking-face videos.

    Args:
        path: The folder; `open_corpus` says how its kind is recognised.
        split: "train", "val" or "test"; None: test where the corpus has it, else val.
        limit: At most this many clips, the first by ID.

    Raises:
        DatasetError: No such folder or split, or the folder does not have the layout of its kind.
    """
    path = Path(path)
    if not path.is_dir():
        raise DatasetError(
            f"{path} is not a folder; expected a corpus, a folder that `hf-lip2speech prepare` wrote, or any "
            "folder of talking-face videos with sound."
        )
    folder = PreparedFolder(path)
    prepared = folder.manifest.is_file()
    if prepared:
        corpus, splits, read = _prepared(folder)
    else:
        raw = open_corpus(path)
        corpus, splits, read = raw.name, raw.splits, raw.clip
    present = sorted(set(splits.values()))
    chosen = split or next((name for name in PREFERRED_SPLITS if name in present), present[0])
    if chosen not in present:
        known = ", ".join(present)
        raise DatasetError(f"{path} has no clip in the split {chosen!r}; expected one of {known}.")
    for clip_id in splits:  # files of this name will be written
        if PurePosixPath(clip_id).is_absolute() or ".." in PurePosixPath(clip_id).parts:
            raise DatasetError(f"{path} has a clip {clip_id!r}; expected relative IDs without '..'.")
    ids = sorted(clip_id for clip_id, of in splits.items() if of == chosen)[:limit]
    name = TITLES.get(_prepared_from(folder) if prepared else corpus, path.resolve().name)
    known = folder.unit_extractor if prepared and folder.unit_extractor.is_dir() else None
    return EvaluationSet(corpus, name, path, chosen, tuple(map(read, ids)), known)


def open_corpus(path: Path) -> ListedCorpus:
    """The corpus in a folder, recognised by render.json, mvlrs_v1/, trainval/ and test/, or s1/ and so on;
    anything else is a folder of talking-face videos."""
    if (path / "render.json").is_file():
        return RenderedTalker(path)
    if (path / "mvlrs_v1").is_dir():
        return LRS2(path)
    if (path / "trainval").is_dir() and (path / "test").is_dir():
        return LRS3(path)
    if any(child.is_dir() and re.fullmatch(r"s\d+", child.name) for child in path.iterdir()):
        return GRID(path)
    return FaceVideoFolder(path)


_Listing = tuple[str, dict[str, str], Callable[[str], Clip]]  # corpus, splits by ID, ID -> clip


def _prepared(folder: PreparedFolder) -> _Listing:
    from ..data.prepared import PreparedDataset  # needs pyarrow, which publishing does not

    rows = {row["id"]: row for row in PreparedDataset(folder.root, fields=()).rows}

    def read(clip_id: str) -> Clip:
        row = rows[clip_id]
        video, audio = folder.root / row["video"], folder.root / row["audio"]
        return Clip(clip_id, video, audio, row["speaker"], row["split"], row["text"])

    return "prepared", {clip_id: row["split"] for clip_id, row in rows.items()}, read


def _prepared_from(folder: PreparedFolder) -> str:
    """The corpus that a prepared folder was made from, "" where its report does not say."""
    if not folder.report.is_file():
        return ""
    return json.loads(folder.report.read_text(encoding="utf-8")).get("corpus", "")
