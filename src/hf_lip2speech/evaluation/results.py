"""The results of an evaluation: figures with their intervals from the numbers of all clips."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MetricError
from ..files import atomic_file, write_text
from .measures import MEASURES, Measure
from .systems import COPY_SYNTHESIS, END_TO_END, GROUND_TRUTH, MEL_ONLY, ROWS, UNITS_ONLY

RESAMPLES = 10_000
CONFIDENCE = 0.95
_AT_ONCE = 2_000_000  # indices drawn at a time: 16 MB
# Rows of evaluations that were made with version 0.1.0.
_OLD_ROWS = {"truth": GROUND_TRUTH, "vocoder": COPY_SYNTHESIS, "vocoder_units": UNITS_ONLY}
_OLD_ROWS |= {"vocoder_mel": MEL_ONLY, "whole_path": END_TO_END}


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


def interval(
    numerators: Sequence[float],
    denominators: Sequence[float] | None = None,
    *,
    statistic: str = "mean",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean or median of a figure over clips, or the ratio of two sums, with its 95 % percentile bootstrap
    interval.

    Whole clips are drawn, so a rate is the errors of the clips drawn over their words (Bisani, Ney,
    "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004; Efron,
    Tibshirani, "An Introduction to the Bootstrap", 1993). The same number of clips and the same seed draw the
    same clips: the rows of a table are resampled alike.

    Args:
        numerators: One number per clip, N >= 1: the figure itself, or errors.
        denominators: One number per clip, such as words, for sum(errors) / sum(words). None: the mean or
            median of the numerators.
        statistic: "mean" or "median"; of a ratio it is "mean", the ratio of the sums.
        resamples: Number of draws of N clips.

    Raises:
        MetricError: no clip, unequal numbers of them, a number that is not finite, or nothing to divide by.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or not len(top) or top.shape != bottom.shape:
        raise MetricError(
            f"Got numbers of shapes {top.shape} and {bottom.shape}; expected one for each clip."
        )
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()) or (bottom < 0).any() or not bottom.any():
        raise MetricError("Got numbers that are not finite, or no denominator above 0; expected both.")
    middle = {"mean": np.mean, "median": np.median}[statistic]
    random = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, step := max(1, _AT_ONCE // len(top))):
        drawn = random.integers(len(top), size=(min(step, resamples - start), len(top)))
        below = middle(bottom[drawn], axis=1)
        values.append(middle(top[drawn], axis=1)[below > 0] / below[below > 0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return Interval(float(middle(top) / middle(bottom)), float(low), float(high))


def summarise(
    clips: Sequence[Mapping[str, Any]],
    rows: Sequence[str],
    facts: Mapping[str, Any],
    skipped: Sequence[Mapping[str, str]],
    seed: int,
) -> dict[str, Any]:
    """The results of an evaluation, as they are stored in JSON.

    Args:
        clips: The marker of each clip, see `run.evaluate`: {"id", "speaker", "seconds", "faceless", "rows":
            {row: {"voice", "against", "text", "heard", "sound", "numbers": {column: number or None}}}}.
        rows: The table's rows, in order.
        facts: Everything that the numbers depend on.
        skipped: Clips that count in no row: {"id", "skipped", "message"}.

    Returns:
        {"facts", "measures": see `Measure.described`, "rows": [{"row", "name", "about", "voice", "scores":
        {key: {"value", "low", "high", "clips", "undefined"[, "count", "total"]} or None}}], "ranking": IDs
        from the best clip to the worst, "ranked_by", "skipped", "faceless": {ID: frames in which nobody is
        seen for longer than a second}}. A measure that no row has is left out. A rate such as WER is a
        fraction of 1.
    """
    table: list[dict[str, Any]] = []
    for row in rows:
        entries = [clip["rows"][row] for clip in clips if row in clip["rows"]]
        if not entries:  # one of two clips was skipped: there is nothing to shuffle
            continue
        numbers = [entry["numbers"] for entry in entries]
        scores = {measure.key: _score(measure, numbers, seed) for measure in MEASURES}
        name, about = ROWS[row]
        table.append({"row": row, "name": name, "about": about, "voice": _voices(entries), "scores": scores})
    present = [measure for measure in MEASURES if any(row["scores"][measure.key] for row in table)]
    for row in table:
        row["scores"] = {measure.key: row["scores"][measure.key] for measure in present}
    by = "fewest wrong words, then highest ESTOI" if "wer" in {m.key for m in present} else "highest ESTOI"
    about = f"{100 * CONFIDENCE:.0f} % percentile bootstrap over clips, {RESAMPLES} draws, seed {seed}"
    return {
        "facts": dict(facts) | {"interval": about},
        "measures": [measure.described() for measure in present],
        "rows": table,
        "ranking": [clip["id"] for clip in sorted(clips, key=_rank)],
        "ranked_by": f"{by}, of the end-to-end speech",
        "skipped": list(skipped),
        "faceless": {clip["id"]: clip["faceless"] for clip in clips if clip.get("faceless")},
    }


def read_results(path: str | Path) -> dict[str, Any]:
    """What an evaluation wrote as results.json; older versions are brought to today's names.

    Raises:
        MetricError: the file holds something else.
    """
    described = {measure.key: measure.described() for measure in MEASURES}
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        for row in results["rows"]:
            row["row"] = _OLD_ROWS.get(row["row"], row["row"])
            row["name"], row["about"] = ROWS.get(row["row"], (row["name"], row["about"]))
        results["measures"] = [entry | described.get(entry["key"], {}) for entry in results["measures"]]
        whole = isinstance(results["facts"], dict) and isinstance(results["skipped"], list)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise MetricError(f"{path} is not what `hf-lip2speech evaluate` writes.")
    return results


_TEXTS = ("id", "row", "speaker", "voice", "against", "text", "heard", "sound")


def per_clip(clips: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line per clip and row: "id", "row", "speaker", "seconds", "voice", "against", "text", "heard",
    "sound" and one for every number, None where it is not defined."""
    lines = []
    for clip in clips:
        for row, entry in clip["rows"].items():
            line = {"id": clip["id"], "row": row, "speaker": clip["speaker"], "seconds": clip["seconds"]}
            lines.append(line | {name: entry[name] for name in _TEXTS[3:]} | entry["numbers"])
    return lines


