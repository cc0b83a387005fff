"""The paper's ablations: every arm trained on one budget, every system evaluated, one table.

    python examples/ablations/run.py GRID_PREPARED TALKERS_PREPARED --out DIR [--plan istft] [--jobs 2]
        [key=value ...]

Both are folders that `hf-lip2speech prepare` wrote, with the same units. The arms and comparisons
are in ablations.yaml, their size and budget in lip2speech.yaml and vocoder.yaml (istft.yaml and
istft_vocoder.yaml: of the inverse-STFT vocoder); key=value changes a setting of all arms
(max_steps=20, to try it). An interrupted run resumes. Writes DIR/ablations.md and DIR/ablations.json.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import yaml

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    import pyarrow.parquet

    from hf_lip2speech.data.layout import PreparedFolder
    from hf_lip2speech.errors import ConfigError
    from hf_lip2speech.evaluation.measures import MEASURES, Measure
    from hf_lip2speech.evaluation.results import interval
    from hf_lip2speech.evaluation.systems import COPY_SYNTHESIS, END_TO_END, GROUND_TRUTH
    from hf_lip2speech.files import write_text
    from hf_lip2speech.results_text import show_score
    from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
    from hf_lip2speech.training.config import load_arguments

HERE = Path(__file__).parent
SHOWN = ("wer", "stoi", "estoi", "pesq_wb", "unit_accuracy", "speaker_similarity")
BY_KEY = {measure.key: measure for measure in MEASURES}
ARGUMENTS = {"train.py": Lip2SpeechTrainingArguments, "train_vocoder.py": VocoderTrainingArguments}
PARTS = ("lip2speech", "vocoder")  # of a system
LEAST_CLIPS = 10  # of fewer no interval says anything
RUNNING: list[subprocess.Popen] = []
Numbers = dict[str, dict[str, Any]]  # clip -> its line of per_clip.parquet


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("grid", type=Path, metavar="GRID_PREPARED")
    parser.add_argument("talkers", type=Path, metavar="TALKERS_PREPARED")
    parser.add_argument("--out", type=Path, required=True)
    plan = "what is trained and compared (default: ablations)"
    parser.add_argument("--plan", choices=("ablations", "istft"), default="ablations", help=plan)
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes at a time, of one thread each (default: 1)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args(argv)
    plan = read_plan(args.plan)
    settings = checked_settings(args, plan)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command resumes"))
    try:
        train_and_evaluate(args, plan)
    except RuntimeError as error:
        sys.exit(str(error))
    finally:
        for process in RUNNING:
            process.terminate()  # a training that is told so leaves a checkpoint
            process.wait()

    found = {name: Evaluation(args.out / "evaluations" / name) for name in plan["systems"]}
    compared = [
        compare(direction, found[better].numbers[END_TO_END], found[worse].numbers[END_TO_END], measures)
        for direction, (better, worse, measures) in plan["comparisons"].items()
    ]
    facts = next(iter(found.values())).results["facts"]
    settings |= {
        "data": [args.grid.resolve().name, args.talkers.resolve().name],  # no paths, to be shown to others
        "recogniser": facts["recogniser"] and facts["recogniser"]["name"],
    }
    results = {"settings": settings, "rows": table_of(plan["systems"], found), "comparisons": compared}
    table = as_markdown(results)
    write_text(args.out / "ablations.json", as_json(results))
    write_text(args.out / "ablations.md", table)
    print(table)


def checked_settings(args: argparse.Namespace, plan: dict[str, Any]) -> dict[str, Any]:
    """What the arms are trained with, if all of it can be used and the folder holds nothing else."""
    if args.jobs < 1:
        sys.exit(f"--jobs is {args.jobs}; give at least 1.")
    for folder in (args.grid, args.talkers):
        if not PreparedFolder(folder).manifest.is_file():
            sys.exit(f"{folder} is no prepared folder: give one that `hf-lip2speech prepare` wrote.")
    seeds, steps = set(), {}
    for name, (script, config, *changes) in plan["trainings"].items():
        try:
            loaded = load_arguments(ARGUMENTS[script], HERE / config, [*changes, *args.overrides])
        except ConfigError as error:
            sys.exit(f"{name}: {error}")
        seeds.add(loaded.seed)
        steps[Path(config).stem] = loaded.max_steps
    settings = {
        "data": [str(args.grid.resolve()), str(args.talkers.resolve())],
        "changes": sorted(args.overrides),
        "updates": steps,
        "seeds": sorted(seeds),
    }
    path = args.out / "settings.json"
    if path.is_file() and (begun := json.loads(path.read_text(encoding="utf-8"))) != settings:
        sys.exit(f"{args.out} holds ablations of other settings, {begun}: give another --out.")
    write_text(path, as_json(settings))
    return settings


def train_and_evaluate(args: argparse.Namespace, plan: dict[str, Any]) -> None:
    """All of the plan, a system as soon as its trainings are done; the first that fails ends all."""
    pool = ThreadPoolExecutor(args.jobs)
    try:
        trained = {name: pool.submit(train, args, name, arm) for name, arm in plan["trainings"].items()}
        evaluated = [
            pool.submit(evaluate, args, name, system, {part: trained.get(system[part]) for part in PARTS})
            for name, system in plan["systems"].items()
        ]
        for future in as_completed([*trained.values(), *evaluated]):
            future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def read_plan(name: str) -> dict[str, Any]:
    return yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))


def train(args: argparse.Namespace, name: str, training: list[str]) -> None:
    """Train one arm, or resume it."""
    script, config, *changes = training
    folder = args.out / name
    if (folder / "last").is_dir():
        return
    where = [f"data={json.dumps([str(args.grid), str(args.talkers)])}", f"output_dir={folder}"]
    changes = [*where, *changes, *args.overrides]
    run([HERE.parent / script, HERE / config, "--resume", *changes], args.out / f"{name}.log")


def evaluate(
    args: argparse.Namespace, name: str, system: dict[str, str], trainings: dict[str, Future[None] | None]
) -> None:
    """Compose and evaluate one system once its arms are trained; an interrupted evaluation resumes. A part
    without a training is the name of a model."""
    for training in filter(None, trainings.values()):  # all of them stand before this one in the pool
        training.result()
    composite, log = args.out / "systems" / name, args.out / f"{name}_evaluation.log"
    if not composite.is_dir():
        parts = [args.out / system[part] / "last" if trainings[part] else system[part] for part in PARTS]
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
    print(f"{log.stem}: begun, see {log}\n", end="", file=sys.stderr, flush=True)  # in one piece
    with open(log, "a", encoding="utf-8") as file:
        words = [sys.executable, *map(str, command)]
        process = subprocess.Popen(words, stdout=file, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
        RUNNING.append(process)
        status = process.wait()
    if status:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{log.stem} stopped with status {status}; see {log}: {' '.join(last)}")
    print(f"{log.stem}: done\n", end="", file=sys.stderr, flush=True)


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
        rows.setdefault(f"ground truth, {corpus(system)}", (name, GROUND_TRUTH))
    for name, system in systems.items():
        if "speaker" not in system:
            rows.setdefault(f"copy synthesis, `{system['vocoder']}`", (name, COPY_SYNTHESIS))
    rows |= {system["about"]: (name, END_TO_END) for name, system in systems.items()}
    table = []
    for about, (name, row) in rows.items():
        scores = found[name].scores(row)
        shown = {key: scores.get(key) for key in SHOWN}
        if row == END_TO_END and systems[name]["vocoder"] == "vocoder_mel":
            shown["unit_accuracy"] = None  # its vocoder does not use the units
        table.append({"about": about, "system": name, "row": row, "scores": shown})
    return table


def corpus(system: dict[str, str]) -> str:
    return system.get("data", "GRID s1")


def compare(direction: str, better: Numbers, worse: Numbers, measures: list[str]) -> dict:
    """How much one system is ahead of another on the same clips, and whether it is at all."""
    shared = [(better[clip], worse[clip]) for clip in sorted(better.keys() & worse.keys())]
    gains = {}
    for key in measures:
        measure = BY_KEY[key]
        first, *rest = measure.columns
        sign = 1 if measure.better == "higher" else -1
        pairs = [
            pair
            for pair in shared
            if all(one[column] is not None for one in pair for column in measure.columns)
        ]
        ahead = [sign * (one[first] - other[first]) for one, other in pairs]
        total = [one[rest[0]] for one, _ in pairs] if measure.statistic == "ratio" else None
        if not pairs:  # without a recogniser there are no words
            gains[key] = None
            continue
        found = interval(ahead, total)
        verdict = "not distinguishable"
        if len(pairs) >= LEAST_CLIPS and not found.low <= 0 <= found.high:
            verdict = "holds" if found.low > 0 else "the opposite holds"
        ends = {"value": found.value, "low": found.low, "high": found.high}
        counts = {"clips": len(pairs), "undefined": len(shared) - len(pairs)}
        gains[key] = ends | counts | {"verdict": verdict}
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
            lines.append(f"| {entry['direction']} | {ahead} | {gain['verdict'] if gain else '-'} |")
    settings = results["settings"]
    updates = ", ".join(f"{stage} {steps:,}" for stage, steps in settings["updates"].items())
    seeds = ", ".join(map(str, settings["seeds"]))
    changes = ", ".join(settings["changes"]) or "nothing"
    lines += [
        "",
        f"Updates: {updates}; seed {seeds}; changed: {changes}. GRID s1: split val, talkers: split test; "
        f"words as heard by {settings['recogniser'] or 'nobody'}.",
        "Intervals are drawn over clips, 95 % each. Every arm was trained once: what another seed would "
        "change is not in them.",
    ]
    return "\n".join(lines) + "\n"


def as_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def cell(measure: Measure, score: dict | None) -> str:
    value, ends = show_score(measure.described(), score)
    return f"{value} ({ends})" if ends else value


if __name__ == "__main__":
    main()
