"""The paper's ablations: every arm trained on one budget, every system evaluated, one table.

    python examples/ablations/run.py GRID_PREPARED TALKERS_PREPARED --out DIR [--jobs 2] [key=value ...]

Both are folders that `hf-lip2speech prepare` wrote, with the same units. What is trained and compared
stands in ablations.yaml, the arms' size and budget in lip2speech.yaml and vocoder.yaml; key=value changes
it for all arms (max_steps=20, to try it). Run it again to go on where it was stopped. Writes
DIR/ablations.md and DIR/ablations.json.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet
import yaml

from hf_lip2speech.evaluation.bootstrap import interval
from hf_lip2speech.evaluation.measures import MEASURES
from hf_lip2speech.evaluation.scores import Measure
from hf_lip2speech.evaluation.systems import TRUTH, VOCODER, WHOLE_PATH

HERE = Path(__file__).parent
SHOWN = ("wer", "stoi", "estoi", "pesq_wb", "unit_accuracy", "speaker_similarity")
BY_KEY = {measure.key: measure for measure in MEASURES}
Numbers = dict[str, dict[str, Any]]  # clip -> its line of per_clip.parquet


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("grid", type=Path, metavar="GRID_PREPARED")
    parser.add_argument("talkers", type=Path, metavar="TALKERS_PREPARED")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings at a time, of one thread each (default: 1)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args(argv)
    plan = read_plan()
    args.out.mkdir(parents=True, exist_ok=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda name: train(args, name, plan["trainings"][name]), plan["trainings"]))
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda name: evaluate(args, name, plan["systems"][name]), plan["systems"]))

    found = {name: Evaluation(args.out / "evaluations" / name) for name in plan["systems"]}
    compared = [
        compare(direction, found[better].numbers[WHOLE_PATH], found[worse].numbers[WHOLE_PATH], measures)
        for direction, (better, worse, measures) in plan["comparisons"].items()
    ]
    results = {"rows": table_of(plan["systems"], found), "comparisons": compared}
    (args.out / "ablations.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (args.out / "ablations.md").write_text(as_markdown(results), encoding="utf-8")
    print(as_markdown(results))


def read_plan() -> dict[str, Any]:
    return yaml.safe_load((HERE / "ablations.yaml").read_text(encoding="utf-8"))


def train(args: argparse.Namespace, name: str, training: list[str]) -> None:
    """Train one arm, or go on with it."""
    script, config, *changes = training
    folder = args.out / name
    if (folder / "last").is_dir():
        return
    where = [f"data=[{args.grid},{args.talkers}]", f"output_dir={folder}"]
    changes = [*where, *changes, *args.overrides]
    run([HERE.parent / script, HERE / config, "--resume", *changes], args.out / f"{name}.log")


def evaluate(args: argparse.Namespace, name: str, system: dict[str, str]) -> None:
    """Put one system together and evaluate it, or go on with that."""
    composite, log = args.out / "systems" / name, args.out / f"{name}_evaluation.log"
    if not composite.is_dir():
        parts = [args.out / system[part] / "last" for part in ("lip2speech", "vocoder")]
        composite.parent.mkdir(exist_ok=True)
        run(["-m", "hf_lip2speech", "compose", *parts, composite, "--voices", args.grid], log)
    data = (
        [args.talkers, "--split", "test"]
        if system.get("data") == "talkers"
        else [args.grid, "--split", "val"]
    )
    out = ["--out", args.out / "evaluations" / name]
    speaker = ["--speaker", system["speaker"]] if "speaker" in system else []
    run(["-m", "hf_lip2speech", "evaluate", composite, *data, *out, *speaker], log)


def run(command: list[str | Path], log: Path) -> None:
    """One of this package's commands, in a process of its own; what it says is added to a file."""
    with open(log, "a", encoding="utf-8") as file:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            stdout=file,
            stderr=file,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        said = f"stopped with status {done.returncode}; see {log}: {' '.join(last)}"
        sys.exit(f"{' '.join(map(str, command))} {said}")


