"""A corpus of talking-face videos -> a prepared folder that training reads (layout.py shows its contents).

Several processes, or several machines with shards of the corpus, work on clips. A killed run is resumed by
running it again: every file is written under a temporary name and renamed, and a clip's line in the journal
is written last. Units are made in a second pass over the stored sound, in batches of clips of one length,
which a GPU can take. A run without a shard finds what all shards have done, does the rest, and writes
manifest, report and contact sheet.
"""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from ..constants import FRAME_RATE, NUM_UNITS
from ..errors import DatasetError, Lip2SpeechError, UnexpectedError
from ..progress import Progress
from ..video.tracks import TALKING, check_face
from .clip_files import ClipWriter, Speak
from .corpora import Corpus, ListedCorpus
from .corpora.clip import shuffled
from .layout import PreparedFolder
from .listing import Listing, check_apart, done_records, list_clips
from .report import make_report, manifest_rows, write_contact_sheet, write_manifest
from .units import (
    DEFAULT_UNITS,
    Units,
    place_unit_extractor,
    place_visual_unit_extractor,
    unfitted_config,
    visual_unit_extractor,
)
from .unread import SAME_BUG
from .workers import POOLS, Run, local_pool, sole_use

MAX_SECONDS = 24.0  # 600 frames, which training takes at once (published setup)
UNIT_BATCH = 60 * FRAME_RATE  # frames; HuBERT Base's first layer takes 0.4 GB of memory for them


