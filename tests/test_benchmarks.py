"""benchmarks/: a minimal run measures every stage, and the peak that shares are counted by is a machine's."""

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.__main__ import main
from benchmarks.measuring import gflop_of, peak_memory_of


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
    small, large = (peak_memory_of(lambda n=n: torch.ones(n), "cpu") for n in (10, 50_000_000))
    if small is not None and large is not None:
        assert 150 < large - small < 350  # 200 MB
