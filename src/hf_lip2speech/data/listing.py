"""The clips of a corpus that are to be prepared, and those that are."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DatasetError
from ..video.tracks import TALKING
from .clip_files import RULES
from .corpora import Clip, Corpus, FaceVideoFolder, ListedCorpus
from .corpora.clip import file_signature
from .layout import COLUMNS, FILES, Journal, PreparedFolder

FOLDERS = {pattern.split("/")[0] for pattern in FILES.values()}  # of a prepared folder


@dataclass(frozen=True)
class Listing:
    """The clips to prepare: ID -> split, in the order of the IDs; ID -> the clip, which is read now; ID ->
    the files on which the clip depends."""

    splits: dict[str, str]
    clip: Callable[[str], Clip]
    sources: Callable[[str], list[Path]]


def check_apart(corpus: Corpus, out: Path) -> None:
    """Raise a DatasetError where a corpus's folder or the data of another one would be written over."""
    there = corpus.name
    with suppress(DatasetError):  # there is no report, or a damaged one, which will be mended
        there = PreparedFolder(out).read_report()["corpus"]
    if there != corpus.name:
        raise DatasetError(f"{out} holds data prepared from {there}. Name another folder for {corpus.name}.")
    if not isinstance(corpus, ListedCorpus):
        return
    source, target = corpus.data_dir.resolve(), out.resolve()
    inside = isinstance(corpus, FaceVideoFolder) and target.is_relative_to(source)
    if source == target or inside or any(source.is_relative_to(target / name) for name in FOLDERS):
        raise DatasetError(
            f"{out} is inside the corpus {corpus.data_dir}, or the other way round: the prepared videos "
            "would be taken for clips, or the corpus be written over. Choose a folder beside it."
        )


def list_clips(corpus: Corpus, splits: Iterable[str] | None = None, limit: int | None = None) -> Listing:
    """The chosen clips of a corpus, by ID; see `prepare`.

    Raises:
        DatasetError: There are none, or the corpus has no such split.
    """
    if isinstance(corpus, ListedCorpus):  # a transcript is not read before it is needed
        every, clip, sources = corpus.splits, corpus.clip, corpus.files
    else:
        clips = {clip.id: clip for clip in corpus}
        every, clip = {name: clip.split for name, clip in clips.items()}, clips.__getitem__

        def sources(name: str) -> list[Path]:
            return clips[name].files

    wanted = None if splits is None else set(splits)
    present = set(every.values())
    if not every or (wanted is not None and not wanted <= present):
        known = f"{sorted(present)}, in which it has clips"
        raise DatasetError(f"splits={sorted(wanted or ())} of {corpus.name}; expected some of {known}.")
    taken: Counter[str] = Counter()
    chosen = {}
    for name, split in sorted(every.items()):
        if (wanted is None or split in wanted) and (limit is None or taken[split] < limit):
            taken[split] += 1
            chosen[name] = split
    return Listing(chosen, clip, sources)


def done_records(
    folder: PreparedFolder, listing: Listing, max_frames: int, face: int | str
) -> dict[str, dict[str, Any]]:
    """The newest journal record of each clip that is done: sources and face unchanged, all files there, no
    bug met."""
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
            "failed" not in record
            and record.get("face", TALKING) == face
            and ("skipped" not in record or record.get("rules") == RULES)
            and (whole or record["limit"] == max_frames)
            and all(segment[0] in ids for segment in segments for ids in present)
            and record["sources"] == file_signature(listing.sources(record["id"]))
        )

    return {clip: record for clip, record in newest.items() if is_done(record)}
