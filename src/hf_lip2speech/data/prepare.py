"""A corpus of talking-face videos -> a prepared folder that training reads (layout.py shows what is in it).

Clips are worked on by several processes, or by several machines in shards of the corpus; whatever is killed
goes on where it was when run again, since every file is written elsewhere and moved into place, and a clip's
line in the journal is the last that is written. Units come in a second pass over the stored sound, clips of
one length together: so a GPU can take them in batches. A run without a shard finds what all shards have done,
does what is left, and writes manifest, report and contact sheet.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import IO, Any

import torch
from tqdm import tqdm
from transformers.utils import logging

from ..constants import FRAME_RATE, NUM_UNITS
from ..errors import DatasetError
from ..models.modeling_speech_units import SpeechUnitExtractor
from .clip_files import ClipWriter, file_signature
from .contact_sheet import write_contact_sheet
from .corpora import Clip, Corpus, ListedCorpus
from .engines import Run, local_engine
from .journal import Journal
from .layout import COLUMNS, PreparedFolder
from .ray_engine import ray_engine
from .report import make_report, write_manifest
from .unit_targets import needs_fitting, place_unit_extractor

try:
    import fcntl
except ImportError:  # Windows has no flock: nothing there keeps two runs out of one folder
    fcntl = None

DEFAULT_UNITS = "facebook/hubert-base-ls960"  # whose layer 6 the published systems cluster
MAX_SECONDS = 24.0  # 600 frames, which training takes at once (published setup)
UNIT_BATCH = 60 * FRAME_RATE  # frames; HuBERT Base's first layer takes 0.4 GB of memory for them
ENGINES = {"local": local_engine, "ray": ray_engine}


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, 1 <= index <= count."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise DatasetError(
                f"shard {self.index}/{self.count}; expected i/n with i from 1 to n, such as 1/8 to 8/8."
            )

    @property
    def name(self) -> str:
        return f"{self.index}-of-{self.count}"


@dataclass(frozen=True)
class Listing:
    """What is to be prepared.

    splits: clip ID -> split, in the order of the IDs. clip: ID -> the clip, read when it is asked for.
    sources: ID -> the files on which the clip depends.
    """

    splits: dict[str, str]
    clip: Callable[[str], Clip]
    sources: Callable[[str], list[Path]]


def prepare(
    corpus: Corpus,
    out: str | Path,
    *,
    num_proc: int = 1,
    engine: str = "local",
    shard: tuple[int, int] | None = None,
    unit_extractor: str | Path | SpeechUnitExtractor = DEFAULT_UNITS,
    num_units: int = NUM_UNITS,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Make mouth crops, sound, mels, units and speaker embeddings of a corpus; run again to go on.

    Every clip's T frames are those for which it has both video and sound: up to 3 frames are cut off the end
    of the longer one, a greater difference skips the clip. Mels (4T), units (2T) and sound (640T) are cut to
    them. Clips that are done are left alone while their source files' size and time stay the same.

    Args:
        corpus: GRID, LRS3, FaceVideoFolder or anything else that has a name and iterates over `Clip`s.
        out: The folder to write.
        num_proc: Processes; with more than 1 a script needs the usual `if __name__ == "__main__":`.
        engine: "local", or "ray": the Ray cluster that is running, else `num_proc` processes of Ray here.
        shard: (i, n): only the i-th of n parts of the clips, 1 <= i <= n, on this machine or another that
            shares `out`; manifest, report and contact sheet are left to a run without it. All shards and that
            run take the same corpus and arguments.
        unit_extractor: "mfcc" or the Hub name or path of a self-supervised speech model: its features are
            clustered on the sound of the train split, drawn with `seed` where that has more than 10,000 s. A
            fitted SpeechUnitExtractor, or the path or Hub name of one: taken as it is. It runs on the GPU if
            there is one.
        num_units: Clusters of an extractor that is fitted here.
        splits: Only these of the corpus's splits.
        limit: At most this many clips of each split, the first by ID.
        max_seconds: Longer clips are cut between words, where the corpus has word times.
        seed: Of the clustering and of the contact sheet.
        progress: Show progress bars on stderr.

    Returns:
        The report, which is OUT/report.json as well: what `make_report` returns, with "unit_extractor" and
        "contact_sheet", the IDs shown. Of a shard, that of its clips, with "shard" and without
        "contact_sheet".

    Raises:
        DatasetError: No clip, no clip that could be prepared, no train split to fit units on, an impossible
            argument, or another run is at work in `out`.
        WorkerDiedError: A process died.
    """
    if num_proc < 1 or (limit is not None and limit < 1) or max_seconds < 1:
        raise DatasetError(
            f"num_proc={num_proc}, limit={limit}, max_seconds={max_seconds}; expected at least 1 of each."
        )
    if engine not in ENGINES:
        raise DatasetError(f"engine={engine!r}; expected one of {', '.join(ENGINES)}.")
    part = None if shard is None else Shard(*shard)
    whole = list_clips(corpus, splits, limit)
    train = [clip for clip, split in whole.splits.items() if split == "train"]
    # Asked before the long work, so that a wrong name does not turn up after hours.
    if needs_fitting(unit_extractor) and not train:
        raise DatasetError(
            f"unit_extractor={str(unit_extractor)!r} is to be fitted on the train split, but the clips are "
            f"of {', '.join(sorted(set(whole.splits.values())))} only. Prepare train too, or give a "
            "fitted extractor."
        )
    mine = dict(whole.splits)
    if part is not None:
        mine = dict(list(mine.items())[part.index - 1 :: part.count])
    folder = PreparedFolder(out, "all" if part is None else part.name)
    max_frames = round(FRAME_RATE * max_seconds)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with _sole_use(folder, part), _quiet_transformers(), ENGINES[engine](folder, num_proc) as run:
        origin = place_unit_extractor(
            folder,
            unit_extractor,
            num_units=num_units,
            seed=seed,
            train=train,
            clip=whole.clip,
            device=device,
            replace=part is None,
            progress=progress,
        )
        records = _write_files(folder, Listing(mine, whole.clip, whole.sources), run, max_frames, progress)
        report = make_report(corpus.name, mine, records)
        if not report["clips"] and part is None:
            folder.write_json(folder.report, report)
            reasons = "; ".join(f"{len(skipped)} x {reason}" for reason, skipped in report["skipped"].items())
            raise DatasetError(
                f"None of the {len(mine)} clips could be prepared: {reasons}. {folder.report} names each "
                "with its reason."
            )
        report["unit_extractor"] = origin
        if device != "cpu":  # one process has the GPU, and needs no others
            writer = ClipWriter(folder, device)
            _write_units(folder, records, lambda _, calls: (writer.write_units(*c) for c in calls), progress)
        else:
            _write_units(folder, records, run, progress)
        if part is not None:
            return report | {"shard": f"{part.index}/{part.count}"}
        ids = [segment[0] for record in records.values() for segment in record.get("segments", ())]
        report["contact_sheet"] = write_contact_sheet(folder, ids, seed)
        folder.write_json(folder.report, report)
        write_manifest(folder, mine, records, whole.clip)
    return report


