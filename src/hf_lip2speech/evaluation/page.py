"""The page of an evaluation: the table, and every clip to look at and listen to, without a network.

index.html holds its own style and script and plays the files beside it; the folder can be moved or zipped as
a whole.
"""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from transformers.audio_utils import hertz_to_mel

from ..constants import SAMPLING_RATE
from ..files import write_text
from .card import model_name, shown_facts
from .folder import EvaluationFolder
from .normalisation import normalise_text
from .pictures import RANGE
from .results import arrow, measures_of, show_score
from .scores import Measure
from .systems import ROWS, SHUFFLED, TRUTH, WHOLE_PATH

TEMPLATE = Path(__file__).with_name("page.html")
SHOWN = 5  # clips that lie open at either end of the ranking
FREQUENCIES = (500, 1000, 2000, 4000)  # Hz, labelled beside the spectrograms
DECIBELS = 20 * RANGE / 2.302585  # of the colours' range


def write_page(
    folder: EvaluationFolder, results: Mapping[str, Any], clips: Sequence[Mapping[str, Any]]
) -> None:
    """Write the page.

    Args:
        folder: Where the sounds, spectrograms and mouth clips lie.
        results: See `results.summarise`.
        clips: What `run.evaluate` wrote of each clip.
    """
    measures = measures_of(results)
    main, others = ([m for m in measures if m.main is chosen] for chosen in (True, False))
    by_id = {clip["id"]: clip for clip in clips}
    ranked = [
        _clip(folder, by_id[clip_id], main, rank, len(clips))
        for rank, clip_id in enumerate(results["ranking"], start=1)
    ]
    ends = min(SHOWN, len(ranked) // 2)
    text = (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
        .from_string(TEMPLATE.read_text(encoding="utf-8"))
        .render(
            name=model_name(results),
            facts=shown_facts(results),
            clip_count=len(clips),
            dataset=f"{results['facts']['dataset']}, split {results['facts']['split']}",
            listener=(results["facts"]["recogniser"] or {}).get("name"),
            tables=[_table(results, part) for part in (main, others) if part],
            measures=results["measures"],
            ranked_by=results["ranked_by"],
            worst=ranked[len(ranked) - ends :][::-1],
            best=ranked[:ends],
            rest=ranked[ends : len(ranked) - ends],
            frequencies=[(_label(hertz), round(100 * _height(hertz), 2)) for hertz in FREQUENCIES],
            decibels=round(DECIBELS),
        )
    )
    write_text(folder.page, text)


def _table(results: Mapping[str, Any], measures: Sequence[Measure]) -> dict[str, Any]:
    """A table's head and rows, each cell with its numbers and where they lie in the column, in %."""
    rows = []
    for row in results["rows"]:
        cells = []
        for measure in measures:
            score = row["scores"][measure.key]
            value, ends = show_score(measure, score)
            cell: dict[str, Any] = {"key": measure.key, "value": value, "ends": ends}
            if score is not None:
                others = [other["scores"][measure.key] for other in results["rows"]]
                low = min(other["low"] for other in others if other)
                span = (max(other["high"] for other in others if other) - low) or 1.0
                cell["at"] = {
                    name: round(100 * (score[name] - low) / span, 2) for name in ("low", "value", "high")
                }
            cells.append(cell)
        rows.append({key: row[key] for key in ("row", "name", "about", "voice")} | {"cells": cells})
    return {"head": [(m.key, m.label, arrow(m), m.about) for m in measures], "rows": rows}


def _clip(
    folder: EvaluationFolder, clip: Mapping[str, Any], measures: Sequence[Measure], rank: int, count: int
) -> dict[str, Any]:
    clip_id, text = clip["id"], clip["rows"][TRUTH]["text"]
    tracks = []
    for row, entry in clip["rows"].items():
        if row == SHUFFLED:  # the whole path's sound once more
            continue
        tracks.append(
            {
                "row": row,
                "name": ROWS[row][0],
                "voice": entry["voice"],
                "heard": None if entry["heard"] is None else _marked(text, entry["heard"]),
                "scores": [(m.label, _show(m, entry["numbers"])) for m in measures],
                "sound": _link(folder, folder.root / entry["sound"]),
                "spectrogram": _link(folder, folder.spectrogram(row, clip_id)),
            }
        )
    whole = next(track for track in tracks if track["row"] == WHOLE_PATH)
    return {
        "id": clip_id,
        "rank": rank,
        "count": count,
        "speaker": clip["speaker"],
        "seconds": clip["seconds"],
        "text": text,
        "mouth": _link(folder, folder.mouth(clip_id)),
        "tracks": tracks,
        "whole": whole,
    }


def _show(measure: Measure, numbers: Mapping[str, float | None]) -> str:
    """One clip's score: a ratio as its two numbers."""
    values = [value for column in measure.columns if (value := numbers.get(column)) is not None]
    if len(values) < len(measure.columns):
        return "-"
    return (
        " / ".join(f"{value:g}" for value in values)
        if measure.statistic == "ratio"
        else measure.show(*values)
    )


def _marked(text: str, heard: str) -> list[tuple[str, bool]]:
    """The words heard, each with whether it stands where the text has it; "…" where one is missing."""
    said, words = normalise_text(text).split(), heard.split()
    if not said or not words:
        return [(word, True) for word in words]
    marked: list[tuple[str, bool]] = []
    for kind, start, end, first, last in SequenceMatcher(None, said, words, autojunk=False).get_opcodes():
        marked += [(word, kind == "equal") for word in words[first:last]]
        if kind == "delete":
            marked += [("…", False)] * (end - start)
    return marked


def _link(folder: EvaluationFolder, path: Path) -> str:
    return quote(path.relative_to(folder.root).as_posix())


def _label(hertz: int) -> str:
    return f"{hertz / 1000:g}k" if hertz >= 1000 else str(hertz)


def _height(hertz: int) -> float:
    """Where a frequency lies in a spectrogram, from 0 at the bottom to 1 at the top."""
    top = hertz_to_mel(SAMPLING_RATE / 2, mel_scale="slaney")
    return float(hertz_to_mel(float(hertz), mel_scale="slaney") / top)
