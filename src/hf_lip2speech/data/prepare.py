"""A corpus of talking-face videos -> a prepared folder that training reads (layout.py shows what is in it).

Clips are worked on by several processes; whatever is killed goes on where it was when run again, since every
file is written elsewhere and moved into place, and a clip's marker is the last of its files. Units come in a
second pass: their extractor may have to be fitted on the sound of the first.
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from tqdm import tqdm
from transformers.utils import logging

from ..constants import FRAME_RATE, NUM_UNITS
from ..errors import DatasetError, WorkerDiedError
from ..models.modeling_speech_units import SpeechUnitExtractor
from .clip_files import ClipWriter, valid_marker
from .corpora import Clip, Corpus
from .layout import COLUMNS, PreparedFolder
from .unit_targets import needs_fitting, place_unit_extractor

try:
    import fcntl
except ImportError:  # Windows has no flock: nothing there keeps two runs out of one folder
    fcntl = None

DEFAULT_UNITS = "facebook/hubert-base-ls960"  # whose layer 6 the published systems cluster
MANIFEST_SCHEMA = pyarrow.schema(
    [("id", "string"), ("speaker", "string"), ("split", "string"), ("text", "string"), ("words", "string")]
    + [("frames", "int64")]
    + [(column, "string") for column in COLUMNS]
)


def prepare(
    corpus: Corpus,
    out: str | Path,
    *,
    num_proc: int = 1,
    unit_extractor: str | Path | SpeechUnitExtractor = DEFAULT_UNITS,
    num_units: int = NUM_UNITS,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Make mouth crops, sound, mels, units and speaker embeddings of a corpus; run again to go on.

    Every clip's T frames are those for which it has both video and sound: up to 3 frames are cut off the end
    of the longer one, a greater difference skips the clip. Mels (4T), units (2T) and sound (640T) are cut to
    them. Clips that are done are left alone while their source files' size and time stay the same.

    Args:
        corpus: GRID, FaceVideoFolder or anything else that has a name and iterates over `Clip`s.
        out: The folder to write.
        num_proc: Processes; with more than 1 a script needs the usual `if __name__ == "__main__":`.
        unit_extractor: "mfcc" or the Hub name or path of a self-supervised speech model: its features are
            clustered on the prepared train split (in whole, so more clips or another `limit` mean other
            units). A fitted SpeechUnitExtractor, or the path or Hub name of one: taken as it is.
        num_units: Clusters of an extractor that is fitted here.
        splits: Only these of the corpus's splits.
        limit: At most this many clips of each split, the first by ID.
        seed: Of the clustering.
        progress: Show progress bars on stderr.

    Returns:
        The report, which is OUT/report.json as well: {"corpus", "clips", "hours", "splits": {split: {"clips",
        "hours", "speakers"}}, "unit_extractor", "skipped": {reason: [{"id", "message"}]}, "warnings": [{"id",
        "message"}]}. A reason is the name of the error (NoFaceError, NoAudioError, ClipLengthError, ...).

    Raises:
        DatasetError: No clip, no clip that could be prepared, no train split to fit units on, or another run
            is at work in `out`.
        WorkerDiedError: A process died.
    """
    if num_proc < 1 or (limit is not None and limit < 1):
        raise DatasetError(f"num_proc={num_proc}, limit={limit}; expected at least 1 of each.")
    clips = _chosen(corpus, splits, limit)
    train = [clip.id for clip in clips if clip.split == "train"]
    # Asked before the long work, so that a wrong name does not turn up after hours.
    if needs_fitting(unit_extractor) and not train:
        raise DatasetError(
            f"unit_extractor={str(unit_extractor)!r} is to be fitted on the train split, but the clips are "
            f"of {', '.join(sorted({clip.split for clip in clips}))} only. Prepare train too, or give a "
            "fitted extractor."
        )
    folder = PreparedFolder(out)
    with _sole_use(folder), _quiet_transformers(), _workers(folder, min(num_proc, len(clips))) as run:
        folder.manifest.unlink(missing_ok=True)
        markers = {clip.id: marker for clip in clips if (marker := valid_marker(folder, clip))}
        todo: list[tuple] = [(clip,) for clip in clips if clip.id not in markers]
        with tqdm(total=len(clips), initial=len(markers), desc="clips", disable=not progress) as bar:
            for marker in run("write_files", todo):
                markers[marker["id"]] = marker
                bar.update()
        report = _report(corpus, clips, markers)
        done = [clip for clip in clips if "frames" in markers[clip.id]]
        if not done:
            folder.write_json(folder.report, report)
            reasons = "; ".join(f"{len(skipped)} x {reason}" for reason, skipped in report["skipped"].items())
            raise DatasetError(
                f"None of the {len(clips)} clips could be prepared: {reasons}. {folder.report} names each "
                "with its reason."
            )
        report["unit_extractor"] = place_unit_extractor(
            folder,
            unit_extractor,
            num_units=num_units,
            seed=seed,
            train_ids=[clip.id for clip in done if clip.split == "train"],
            progress=progress,
        )
        missing = [clip for clip in done if not folder.path("units", clip.id).is_file()]
        todo = [(clip, markers[clip.id]["frames"]) for clip in missing]
        with tqdm(total=len(done), initial=len(done) - len(todo), desc="units", disable=not progress) as bar:
            for _ in run("write_units", todo):
                bar.update()
        folder.write_json(folder.report, report)
        _write_manifest(folder, done, markers)
    return report