def list_clips(corpus: Corpus, splits: Iterable[str] | None = None, limit: int | None = None) -> Listing:
    """The clips of a corpus that are asked for, by ID; see `prepare`.

    Raises:
        DatasetError: None, or the corpus has no such split.
    """
    if isinstance(corpus, ListedCorpus):  # a transcript is not read before it is needed
        every, clip, sources = corpus.splits, corpus.clip, corpus.files
    else:
        clips = {clip.id: clip for clip in corpus}
        every, clip = {name: clip.split for name, clip in clips.items()}, clips.__getitem__

        def sources(name: str) -> list[Path]:
            return [path for path in (clips[name].video, clips[name].audio) if path is not None]

    wanted = None if splits is None else set(splits)
    present = set(every.values())
    if not every or (wanted is not None and not wanted <= present):
        raise DatasetError(
            f"splits={sorted(wanted or ())} of {corpus.name}; expected some of {sorted(present)}, the splits "
            "in which this corpus has clips."
        )
    taken: Counter[str] = Counter()
    chosen = {}
    for name, split in sorted(every.items()):
        if (wanted is None or split in wanted) and (limit is None or taken[split] < limit):
            taken[split] += 1
            chosen[name] = split
    return Listing(chosen, clip, sources)


def _write_files(
    folder: PreparedFolder, listing: Listing, run: Run, max_frames: int, progress: bool
) -> dict[str, dict[str, Any]]:
    """Do the clips that are not done; the record of each, in the order of the listing."""
    records = done_records(folder, listing, max_frames)
    todo = [clip for clip in listing.splits if clip not in records]
    if todo:
        folder.manifest.unlink(missing_ok=True)
    calls = ((listing.clip(clip), listing.sources(clip), max_frames) for clip in todo)
    total = len(listing.splits)
    with tqdm(total=total, initial=total - len(todo), desc="clips", disable=not progress) as bar:
        for record in run("write_files", calls):
            records[record["id"]] = record
            bar.update()
    return {clip: records[clip] for clip in listing.splits}