def prepare(
    corpus: Corpus,
    out: str | Path,
    *,
    num_proc: int = 1,
    engine: str = "local",
    shard: tuple[int, int] | None = None,
    unit_extractor: Units = DEFAULT_UNITS,
    num_units: int = NUM_UNITS,
    visual_units: str | None = None,
    num_visual_units: int = 1000,
    visual_layer: int = -1,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    face: int | str = TALKING,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    speak: Speak | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Make mouth crops, sound, mels, units and speaker embeddings of a corpus; run again to resume.

    A clip has the T frames of its video: up to half a second of sound is cut off or, as silence, added at the
    end, and a clip with a greater difference is skipped. Mels (4T), units (2T) and sound
    (640T) are cut to them. Finished clips are left alone while their source files' size and time stay the
    same.

    Args:
        corpus: GRID, LRS3, FaceVideoFolder or anything else that has a name and iterates over `Clip`s.
        out: The folder to write.
        num_proc: Processes; with more than 1 a script needs the usual `if __name__ == "__main__":`.
        engine: "local", or "ray": the running Ray cluster, else `num_proc` processes of Ray on this machine.
        shard: (i, n): only the i-th of n parts of the clips, 1 <= i <= n, on this machine or another that
            shares `out`. A run without shard then writes manifest, report and contact sheet. All shards and
            that run take the same corpus and arguments.
        unit_extractor: "mfcc" or the Hub name or path of a self-supervised speech model: its features are
            clustered on the sound of the train split, drawn with `seed` where that has more than 10,000 s. A
            fitted SpeechUnitExtractor, or the path or Hub name of one, is used as it is. It runs on the GPU
            if there is one.
        num_units: Clusters of an extractor that is fitted here.
        visual_units: Store visual units, too, one per frame: clusters of the features of this AV-HuBERT or
            lip-to-speech model ("bundled", a folder or a Hub name), fitted on the crops of the train split,
            or those of a saved `VisualUnitExtractor`. A shard leaves them to the run without a shard.
        num_visual_units: Clusters of one that is fitted here.
        visual_layer: Whose hidden states are clustered; -1 is the last.
        splits: Only these of the corpus's splits.
        limit: At most this many clips per split, the first by ID.
        face: Which of several faces, see `video.mouth.follow_mouth`.
        max_seconds: Longer clips are cut between words, where the corpus has word times.
        seed: Of the clustering and of the contact sheet.
        speak: Makes each clip's sound, in place of its recording, such as a
            `synthetic.pacing.LipPacedVoice`; `unit_extractor` is a fitted one then.
        progress: Show how far it is, on stderr.

    Returns:
        The report, which is OUT/report.json as well: what `make_report` returns, with "unit_extractor" and
        "contact_sheet", the IDs shown. Of a shard, that of its clips, with "shard" and without
        "contact_sheet".

    Raises:
        DatasetError: No clip, no clip that could be prepared, no train split to fit units on, an impossible
            argument, or another run is at work in `out`.
        UnexpectedError: A bug of this package was met at several clips; the message has the traceback.
        WorkerDiedError: A process died.
    """
    if num_proc < 1 or (limit is not None and limit < 1) or max_seconds < 1:
        given = f"num_proc={num_proc}, limit={limit}, max_seconds={max_seconds}"
        raise DatasetError(f"{given}; each must be at least 1.")
    check_face(face)
    if engine not in POOLS:
        raise DatasetError(f"engine={engine!r}; expected one of {', '.join(POOLS)}.")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise DatasetError(f"shard {shard[0]}/{shard[1]}; expected i/n with i from 1 to n, such as 1/8.")
    check_apart(corpus, Path(out))
    whole = list_clips(corpus, splits, limit)
    train = [clip for clip, split in whole.splits.items() if split == "train"]
    # Asked before the long work, so that a wrong name does not turn up after hours.
    config = unfitted_config(unit_extractor, num_units)
    if config is not None and not train:
        raise DatasetError(
            f"unit_extractor={str(unit_extractor)!r} is to be fitted on the train split, but the clips are "
            f"of {', '.join(sorted(set(whole.splits.values())))} only. Prepare train too, or give a fitted "
            "one."
        )
    visual = None
    if visual_units is not None and shard is None:
        visual = visual_unit_extractor(visual_units, num_visual_units, visual_layer)
    mine, part = dict(whole.splits), ""
    if shard is not None:
        mine, part = dict(list(mine.items())[shard[0] - 1 :: shard[1]]), f"{shard[0]}-of-{shard[1]}"
    folder = PreparedFolder(out, part)
    max_frames = round(FRAME_RATE * max_seconds)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with (
        sole_use(folder.root, folder.state, part),
        _quiet_transformers(),
        POOLS[engine](
            partial(ClipWriter, folder, face=face, speak=speak), num_proc, f"preparing {folder.root}"
        ) as run,
    ):
        origin, unfit = {}, None
        try:
            origin = place_unit_extractor(
                folder,
                unit_extractor,
                num_units=num_units,
                seed=seed,
                train=train,
                clip=whole.clip,
                device=device,
                replace=not part,
                progress=progress,
            )
        except Lip2SpeechError as error:
            if config is None or isinstance(error, DatasetError):
                raise
            unfit = error  # too little sound to fit units on: the reasons of skipped clips come first
        records = _write_files(
            folder, Listing(mine, whole.clip, whole.sources), run, max_frames, face, progress
        )
        if not part:
            _draw_again(corpus, mine, records)
        report = make_report(corpus.name, mine, records)
        if not part and (lost := _lost_splits(report, folder.report)):
            folder.write_json(folder.report, report)
            raise lost
        if unfit is not None:
            raise unfit
        report["unit_extractor"] = origin
        # A GPU belongs to one process, which needs no others.
        pool = nullcontext(run) if device == "cpu" else local_pool(partial(ClipWriter, folder, device), 1, "")
        with pool as run_units:
            _write_units(folder, records, run_units, progress)
            if visual is not None:
                train = [
                    segment[0]
                    for clip, record in records.items()
                    for segment in record.get("segments", ())
                    if mine[clip] == "train"
                ]
                report["visual_unit_extractor"] = place_visual_unit_extractor(
                    folder, visual, train, seed=seed, device=device, progress=progress
                )
                _write_units(folder, records, run_units, progress, "visual_units")
        if part:
            return report | {"shard": part.replace("-of-", "/")}
        ids = [segment[0] for record in records.values() for segment in record.get("segments", ())]
        report["contact_sheet"] = write_contact_sheet(folder, ids, seed)
        folder.write_json(folder.report, report)
        write_manifest(folder, manifest_rows(mine, records, whole.clip))
    return report


def _write_files(
    folder: PreparedFolder, listing: Listing, run: Run, max_frames: int, face: int | str, progress: bool
) -> dict[str, dict[str, Any]]:
    """Prepare the clips that are not done; the record of each clip, in the order of the listing."""
    records = done_records(folder, listing, max_frames, face)
    todo = [clip for clip in listing.splits if clip not in records]
    if todo:
        folder.manifest.unlink(missing_ok=True)
    calls = ((listing.clip(clip), listing.sources(clip), max_frames) for clip in todo)
    bugs: Counter[str] = Counter()
    total = len(listing.splits)
    with Progress("clips", total, done=total - len(todo), shown=progress) as bar:
        for record in run("write_files", calls):
            records[record["id"]] = record
            bar.update()
            if "failed" in record:
                bugs[record["failed"]] += 1
                if bugs[record["failed"]] == SAME_BUG:
                    raise UnexpectedError(
                        f"{SAME_BUG} clips, {record['id']} the last of them, met the same bug of this "
                        "package. Finished clips are kept. Please report it with this "
                        f"traceback:\n{record['traceback']}"
                    )
    return {clip: records[clip] for clip in listing.splits}


def _write_units(
    folder: PreparedFolder,
    records: Mapping[str, dict[str, Any]],
    run: Run,
    progress: bool,
    column: str = "units",
) -> None:
    """(Visual) units of all stored clips that have none, in batches of clips of one length."""
    present = folder.existing(column)
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
            yield from ((column, clips[at : at + size], frames) for at in range(0, len(clips), size))

    with Progress(f"clips with {column.replace('_', ' ')}", todo, shown=progress) as bar:
        for count in run("write_units", batches()):
            bar.update(count)


def _draw_again(corpus: Corpus, splits: dict[str, str], records: Mapping[str, dict[str, Any]]) -> None:
    """Replace unusable clips of a drawn split by usable ones of train, in the order of the draw."""
    if not isinstance(corpus, ListedCorpus) or corpus.draw_seed is None:
        return
    usable = [clip for clip in shuffled(splits, corpus.draw_seed) if records[clip].get("segments")]
    for lost in [clip for clip, split in splits.items() if split != "train" and clip not in usable]:
        train = [clip for clip in usable if splits[clip] == "train"]
        same = (clip for clip in train if corpus.drawn_from(clip) == corpus.drawn_from(lost))
        if len(train) > 1 and (chosen := next(same, None)) is not None:
            splits[chosen], splits[lost] = splits[lost], "train"


def _lost_splits(report: dict[str, Any], path: Path) -> DatasetError | UnexpectedError | None:
    """The error of a preparation that left nothing in a split."""
    empty = [split for split, counts in report["splits"].items() if not counts["clips"]]
    if not empty:
        return None
    if not report["clips"] and report["failed"]:
        bug = next(iter(report["failed"].values()))
        return UnexpectedError(
            "No clip could be prepared because of a bug of this package. Please report it with this "
            f"traceback:\n{bug['traceback']}"
        )
    counts = {reason: len(skipped) for reason, skipped in report["skipped"].items()}
    counts |= {bug: len(failed["ids"]) for bug, failed in report["failed"].items()}
    reasons = "; ".join(f"{count} x {reason}" for reason, count in counts.items())
    if not report["clips"]:
        return DatasetError(
            f"None of the {report['found']} clips could be prepared: {reasons}. {path} names each."
        )
    return DatasetError(
        f"No clip of the split {' and '.join(empty)} could be prepared ({reasons}; {path} names each), and "
        "training needs each split. Add or mend clips and run the same command again, or choose other splits."
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