class Evaluation:
    """What `hf-lip2speech evaluate` wrote: its results, and the numbers of each clip by row."""

    def __init__(self, folder: Path):
        self.results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        self.numbers: dict[str, Numbers] = {}
        for line in pyarrow.parquet.read_table(folder / "per_clip.parquet").to_pylist():
            self.numbers.setdefault(line["row"], {})[line["id"]] = line

    def scores(self, row: str) -> dict[str, dict | None]:
        """A row's figures by measure."""
        return next(entry["scores"] for entry in self.results["rows"] if entry["row"] == row)


def table_of(systems: dict[str, dict[str, str]], found: dict[str, Evaluation]) -> list[dict]:
    """The table's lines: the recordings, each vocoder alone, each system."""
    rows: dict[str, tuple[str, str]] = {}
    for name, system in systems.items():
        rows.setdefault(f"true speech, {corpus(system)}", (name, TRUTH))
    for name, system in systems.items():
        if "speaker" not in system:
            rows.setdefault(f"true mel and units, `{system['vocoder']}`", (name, VOCODER))
    rows |= {system["about"]: (name, WHOLE_PATH) for name, system in systems.items()}
    table = []
    for about, (name, row) in rows.items():
        scores = found[name].scores(row)
        shown = {key: scores.get(key) for key in SHOWN}
        if row == WHOLE_PATH and systems[name]["vocoder"] == "vocoder_mel":
            shown["unit_accuracy"] = None  # nobody hears its units
        table.append({"about": about, "system": name, "row": row, "scores": shown})
    return table


def corpus(system: dict[str, str]) -> str:
    return system.get("data", "GRID s1")


def compare(direction: str, better: Numbers, worse: Numbers, measures: list[str]) -> dict:
    """How much one system is ahead of another on the same clips, and whether it is at all."""
    gains = {}
    for key in measures:
        measure = BY_KEY[key]
        first, *rest = measure.columns
        sign = 1 if measure.better == "higher" else -1
        pairs = [(better[clip], worse[clip]) for clip in sorted(better.keys() & worse.keys())]
        pairs = [
            pair
            for pair in pairs
            if all(one[column] is not None for one in pair for column in measure.columns)
        ]
        ahead = [sign * (one[first] - other[first]) for one, other in pairs]
        total = [one[rest[0]] for one, _ in pairs] if measure.statistic == "ratio" else None
        found = interval(ahead, total)
        verdict = (
            "holds" if found.low > 0 else "the opposite holds" if found.high < 0 else "not distinguishable"
        )
        ends = {"value": found.value, "low": found.low, "high": found.high}
        gains[key] = ends | {"clips": len(pairs), "verdict": verdict}
    return {"direction": direction, "gains": gains}


def as_markdown(results: dict) -> str:
    """Both tables; in brackets 95 % bootstrap intervals over clips."""
    columns = [BY_KEY[key] for key in SHOWN]
    lines = [
        "| | " + " | ".join(measure.label for measure in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in results["rows"]:
        cells = [cell(measure, row["scores"][measure.key]) for measure in columns]
        lines.append(f"| {row['about']} | " + " | ".join(cells) + " |")
    lines += ["", "| direction | ahead by (95 %) | verdict |", "|---|---|---|"]
    for entry in results["comparisons"]:
        for key, gain in entry["gains"].items():
            ahead = f"{cell(BY_KEY[key], gain)} {BY_KEY[key].label}"
            lines.append(f"| {entry['direction']} | {ahead} | {gain['verdict']} |")
    return "\n".join(lines) + "\n"


def cell(measure: Measure, score: dict | None) -> str:
    if score is None:
        return "-"
    return f"{measure.show(score['value'])} ({measure.show(score['low'])} to {measure.show(score['high'])})"


if __name__ == "__main__":
    main()
