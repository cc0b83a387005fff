"""The page of an evaluation: the table, and every clip to look at and listen to, without a network.

index.html holds its own style and script and plays the files beside it; the folder can be moved or zipped as
a whole.
"""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

from hf_lip2speech_extras import require_extra

from ..audio.mel import log_mel_spectrogram, mel_height
from ..cards import render
from ..files import atomic_file, write_text
from ..results_text import ARROWS, model_name, show_score, show_value, shown_facts, split_note
from .error_rates import normalise_text
from .systems import END_TO_END, GROUND_TRUTH, ROWS, SHUFFLED

SHOWN = 5  # unfolded clips at either end of the ranking
FREQUENCIES = {"500": 500, "1k": 1000, "2k": 2000, "4k": 4000}  # labels beside the spectrograms, Hz
RANGE = 9.0  # natural-log units below the recording's loudest bin that are told apart: 78 dB
DECIBELS = 20 * RANGE / 2.302585  # of the colours' range


def write_page(path: Path, results: Mapping[str, Any], clips: Sequence[Mapping[str, Any]]) -> None:
    """Write index.html, beside the evaluation's sounds, spectrograms and mouth clips.

    Args:
        results: See `results.summarise`.
        clips: The marker of each clip, with the relative paths of its files.
    """
    measures = results["measures"]
    main, others = ([entry for entry in measures if entry["main"] is chosen] for chosen in (True, False))
    by_id = {clip["id"]: clip for clip in clips}
    ranked = [
        _clip(by_id[clip_id], main) | {"rank": rank, "count": len(clips)}
        for rank, clip_id in enumerate(results["ranking"], start=1)
    ]
    ends = min(SHOWN, len(ranked) // 2)
    text = render(
        "evaluation.html",
        name=model_name(results),
        facts=shown_facts(results),
        clip_count=len(clips),
        dataset=f"{results['facts']['dataset']}, split {results['facts']['split']}",
        split_note=split_note(results),
        listener=(results["facts"]["recogniser"] or {}).get("name"),
        tables=[_table(results, part) for part in (main, others) if part],
        measures=measures,
        ranked_by=results["ranked_by"],
        worst=ranked[len(ranked) - ends :][::-1],
        best=ranked[:ends],
        rest=ranked[ends : len(ranked) - ends],
        frequencies=[(label, round(100 * mel_height(hertz), 2)) for label, hertz in FREQUENCIES.items()],
        decibels=round(DECIBELS),
    )
    write_text(path, text)


def write_spectrogram(path: Path, waveform: np.ndarray, *, like: np.ndarray) -> None:
    """Write a waveform's log-mel spectrogram as a PNG, 80 pixels high, 100 wide per second, without axes.

    Waveforms are 16 kHz; the loudest bin of `like` has the brightest colour.
    """
    image = require_extra("matplotlib.image", "eval")
    mel, reference = (log_mel_spectrogram(torch.from_numpy(signal)).numpy() for signal in (waveform, like))
    top = float(reference.max())
    with atomic_file(path) as unfinished:
        image.imsave(unfinished, mel.T, origin="lower", cmap="magma", vmin=top - RANGE, vmax=top)


def _table(results: Mapping[str, Any], measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A table's head and rows, each cell with its numbers and their place in the column, in %."""
    rows = []
    for row in results["rows"]:
        cells = []
        for measure in measures:
            score = row["scores"][measure["key"]]
            value, ends = show_score(measure, score)
            cell: dict[str, Any] = {"key": measure["key"], "value": value, "ends": ends}
            if score is not None:
                others = [other["scores"][measure["key"]] for other in results["rows"]]
                low = min(other["low"] for other in others if other)
                span = (max(other["high"] for other in others if other) - low) or 1.0
                place = {end: round(100 * (score[end] - low) / span, 2) for end in ("low", "value", "high")}
                cell["at"] = place
            cells.append(cell)
        rows.append({key: row[key] for key in ("row", "name", "about", "voice")} | {"cells": cells})
    head = [(entry["key"], entry["label"], ARROWS[entry["better"]], entry["about"]) for entry in measures]
    return {"head": head, "rows": rows}


def _clip(clip: Mapping[str, Any], measures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    text = clip["rows"][GROUND_TRUTH]["text"]
    said = clip["rows"][GROUND_TRUTH].get("said") or normalise_text(text)
    tracks = {
        row: {
            "row": row,
            "name": ROWS[row][0],
            "voice": entry["voice"],
            "heard": None if entry["heard"] is None else _marked(said, entry["heard"]),
            "scores": [(measure["label"], _show(measure, entry["numbers"])) for measure in measures],
            "sound": quote(entry["sound"]),
            "spectrogram": quote(entry["spectrogram"]),
        }
        for row, entry in clip["rows"].items()
        if row != SHUFFLED  # the end-to-end sound once more
    }
    about = {name: clip[name] for name in ("id", "speaker", "seconds")}
    shown = {"tracks": list(tracks.values()), "end_to_end": tracks[END_TO_END]}
    return about | shown | {"text": text, "mouth": quote(clip["mouth"])}


def _show(measure: Mapping[str, Any], numbers: Mapping[str, float | None]) -> str:
    """One clip's score: a ratio as its two numbers."""
    values = [value for column in measure["columns"] if (value := numbers.get(column)) is not None]
    if len(values) < len(measure["columns"]):
        return "-"
    if measure["statistic"] == "ratio":
        return " / ".join(f"{value:g}" for value in values)
    return show_value(measure, *values)


def _marked(text: str, heard: str) -> list[tuple[str, bool]]:
    """The words heard, each with whether the text has it there; "…" where one is missing."""
    said, words = text.split(), heard.split()
    if not said or not words:
        return [(word, True) for word in words]
    marked: list[tuple[str, bool]] = []
    for kind, start, end, first, last in SequenceMatcher(None, said, words, autojunk=False).get_opcodes():
        marked += [(word, kind == "equal") for word in words[first:last]]
        if kind == "delete":
            marked += [("…", False)] * (end - start)
    return marked