def _chosen(corpus: Corpus, splits: Iterable[str] | None, limit: int | None) -> list[Clip]:
    wanted = None if splits is None else set(splits)
    clips = sorted(corpus, key=lambda clip: clip.id)
    present = {clip.split for clip in clips}
    if not clips or (wanted is not None and not wanted <= present):
        raise DatasetError(
            f"splits={sorted(wanted or ())} of {corpus.name}; expected some of {sorted(present)}, the splits "
            "in which this corpus has clips."
        )
    taken: Counter[str] = Counter()
    chosen = []
    for clip in clips:
        if (wanted is None or clip.split in wanted) and (limit is None or taken[clip.split] < limit):
            taken[clip.split] += 1
            chosen.append(clip)
    return chosen


@contextmanager
def _sole_use(folder: PreparedFolder) -> Generator[None]:
    """Keep a second run out by a lock that dies with the process; remove what a killed one left half."""
    folder.state.mkdir(parents=True, exist_ok=True)
    with open(folder.state / "lock", "w") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DatasetError(
                    f"Another run is preparing {folder.root}; expected to be the only one. Wait for it, or "
                    "give another folder."
                ) from None
        shutil.rmtree(folder.staging, ignore_errors=True)
        yield
        shutil.rmtree(folder.staging, ignore_errors=True)


@contextmanager
def _quiet_transformers() -> Generator[None]:
    """Without the bars that transformers shows for every small model that it loads or saves."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


_writer: ClipWriter | None = None  # of a worker process


def _start_worker(folder: PreparedFolder) -> None:
    global _writer
    _writer = ClipWriter(folder)
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    # Ctrl-C reaches the whole process group: the parent alone decides, and the clip at hand is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        # A killed parent cannot tell: without this its workers would wait for tasks for ever.
        parent.join()
        os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()


def _work(task: str, arguments: tuple) -> Any:
    assert _writer is not None
    return getattr(_writer, task)(*arguments)


Run = Callable[[str, list[tuple]], Iterator[Any]]


@contextmanager
def _workers(folder: PreparedFolder, num_proc: int) -> Generator[Run]:
    """A function that calls a method of ClipWriter with each of many arguments, yielding as they are done."""
    threads = torch.get_num_threads()
    if num_proc == 1:
        writer = ClipWriter(folder)
        torch.set_num_threads(1)  # as in a worker, so that the files do not depend on num_proc
        try:
            yield lambda task, todo: (getattr(writer, task)(*arguments) for arguments in todo)
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: PyTorch's and LiteRT's thread pools do not survive a fork.
    pool = ProcessPoolExecutor(
        num_proc,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(folder,),
    )

    def run(task: str, todo: list[tuple]) -> Iterator[Any]:
        futures = [pool.submit(_work, task, arguments) for arguments in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                f"One of the {num_proc} processes preparing {folder.root} died, most likely for want of "
                "memory. What was done is kept: run again to go on, with a smaller num_proc if so."
            ) from error

    try:
        yield run
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _report(corpus: Corpus, clips: list[Clip], markers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    skipped: dict[str, list[dict[str, str]]] = {}
    for clip in clips:
        marker = markers[clip.id]
        if "skipped" in marker:
            skipped.setdefault(marker["skipped"], []).append({"id": clip.id, "message": marker["message"]})
            continue
        split = splits.setdefault(clip.split, {"clips": 0, "frames": 0, "speakers": set()})
        split["clips"] += 1
        split["frames"] += marker["frames"]
        split["speakers"].add(clip.speaker)
    warned = [{"id": clip.id, "message": text} for clip in clips for text in markers[clip.id]["warnings"]]
    return {
        "corpus": corpus.name,
        "clips": sum(split["clips"] for split in splits.values()),
        "hours": _hours(sum(split["frames"] for split in splits.values())),
        "splits": {
            name: {
                "clips": split["clips"],
                "hours": _hours(split["frames"]),
                "speakers": len(split["speakers"]),
            }
            for name, split in sorted(splits.items())
        },
        "skipped": dict(sorted(skipped.items())),
        "warnings": warned,
    }


def _hours(frames: int) -> float:
    return round(frames / FRAME_RATE / 3600, 4)


def _write_manifest(folder: PreparedFolder, clips: list[Clip], markers: dict[str, dict[str, Any]]) -> None:
    rows = []
    for clip in clips:
        words = [{"word": word.word, "start": word.start, "end": word.end} for word in clip.words]
        row = {"id": clip.id, "speaker": clip.speaker, "split": clip.split, "text": clip.text}
        row |= {"words": json.dumps(words, ensure_ascii=False), "frames": markers[clip.id]["frames"]}
        rows.append(row | {column: folder.relative(column, clip.id) for column in COLUMNS})
    table = pyarrow.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)
    folder.write(folder.manifest, lambda path: pyarrow.parquet.write_table(table, path))