def write_table(path: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    """The lines of `per_clip` as a Parquet file, with a column for every number that any measure has."""
    import pyarrow
    import pyarrow.parquet

    columns = dict.fromkeys(column for measure in MEASURES for column in measure.columns)
    schema = [(name, pyarrow.string()) for name in _TEXTS]
    schema += [(name, pyarrow.float64()) for name in ("seconds", *columns)]
    table = pyarrow.Table.from_pylist(per_clip(clips), schema=pyarrow.schema(schema))
    with atomic_file(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished)


def write_lines(path: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    """The lines of `per_clip` as JSON lines, for other tools."""
    write_text(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in per_clip(clips)))


def _score(measure: Measure, clips: Sequence[Mapping[str, float | None]], seed: int) -> dict[str, Any] | None:
    numbers = [[clip.get(column) for column in measure.columns] for clip in clips]
    defined = [values for values in numbers if None not in values]
    if not defined:
        return None
    statistic = "median" if measure.statistic == "median" else "mean"
    found = interval(*zip(*defined, strict=True), statistic=statistic, seed=seed)
    score = {"value": found.value, "low": found.low, "high": found.high, "clips": len(defined)}
    score["undefined"] = len(numbers) - len(defined)
    if measure.statistic == "ratio":
        score["count"], score["total"] = (sum(values) for values in zip(*defined, strict=True))
    return score


def _voices(entries: Sequence[Mapping[str, Any]]) -> str:
    """The voices of a row's clips in one line."""
    voices = list(dict.fromkeys(entry["voice"] for entry in entries))
    return "; ".join(voices[:3]) + (f"; and {len(voices) - 3} more" if len(voices) > 3 else "")


def _rank(clip: Mapping[str, Any]) -> tuple[float, float, str]:
    numbers = clip["rows"][END_TO_END]["numbers"]
    words = numbers.get("words")
    rate = numbers["word_errors"] / words if words else 0.0
    return rate, -(numbers["estoi"] or 0.0), clip["id"]
