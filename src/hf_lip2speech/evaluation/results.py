"""The numbers of all clips put together: the table with its intervals, and the Parquet file behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import atomic_file
from .alignment import ALIGNMENT
from .bootstrap import CONFIDENCE, RESAMPLES, interval
from .measures import MEASURES
from .scores import Measure
from .systems import ROWS, WHOLE_PATH

_INTERVAL = f"{100 * CONFIDENCE:.0f} % percentile bootstrap over clips, {RESAMPLES} draws"


def summarise(
    clips: Sequence[Mapping[str, Any]],
    rows: Sequence[str],
    facts: Mapping[str, Any],
    skipped: Sequence[Mapping[str, str]],
    seed: int,
) -> dict[str, Any]:
    """The results of an evaluation, as JSON can hold them.

    Args:
        clips: What `run.evaluate` wrote of each clip: {"id", "speaker", "seconds", "rows": {row: {"voice",
            "against", "text", "heard", "sound", "numbers": {column: number or None}}}}.
        rows: The table's rows, in order.
        facts: What the numbers depend on.
        skipped: Clips that count for no row: {"id", "skipped", "message"}.
        seed: Of the intervals.

    Returns:
        {"facts", "measures": [{"key", "label", "about", "alignment", "better", "statistic", "factor"}],
        "rows": [{"row", "name", "about", "voice", "scores": {key: {"value", "low", "high", "clips",
        "undefined"[, "count", "total"]} or None}}], "ranking": IDs from the best clip to the worst,
        "ranked_by", "skipped"}. A measure that no row has is left out. A rate such as WER is a fraction of 1;
        tables show it times its factor.
    """
    table: list[dict[str, Any]] = []
    for row in rows:
        name, about = ROWS[row]
        entries = [clip["rows"][row] for clip in clips if row in clip["rows"]]
        if not entries:  # of two clips one was skipped: there is nothing to shuffle
            continue
        scores = {
            measure.key: _score(measure, [entry["numbers"] for entry in entries], seed)
            for measure in MEASURES
        }
        table.append({"row": row, "name": name, "about": about, "voice": _voice(entries), "scores": scores})
    present = [measure for measure in MEASURES if any(row["scores"][measure.key] for row in table)]
    for row in table:
        row["scores"] = {measure.key: row["scores"][measure.key] for measure in present}
    by = "fewest wrong words, then highest ESTOI" if "wer" in {m.key for m in present} else "highest ESTOI"
    return {
        "facts": dict(facts) | {"interval": f"{_INTERVAL}, seed {seed}"},
        "measures": [
            {
                name: getattr(measure, name)
                for name in ("key", "label", "about", "better", "statistic", "factor")
            }
            | {"alignment": ALIGNMENT[measure.alignment]}
            for measure in present
        ],
        "rows": table,
        "ranking": [clip["id"] for clip in sorted(clips, key=_rank)],
        "ranked_by": f"{by}, of the whole path",
        "skipped": list(skipped),
    }


def write_table(path: Path, clips: Sequence[Mapping[str, Any]]) -> None:
    """The Parquet file: one line a clip and row, with the columns "id", "row", "speaker", "seconds", "voice",
    "against", "text", "heard", "sound" and one for every number."""
    import pyarrow
    import pyarrow.parquet

    columns = dict.fromkeys(column for measure in MEASURES for column in measure.columns)
    text = ("id", "row", "speaker", "voice", "against", "text", "heard", "sound")
    schema = pyarrow.schema(
        [(name, pyarrow.string()) for name in text]
        + [("seconds", pyarrow.float64())]
        + [(name, pyarrow.float64()) for name in columns]
    )
    lines = []
    for clip in clips:
        for row, entry in clip["rows"].items():
            line = {"id": clip["id"], "row": row, "speaker": clip["speaker"], "seconds": clip["seconds"]}
            lines.append(line | {name: entry[name] for name in text[3:]} | entry["numbers"])
    table = pyarrow.Table.from_pylist(lines, schema=schema)
    with atomic_file(path) as unfinished:
        pyarrow.parquet.write_table(table, unfinished)


def show_score(measure: Measure, score: Mapping[str, Any] | None) -> tuple[str, str]:
    """A score and its interval as tables have them; "-" where the row has none."""
    if score is None:
        return "-", ""
    note = f", {score['undefined']} undefined" if score["undefined"] else ""
    ends = f"{measure.show(score['low'])} to {measure.show(score['high'])}{note}"
    return measure.show(score["value"]), ends


def arrow(measure: Measure) -> str:
    """Which way is better, as a sign."""
    return {"higher": "↑", "lower": "↓", "zero": "→0"}[measure.better]


def measures_of(results: Mapping[str, Any]) -> list[Measure]:
    """The table's columns."""
    by_key = {measure.key: measure for measure in MEASURES}
    return [by_key[entry["key"]] for entry in results["measures"]]


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
        count, total = (sum(values) for values in zip(*defined, strict=True))
        score |= {"count": count, "total": total}
    return score


def _voice(entries: Sequence[Mapping[str, Any]]) -> str:
    """The voice of a row's clips in one line."""
    voices = list(dict.fromkeys(entry["voice"] for entry in entries))
    return "; ".join(voices[:3]) + (f"; and {len(voices) - 3} more" if len(voices) > 3 else "")


def _rank(clip: Mapping[str, Any]) -> tuple[float, float, str]:
    numbers = clip["rows"][WHOLE_PATH]["numbers"]
    words = numbers.get("words")
    rate = numbers["word_errors"] / words if words else 0.0
    return rate, -(numbers["estoi"] or 0.0), clip["id"]
