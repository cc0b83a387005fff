"""What a preparation made, what it lost and why, and the table of what there is."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ..constants import FRAME_RATE
from .corpora import Clip
from .layout import COLUMNS, PreparedFolder
from .segments import Segment, words_of

MANIFEST_SCHEMA = pyarrow.schema(
    [("id", "string"), ("speaker", "string"), ("split", "string"), ("text", "string"), ("words", "string")]
    + [("frames", "int64"), ("source", "string"), ("start", "int64")]
    + [(column, "string") for column in COLUMNS]
)
ROW_GROUP = 5_000  # clips whose rows are in memory at once


def make_report(
    corpus: str, splits: Mapping[str, str], records: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Counts and hours of what is stored, and every clip that is not, with the reason.

    Args:
        corpus: Its name.
        splits: Clip ID -> split, of all that were to be prepared.
        records: Clip ID -> what `ClipWriter.write_files` returned.

    Returns:
        {"corpus", "found": clips that were to be prepared, "clips": stored ones (of a clip that was cut, each
        part), "cut": clips that were cut, "hours", "splits": {split: {"found", "clips", "hours",
        "speakers"}}, "lost": {"clips", "hours": of their sound, "unknown": how many of them have none that
        could be read}, "skipped": {reason: [{"id", "message"}]}, "warnings": [{"id", "message"}]}. A reason
        is the name of the error (NoFaceError, NoAudioError, ClipLengthError, ...).
    """
    found = Counter(splits.values())
    stored: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    speakers: dict[str, set[str]] = {split: set() for split in found}
    skipped: dict[str, list[dict[str, str]]] = {}
    lost = {"clips": 0, "hours": 0.0, "unknown": 0}
    cut = 0
    for clip, split in splits.items():
        record = records[clip]
        if "skipped" in record:
            skipped.setdefault(record["skipped"], []).append({"id": clip, "message": record["message"]})
            lost["clips"] += 1
            lost["hours"] += (record["seconds"] or 0) / 3600
            lost["unknown"] += record["seconds"] is None
            continue
        stored[split] += len(record["segments"])
        frames[split] += sum(segment[2] for segment in record["segments"])
        speakers[split].add(record["speaker"])
        cut += len(record["segments"]) > 1
    return {
        "corpus": corpus,
        "found": len(splits),
        "clips": stored.total(),
        "cut": cut,
        "hours": _hours(frames.total()),
        "splits": {
            split: {
                "found": found[split],
                "clips": stored[split],
                "hours": _hours(frames[split]),
                "speakers": len(speakers[split]),
            }
            for split in sorted(found)
        },
        "lost": lost | {"hours": round(lost["hours"], 4)},
        "skipped": dict(sorted(skipped.items())),
        "warnings": [{"id": clip, "message": text} for clip in splits for text in records[clip]["warnings"]],
    }


def _hours(frames: int) -> float:
    return round(frames / FRAME_RATE / 3600, 4)


def write_manifest(
    folder: PreparedFolder,
    splits: Mapping[str, str],
    records: Mapping[str, dict[str, Any]],
    clip: Callable[[str], Clip],
) -> None:
    """Write one row a stored clip, in the order of `splits`; transcripts are read a few thousand at a time.

    Columns: id, speaker, split, text, words (JSON: [{"word", "start", "end"}] in seconds), frames, source
    (the corpus's clip), start (first frame in it), and the path of each file, relative to the folder.
    """

    def rows() -> Iterable[dict[str, Any]]:
        for source, split in splits.items():
            if "skipped" in records[source]:
                continue
            original = clip(source)
            for segment in (Segment(*entry) for entry in records[source]["segments"]):
                text, words = words_of(original, segment)
                entries = [{"word": word.word, "start": word.start, "end": word.end} for word in words]
                row: dict[str, Any] = {"id": segment.id, "speaker": original.speaker}
                row |= {"split": split, "text": text}
                row |= {"words": json.dumps(entries, ensure_ascii=False), "frames": segment.frames}
                row |= {"source": source, "start": segment.start}
                yield row | {column: folder.relative(column, segment.id) for column in COLUMNS}

    def write(path: Path) -> None:
        with pyarrow.parquet.ParquetWriter(path, MANIFEST_SCHEMA) as writer:
            group: list[dict[str, Any]] = []
            for row in rows():
                group.append(row)
                if len(group) == ROW_GROUP:
                    writer.write_table(pyarrow.Table.from_pylist(group, schema=MANIFEST_SCHEMA))
                    group = []
            if group:
                writer.write_table(pyarrow.Table.from_pylist(group, schema=MANIFEST_SCHEMA))

    folder.write(folder.manifest, write)
