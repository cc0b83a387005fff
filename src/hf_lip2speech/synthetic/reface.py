"""A prepared folder once more, with drawn people who articulate as the filmed ones do; run again to resume.

Sound, mel, units and words are those of the prepared clip. What is finished has its files, so that processes
and shards share the work without coordination; the manifest is written when all clips are there.
"""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hf_lip2speech_extras import require_extra

from ..constants import FRAME_RATE
from ..data.corpora import ListedCorpus
from ..data.layout import COLUMNS, PreparedFolder
from ..data.prepared import PreparedDataset
from ..data.report import make_report, write_manifest
from ..data.workers import local_pool, sole_use
from ..errors import ClipLengthError, DatasetError, Lip2SpeechError
from ..media.video import open_video, write_video
from ..progress import Progress

GAIN = (1.0, 1.6)  # of the motion: the mesh underestimates how far lips open


def reface(
    corpus: ListedCorpus,
    prepared: str | Path,
    head: str | Path,
    out: str | Path,
    *,
    people: int = 1,
    split: str = "train",
    shard: tuple[int, int] | None = None,
    seed: int = 0,
    num_proc: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Draw every prepared clip of a split on random people of a scanned head.

    Args:
        corpus: the videos from which the folder `prepared` was made.
        head: see `scanned_head.read_head`.
        out: the prepared folder to write.
        people: per clip, each another one, drawn with `seed`.
        shard: (i, n): only the i-th of n parts; a run without shard then writes the manifest.

    Returns:
        The report, which is OUT/report.json as well: what `make_report` returns of the drawn clips; with
        `shard` that of this part, and "shard".

    Raises:
        DatasetError: an impossible argument, `prepared` is no prepared folder or does not fit the corpus, no
            clip could be drawn, or another run is at work in `out`.
        Lip2SpeechError, ImportError: there is no head, or OpenCV is missing.
        WorkerDiedError: a process died.
    """
    if people < 1 or num_proc < 1 or seed < 0:
        raise DatasetError(
            f"people={people}, num_proc={num_proc}, seed={seed}; expected at least 1, 1 and 0."
        )
    require_extra("cv2", "render")
    from .scanned_head import read_head

    read_head(head)  # whose absence is not found by every process
    source, rows = PreparedFolder(prepared), list(PreparedDataset(prepared, split, fields=()).rows)
    if source.root.resolve() == Path(out).resolve():
        raise DatasetError(f"{out} is the prepared folder itself: choose another one to write.")
    part = "" if shard is None else f"{shard[0]}-of-{shard[1]}"
    folder = PreparedFolder(out, part)
    mine = rows if shard is None else rows[shard[0] - 1 :: shard[1]]
    skipped: dict[str, dict[str, Any]] = {}
    with sole_use(folder.root, folder.state, part):
        present = folder.existing("speaker_embedding")  # written last
        todo = [row for row in mine if not {_name(row, person) for person in range(people)} <= present]
        make = partial(Refacer, folder, source, head, seed)
        with (
            local_pool(make, num_proc, f"drawing into {folder.root}") as run,
            Progress("clips", len(mine), done=len(mine) - len(todo), shown=progress) as bar,
        ):
            for clip, reason in run("write", ((row, _video(corpus, row), people) for row in todo)):
                bar.update()
                if reason is not None:
                    skipped[clip] = reason
        report = _report(f"refaced {corpus.name}", mine, people, skipped)
        if shard is not None:
            return report | {"shard": part.replace("-of-", "/")}
        folder.write_json(folder.report, report)
        if len(skipped) == len(rows):
            raise DatasetError(f"No clip could be drawn: {folder.report} has the reasons.")
        if not folder.unit_extractor.is_dir():
            with folder.writing(folder.unit_extractor) as unfinished:
                shutil.copytree(source.unit_extractor, unfinished)
        drawn = (row for row in rows if row["id"] not in skipped)
        write_manifest(
            folder, (row | {"id": _name(row, person)} for row in drawn for person in range(people))
        )
    return report


class Refacer:
    """Draws clips into a folder; see `reface`."""

    def __init__(self, folder: PreparedFolder, source: PreparedFolder, head: str | Path, seed: int):
        from ..video.landmarks import MeshLandmarkDetector
        from .scanned_head import read_head

        self.folder, self.source, self.seed = folder, source, seed
        self.head, self.detector = read_head(head), MeshLandmarkDetector()

    def write(self, row: dict[str, Any], video: Path, people: int) -> tuple[str, dict[str, Any] | None]:
        """The clip's ID, and why it could not be drawn, if so, as in a record of `make_report`."""
        from .scanned_head import Person, drawn_crops, mouth_motion

        start, end = row["start"], row["start"] + row["frames"]
        try:
            with open_video(video) as frames:
                motion = mouth_motion(frames, self.detector, frames.name)[start:end]
            if len(motion) < row["frames"]:
                raise ClipLengthError(
                    f"{video} has {start + len(motion)} frames, and the prepared clip ends at {end}."
                )
        except Lip2SpeechError as error:
            return row["id"], {"skipped": type(error).__name__, "message": str(error)}
        for person in range(people):
            random = np.random.default_rng([self.seed, person, *row["id"].encode()])
            crops = drawn_crops(motion, Person(self.head, random), random.uniform(*GAIN))
            name = _name(row, person)
            paths = {column: self.folder.path(column, name) for column in COLUMNS}
            with self.folder.writing(paths.pop("video")) as unfinished:
                write_video(unfinished, crops)
            for column, path in paths.items():
                with self.folder.writing(path) as unfinished:
                    shutil.copyfile(self.source.root / row[column], unfinished)
        return row["id"], None


def _name(row: dict[str, Any], person: int) -> str:
    return f"person{person}/{row['id']}"


def _video(corpus: ListedCorpus, row: dict[str, Any]) -> Path:
    try:
        return corpus.clip(row["source"]).video
    except (KeyError, OSError) as error:
        raise DatasetError(
            f"The prepared clip {row['id']} was made from {row['source']}, which is not in "
            f"{corpus.data_dir}: give the corpus from which the folder was prepared."
        ) from error


def _report(
    corpus: str, rows: list[dict[str, Any]], people: int, skipped: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    def record(row: dict[str, Any], name: str) -> dict[str, Any]:
        made = {"speaker": row["speaker"], "seconds": row["frames"] / FRAME_RATE, "warnings": []}
        return made | skipped.get(row["id"], {"segments": [[name, row["start"], row["frames"]]]})

    rows_of = {_name(row, person): row for row in rows for person in range(people)}
    splits = {name: row["split"] for name, row in rows_of.items()}
    return make_report(corpus, splits, {name: record(row, name) for name, row in rows_of.items()})
