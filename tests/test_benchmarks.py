"""benchmarks/: a minimal run measures every stage, and the peak that shares are counted by is a machine's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.__main__ import main
from benchmarks.measuring import CLEAR, gflop_of

ROOT = Path(__file__).parents[1]


def test_a_minimal_run_prints_a_table_and_writes_the_same_rows(tmp_path, capsys):
    found = tmp_path / "rows.json"
    options = ["--seconds", "0.4", "--batch", "1", "--repeats", "1", "--models", "bundled"]
    stages = ["decode", "landmarks", "crops", "mux", "model", "vocoder", "speech"]
    assert main([*options, "--dtypes", "float32", "--stages", *stages, "--json", str(found)]) == 0
    rows = json.loads(found.read_text())["rows"]
    assert [row["stage"] for row in rows] == stages[:2] + ["crops", "mux"] + stages[4:]
    assert capsys.readouterr().out.count("\n| ") == len(rows)
    for row in rows:
        assert row["seconds"] > 0
        assert row["real_time_factor"] == pytest.approx(row["seconds"] / 0.4)
    lips = rows[4]
    assert lips["gflop"] == pytest.approx(0.73, rel=0.1)  # of 10 frames
    assert 0 < lips["peak_share"] < 1.5


def test_operations_and_peak_memory_are_those_of_the_work():
    a = torch.ones(300, 200)
    assert gflop_of(lambda: a @ a.T) == 2 * 300 * 300 * 200 / 1e9
    if CLEAR.exists():
        # in a process of its own: in this one, memory that earlier tests have given back may be used again
        code = (
            "import torch; from benchmarks.measuring import peak_memory_of\n"
            "for n in (10, 50_000_000): print(peak_memory_of(lambda: torch.ones(n), 'cpu'))"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        small, large = map(float, run.stdout.split())
        assert 150 < large - small < 350  # 200 MB
