"""How fast is each stage, and what share of the machine's peak does it reach? Prints one table.

    python -m benchmarks                 # everything: an hour on two cores
    python -m benchmarks --quick         # the bundled model on a clip of 3 s: under a minute

Peak memory and time are measured in turn, each after a call that warms up.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from transformers.utils import logging

from .cases import (
    DTYPES,
    FILE_STAGES,
    MODEL_STAGES,
    MODELS,
    ONNX,
    STAGES,
    Case,
    Clips,
    file_cases,
    model_cases,
    onnx_cases,
)
from .measuring import Clock, gflop_of, peak_gflops, peak_memory_of, seconds_of

QUICK = {"models": ["bundled"], "seconds": [3.0], "batch": [1], "dtypes": ["float32"], "repeats": 3}


@dataclass
class Row:
    """One line of the table; None where a column does not apply.

    Attributes:
        seconds: median time of one call.
        real_time_factor: `seconds` over those of the video, of all clips of the batch.
        gflop: billions of operations of one call.
        peak_share: of the operations per second of a matrix product in the same precision, here and now.
        peak_memory_mb: of the process, or of the accelerator.
    """

    stage: str
    model: str
    dtype: str
    clip_seconds: float
    batch: int
    seconds: float
    real_time_factor: float
    gflop: float | None = None
    peak_share: float | None = None
    peak_memory_mb: float | None = None


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=str(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--stages", nargs="+", choices=(*STAGES, "cold"), default=[*STAGES, "cold"])
    add("--models", nargs="+", choices=MODELS, default=list(MODELS))
    add("--dtypes", nargs="+", choices=[*DTYPES, *ONNX], default=[*DTYPES, *ONNX])
    add("--seconds", nargs="+", type=float, default=[3.0, 10.0, 60.0], help="lengths of the clips")
    add("--batch", nargs="+", type=int, default=[1, 8], help="clips at once")
    add("--height", type=int, help="lines of the video, about (default: the sample's, 288)")
    add("--repeats", type=int, default=5, help="calls of which the median is taken")
    add("--threads", type=int, help="of PyTorch (default: the cores)")
    add(
        "--cpu-time",
        action="store_true",
        help="of this process, not the wall clock: for a busy machine",
    )
    add("--device", default=torch.accelerator.current_accelerator() or "cpu", type=str)
    add("--json", type=Path, metavar="FILE", help="also write the rows and the machine here")
    add("--quick", action="store_true", help=f"same as {QUICK}")
    return parser


def measure(case: Case, peaks: dict[str, float], repeats: int, device: str, clock: Clock) -> Row:
    seconds = seconds_of(case.work, repeats, device, clock)
    gflop = gflop_of(case.work) if case.counts else None
    share = gflop / seconds / peaks[case.dtype] if gflop and case.dtype in peaks else None
    memory = peak_memory_of(case.work, device)
    return Row(
        *(case.stage, case.model, case.dtype, case.clip_seconds, case.batch),
        *(seconds, seconds / case.seconds, gflop, share, memory),
    )


def cold_start(clip: Path, repeats: int) -> Row:
    """The command line, from its start to the written file."""
    times = []
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hf_lip2speech", "speak", str(clip), "-o", f"{folder}/out.wav"]
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    seconds = float(clip.stem)
    return Row("cold", "bundled", "auto", seconds, 1, median(times), median(times) / seconds)


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    clips = Clips(arguments.height)
    chosen, lengths, device = arguments.stages, arguments.seconds, arguments.device
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    computed = [name for name in arguments.dtypes if name in ("float32", "bfloat16")]
    peaks = {name: peak_gflops(DTYPES[name], device, clock) for name in computed}
    for name, peak in peaks.items():
        print(f"peak of a matrix product, {name}: {peak:.0f} GFLOP/s", file=sys.stderr)
    if "cold" in chosen:
        yield cold_start(clips.path(lengths[0]), arguments.repeats)
    for case in file_cases(chosen, lengths, clips) if set(chosen) & set(FILE_STAGES) else ():
        yield measure(case, peaks, arguments.repeats, device, clock)
    for model in arguments.models if set(chosen) & set(MODEL_STAGES) else ():
        for dtype in arguments.dtypes:
            if dtype not in peaks and device != "cpu":
                continue
            if dtype in ONNX:
                cases = onnx_cases(chosen, model, dtype, lengths, arguments.batch)
            else:
                cases = model_cases(chosen, model, dtype, lengths, arguments.batch, clips, device)
            for case in cases:
                yield measure(case, peaks, arguments.repeats, device, clock)


def machine(device: str) -> dict[str, str | int]:
    name = (
        torch.cuda.get_device_name() if device.startswith("cuda") else torch.backends.cpu.get_cpu_capability()
    )
    return {"device": device, "kind": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def table(found: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| stage | model | precision | clip, s | batch | ms | real-time factor | GFLOP | of peak | peak MB |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|---|")
    for row in found:
        cells = [row.stage, row.model, row.dtype, f"{row.clip_seconds:g}", row.batch]
        cells += [f"{1000 * row.seconds:.0f}", f"{row.real_time_factor:.3f}"]
        cells += ["" if row.gflop is None else f"{row.gflop:.1f}"]
        cells += ["" if row.peak_share is None else f"{row.peak_share:.0%}"]
        cells += ["" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.0f}"]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = options()
    arguments = parser.parse_args(argv)
    if arguments.quick:
        parser.set_defaults(**QUICK)
        arguments = parser.parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    found = []
    for row in rows(arguments):
        found.append(row)
        print(f"{len(found)}: {row.stage} {row.model} {row.dtype} {row.seconds:.3f} s", file=sys.stderr)
    print(table(found))
    if arguments.json:
        contents = {"machine": machine(arguments.device), "rows": [asdict(row) for row in found]}
        arguments.json.write_text(json.dumps(contents, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
