"""An evaluation as a model card has it: a section, its `model-index`, and the Hub's `.eval_results`."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from ..files import write_text
from .results import arrow, measures_of, show_score
from .scores import Measure
from .systems import WHOLE_PATH

TASK = "lip-to-speech"
FACTS = {  # what stands under a table, in this order
    "dataset": "data",
    "split": "split",
    "clips": "clips",
    "input": "input",
    "recogniser": "recogniser",
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


def card_section(results: Mapping[str, Any]) -> str:
    """The Markdown section "Evaluation" of a model card: tables, voices, and how the numbers were made."""
    measures, facts = measures_of(results), results["facts"]
    lines = ["## Evaluation", "", f"{facts['dataset']}, split {facts['split']}, {facts['clips']} clips."]
    lines += ["", *_table(results, [measure for measure in measures if measure.main]), ""]
    lines += [f"- {row['name']}: {row['about']}. Voice: {row['voice']}." for row in results["rows"]]
    if more := [measure for measure in measures if not measure.main]:
        lines += ["", *_table(results, more)]
    lines += [
        "",
        *(f"- {m['label']}: {m['about']} Alignment: {m['alignment']}." for m in results["measures"]),
    ]
    lines += ["", *(f"- {name}: {value}" for name, value in shown_facts(results))]
    return "\n".join(lines) + "\n"


def _table(results: Mapping[str, Any], measures: Sequence[Measure]) -> list[str]:
    titles = ["row", *(f"{measure.label} {arrow(measure)}" for measure in measures)]
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    for row in results["rows"]:
        shown = [show_score(measure, row["scores"][measure.key]) for measure in measures]
        cells = [f"{value} ({ends})" if ends else value for value, ends in shown]
        lines.append("| " + " | ".join([row["name"], *cells]) + " |")
    return lines


def eval_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """The whole path's scores for a card's `model-index`."""
    facts = results["facts"]
    return [
        EvalResult(
            task_type=TASK,
            task_name="Lip-to-speech synthesis",
            dataset_type=facts.get("hub_dataset") or facts["corpus"],
            dataset_name=facts["dataset"],
            dataset_split=facts["split"],
            metric_type=measure.key,
            metric_name=name,
            metric_value=value,
        )
        for measure, name, value in _whole_path(results)
    ]


def eval_result_entries(results: Mapping[str, Any], dataset_id: str) -> list[EvalResultEntry]:
    """The whole path's scores for the Hub's `.eval_results/*.yaml`.

    Args:
        results: What `run.evaluate` returned.
        dataset_id: The data set's name on the Hub, OWNER/NAME: a leaderboard there collects the scores.
    """
    facts = results["facts"]
    voice = next(row["voice"] for row in results["rows"] if row["row"] == WHOLE_PATH)
    notes = f"split {facts['split']}, {facts['clips']} clips; voice: {voice}"
    return [
        EvalResultEntry(dataset_id=dataset_id, task_id=measure.key, value=value, notes=f"{name}; {notes}")
        for measure, name, value in _whole_path(results)
    ]


def write_card(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `folder`/README.md and, where the data set has a name on the Hub, `folder`/.eval_results."""
    facts = results["facts"]
    data = ModelCardData(
        library_name="transformers",
        tags=["lip-to-speech", "video-to-speech"],
        model_name=model_name(results),
        eval_results=eval_results(results),
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{card_section(results)}"
    write_text(folder / "README.md", text)
    if dataset := facts.get("hub_dataset"):
        entries = eval_result_entries_to_yaml(eval_result_entries(results, dataset))
        entry_text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
        path = folder / ".eval_results" / f"{dataset.rsplit('/', 1)[-1]}_{facts['split']}.yaml"
        write_text(path, entry_text)


def model_name(results: Mapping[str, Any]) -> str:
    """The model's name without its owner or folder."""
    return str(results["facts"].get("model", "a model")).rstrip("/").rsplit("/", 1)[-1]


def shown_facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands under a table: (name, text)."""
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
    return [(title, str(facts[name])) for name, title in FACTS.items() if facts.get(name) is not None]


def _whole_path(results: Mapping[str, Any]) -> list[tuple[Measure, str, float]]:
    """(measure, its name with what it depends on, its value as tables show it) of the whole path."""
    scores = next(row["scores"] for row in results["rows"] if row["row"] == WHOLE_PATH)
    found = []
    for measure in measures_of(results):
        if (score := scores[measure.key]) is not None:
            value, ends = show_score(measure, score)
            listener = results["facts"]["recogniser"]
            by = f" by {listener['name']}" if measure.key in ("wer", "cer") else ""
            found.append((measure, f"{measure.label}{by} (95 % interval {ends})", float(value)))
    return found
