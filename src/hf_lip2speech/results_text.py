"""The results of an evaluation as tables and lines of text, for cards, pages and the terminal."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

ARROWS = {"higher": "↑", "lower": "↓", "zero": "→0"}  # which way is better
END_TO_END = "end_to_end"  # of evaluation.systems.ROWS
SHOWN_FACTS = {  # the facts of an evaluation that a card shows, in this order
    "dataset": "data",
    "split": "split",
    "clips": "clips",
    "input": "input",
    "protocol": "protocol",
    "recogniser": "recogniser",
    "speaker_encoder": "speaker encoder",
    "shuffled": "shuffled",
    "interval": "interval",
    "noise": "noise",
    "units": "speech units",
    "naturalness": "DNSMOS",
    "left_out": "not measured",
    "model": "model",
    "weights_sha256": "weights (SHA-256)",
    "vocoders_sha256": "vocoders (SHA-256)",
    "versions": "versions",
    "command": "command",
}


def summary(results: Mapping[str, Any]) -> str:
    """The main table of an evaluation for a terminal, without intervals."""
    rows = [row["row"] for row in results["rows"]]
    return f"{caption(results)}\n\n{table(results, rows, main=True, intervals=False)}"


def show_value(measure: Mapping[str, Any], value: float) -> str:
    """A value of a measure as tables show it."""
    text = f"{measure['factor'] * value:.{measure['digits']}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def show_score(measure: Mapping[str, Any], score: Mapping[str, Any] | None) -> tuple[str, str]:
    """A score and its interval as tables show them; "-" where the row has none."""
    if score is None:
        return "-", ""
    note = f", {score['undefined']} undefined" if score["undefined"] else ""
    ends = f"{show_value(measure, score['low'])} to {show_value(measure, score['high'])}{note}"
    return show_value(measure, score["value"]), ends


def shown_facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The facts below a table: (name, text)."""
    facts = dict(results["facts"])
    if results["skipped"]:
        skipped = ", ".join(f"{clip['id']} ({clip['skipped']})" for clip in results["skipped"])
        facts["clips"] = f"{facts['clips']}; left out of every row: {skipped}"
    if listener := facts["recogniser"]:
        weights = f", weights {listener['weights']}" if listener["weights"] else ""
        facts["recogniser"] = f"{listener['name']}{weights}; text: {listener['text_normalisation']}"
    for name in ("versions", "vocoders_sha256"):
        facts[name] = ", ".join(f"{key} {value}" for key, value in (facts[name] or {}).items()) or None
    if "command" in facts:
        facts["command"] = shlex.join(facts["command"])
    return [(title, str(facts[name])) for name, title in SHOWN_FACTS.items() if facts.get(name) is not None]


def model_name(results: Mapping[str, Any]) -> str:
    """The model's name without its owner or folder."""
    return str(results["facts"].get("model", "a model")).rstrip("/").rsplit("/", 1)[-1]


def name_of(results: Mapping[str, Any]) -> str:
    facts = results["facts"]
    return f"{facts['dataset']}, split {facts['split']}, {facts['clips']} clips"


def caption(results: Mapping[str, Any]) -> str:
    """What a table is of, and whether its clips chose the model."""
    facts = results["facts"]
    listener = f"; words recognised by {facts['recogniser']['name']}" if facts["recogniser"] else ""
    return f"{name_of(results)}{listener}. {split_note(results)}".strip()


def split_note(results: Mapping[str, Any]) -> str:
    """Whether the clips chose the model, as far as their split tells."""
    notes = {
        "train": "The model was trained on these clips: the figures say nothing about new ones.",
        "val": "Validation clips: where they chose the model, the figures are optimistic.",
        "test": "These clips chose nothing.",
    }
    return notes.get(results["facts"]["split"], "")


def table(
    results: Mapping[str, Any],
    rows: Sequence[str],
    *,
    main: bool = True,
    keys: Sequence[str] | None = None,
    intervals: bool = True,
) -> str | None:
    """Rows of the measures of `keys`, or of those that are (not) main."""
    every = results["measures"]
    measures = [entry for entry in every if (entry["key"] in keys if keys else entry["main"] is main)]
    if not measures:
        return None
    titles = ["", *(f"{entry['label']} {ARROWS[entry['better']]}" for entry in measures)]
    lines = [titles, ["---"] * len(titles)]
    for row in results["rows"]:
        if row["row"] in rows:
            shown = [show_score(entry, row["scores"][entry["key"]]) for entry in measures]
            cells = [f"{value} ({ends})" if ends and intervals else value for value, ends in shown]
            lines.append([row["name"], *cells])
    if not intervals:  # a terminal: columns of one width
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines[1] = ["-" * width for width in widths]
        lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def end_to_end(results: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], float, str]]:
    """(measure, value as tables show it, its interval) of the end-to-end speech."""
    scores = next(row["scores"] for row in results["rows"] if row["row"] == END_TO_END)
    found = []
    for measure in results["measures"]:
        if (score := scores[measure["key"]]) is not None:
            value, ends = show_score(measure, score)
            found.append((measure, float(value), ends))
    return found