def done_records(folder: PreparedFolder, listing: Listing, max_frames: int) -> dict[str, dict[str, Any]]:
    """The newest line of the journal for each clip that is done: sources as they were, all files there."""
    newest: dict[str, dict[str, Any]] = {}
    for record in Journal(folder.journal).read():
        clip = record["id"]
        if clip in listing.splits and (clip not in newest or record["time"] >= newest[clip]["time"]):
            newest[clip] = record
    if not newest:
        return {}
    present = [folder.existing(column) for column in COLUMNS if column != "units"]

    def is_done(record: dict[str, Any]) -> bool:
        segments = record.get("segments", ())
        whole = sum(segment[2] for segment in segments) <= min(max_frames, record["limit"])
        return (
            (whole or record["limit"] == max_frames)
            and all(segment[0] in ids for segment in segments for ids in present)
            and record["sources"] == file_signature(listing.sources(record["id"]))
        )

    return {clip: record for clip, record in newest.items() if is_done(record)}


def _write_units(
    folder: PreparedFolder, records: Mapping[str, dict[str, Any]], run: Run, progress: bool
) -> None:
    """Units of all stored clips that have none, those of one length in batches."""
    present = folder.existing("units")
    lengths: dict[int, list[str]] = defaultdict(list)
    for record in records.values():
        for clip, _, frames in record.get("segments", ()):
            if clip not in present:
                lengths[frames].append(clip)
    todo = sum(map(len, lengths.values()))
    if todo:
        folder.manifest.unlink(missing_ok=True)

    def batches() -> Iterator[tuple]:
        for frames, clips in sorted(lengths.items()):
            size = max(1, UNIT_BATCH // frames)
            yield from ((clips[start : start + size], frames) for start in range(0, len(clips), size))

    with tqdm(total=todo, desc="units", disable=not progress) as bar:
        for count in run("write_units", batches()):
            bar.update(count)


@contextmanager
def _sole_use(folder: PreparedFolder, part: Shard | None) -> Generator[None]:
    """Keep a second run of the same part out, and a run of all; remove what a killed one left half.

    The locks die with the process.
    """
    folder.state.mkdir(parents=True, exist_ok=True)
    staging = folder.staging.parent if part is None else folder.staging
    with ExitStack() as stack:
        locks = [("lock", part is not None)] + ([] if part is None else [(f"lock-{part.name}", False)])
        for name, shared in locks:
            _lock(stack.enter_context(open(folder.state / name, "w")), shared, folder)
        rmtree(staging, ignore_errors=True)
        yield
        rmtree(staging, ignore_errors=True)


def _lock(file: IO, shared: bool, folder: PreparedFolder) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DatasetError(
            f"Another run is preparing {folder.root}; expected to be the only one (of shards: each once, and "
            "none beside a run without shard). Wait for it, or give another folder."
        ) from None
    except OSError as error:  # some network file systems have no locks
        warnings.warn(
            f"{folder.root} cannot be locked ({error}): take care that no other run prepares the same clips.",
            stacklevel=2,
        )


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
