"""What a preparation made, what it lost and why: report, manifest and contact sheet."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from ..constants import FRAME_RATE, MOUTH_SIZE
from .corpora import Clip
from .corpora.clip import Segment, shuffled, words_of
from .layout import COLUMNS, PreparedFolder, read_crops

ROW_GROUP = 5_000  # clips whose rows are in memory at once
SHEET_COLUMNS, SHEET_ROWS = 12, 8
GAP = 2  # pixels of white between crops


def make_report(
    corpus: str, splits: Mapping[str, str], records: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """Counts and hours of what is stored, and every clip that is not, with the reason.

    Args:
        splits: Clip ID -> split, of all clips that were to be prepared.
        records: Clip ID -> what `ClipWriter.write_files` returned.

    Returns:
        {"corpus", "found": clips that were to be prepared, "clips": stored ones (of a clip that was cut, each
        part), "cut", "trimmed", "padded": clips that were cut, or whose sound was cut by more than 3 frames
        or padded with silence, "faceless": {"frames", "clips"} in which nobody is seen for longer than a
        second, "hours", "splits": {split: {"found", "clips", "hours", "speakers"}}, "lost": {"clips",
        "hours": of their sound, "unknown": how many of them have no readable sound}, "skipped": {reason:
        [{"id", "message"}]}, "failed": {bug: {"ids", "traceback"}}, "warnings": [{"id", "message"}]}. A
        reason is the name of an error (NoFaceError, NoAudioError, ...).
    """
    kept = {clip: records[clip] for clip in splits if "segments" in records[clip]}
    lost = {clip: records[clip] for clip in splits if clip not in kept}
    skipped: dict[str, list[dict[str, str]]] = {}
    failed: dict[str, dict[str, Any]] = {}
    for clip, record in lost.items():
        if "skipped" in record:
            skipped.setdefault(record["skipped"], []).append({"id": clip, "message": record["message"]})
        else:
            bug = failed.setdefault(record["failed"], {"ids": [], "traceback": record["traceback"]})
            bug["ids"].append(clip)
    counts = {}
    for split, found in sorted(Counter(splits.values()).items()):
        of_split = [record for clip, record in kept.items() if splits[clip] == split]
        frames = [segment[2] for record in of_split for segment in record["segments"]]
        speakers = {record["speaker"] for record in of_split}
        counts[split] = {"found": found, "clips": len(frames), "hours": _hours(sum(frames))}
        counts[split]["speakers"] = len(speakers)
    segments = [record["segments"] for record in kept.values()]
    faceless = [record.get("faceless", 0) for record in kept.values()]
    seconds = [record["seconds"] for record in lost.values()]
    return {
        "corpus": corpus,
        "found": len(splits),
        "clips": sum(map(len, segments)),
        "cut": sum(len(parts) > 1 for parts in segments),
        "trimmed": sum("trimmed" in record for record in kept.values()),
        "padded": sum("padded" in record for record in kept.values()),
        "faceless": {"frames": sum(faceless), "clips": sum(count > 0 for count in faceless)},
        "hours": _hours(sum(segment[2] for parts in segments for segment in parts)),
        "splits": counts,
        "lost": {
            "clips": len(lost),
            "hours": round(sum(filter(None, seconds)) / 3600, 4),
            "unknown": seconds.count(None),
        },
        "skipped": dict(sorted(skipped.items())),
        "failed": failed,
        "warnings": [{"id": clip, "message": text} for clip in splits for text in records[clip]["warnings"]],
    }


def _hours(frames: int) -> float:
    return round(frames / FRAME_RATE / 3600, 4)


def manifest_rows(
    splits: Mapping[str, str], records: Mapping[str, dict[str, Any]], clip: Callable[[str], Clip]
) -> Iterator[dict[str, Any]]:
    """A row for each stored clip, in the order of `splits`, as `write_manifest` takes them."""
    for source, split in splits.items():
        if "segments" not in records[source]:
            continue
        original = clip(source)
        for segment in (Segment(*entry) for entry in records[source]["segments"]):
            text, words = words_of(original, segment)
            row: dict[str, Any] = {"id": segment.id, "speaker": original.speaker, "split": split}
            row |= {"text": text, "words": [asdict(word) for word in words], "frames": segment.frames}
            yield row | {"source": source, "start": segment.start}


def write_manifest(folder: PreparedFolder, rows: Iterable[dict[str, Any]]) -> None:
    """Write one row per stored clip, made and written a few thousand at a time.

    Columns: id, speaker, split, text, words (JSON: [{"word", "start", "end"}] in seconds), frames, source
    (the corpus's clip), start (first frame in it), and the path of each file, relative to the folder, which
    the rows lack.
    """
    import pyarrow
    import pyarrow.parquet

    kinds = dict.fromkeys(("id", "speaker", "split", "text", "words"), "string")
    kinds |= {"frames": "int64", "source": "string", "start": "int64"} | dict.fromkeys(COLUMNS, "string")
    schema = pyarrow.schema(list(kinds.items()))

    def whole(row: dict[str, Any]) -> dict[str, Any]:
        files = {column: folder.relative(column, row["id"]) for column in COLUMNS}
        return row | files | {"words": json.dumps(row["words"], ensure_ascii=False)}

    with folder.writing(folder.manifest) as path, pyarrow.parquet.ParquetWriter(path, schema) as writer:
        every = map(whole, rows)
        while group := list(islice(every, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))


def write_contact_sheet(folder: PreparedFolder, ids: Sequence[str], seed: int) -> list[str]:
    """Write the middle frames of up to 96 clips, drawn with `seed`: wrong crops are seen at a glance.

    Returns:
        The IDs of the clips that are shown, row by row from the top left, 12 per row.
    """
    shown = shuffled(ids, seed)[: SHEET_COLUMNS * SHEET_ROWS]
    rows, side = -(-len(shown) // SHEET_COLUMNS), MOUTH_SIZE + GAP
    page = np.full((rows * side - GAP, min(SHEET_COLUMNS, len(shown)) * side - GAP), 255, dtype=np.uint8)
    for number, clip in enumerate(shown):
        crops = read_crops(folder.path("video", clip))
        top, left = side * (number // SHEET_COLUMNS), side * (number % SHEET_COLUMNS)
        page[top : top + MOUTH_SIZE, left : left + MOUTH_SIZE] = crops[len(crops) // 2]
    with folder.writing(folder.contact_sheet) as path:
        Image.fromarray(page).save(path)
    return shown
