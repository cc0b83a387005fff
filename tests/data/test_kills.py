"""`prepare` is killed with SIGKILL at 20 random moments and then ends with the files of a whole run."""

import shutil

import pytest

from ..killing import finish, kill_often
from .conftest import contents, records


@pytest.mark.slow
def test_a_preparation_survives_twenty_kills(cropped, larger, run, tmp_path):
    def preparing(name: str):
        return lambda: run(larger, tmp_path / name, unit_extractor="mfcc", num_units=10)

    seconds = finish(preparing("whole"), tmp_path / "log")
    expected, out = contents(tmp_path / "whole"), tmp_path / "out"
    finished: set[str] = set()

    def killed() -> None:
        nonlocal finished
        found = {record["id"] for record in records(out)} if out.exists() else set()
        assert found >= finished, "a finished clip was lost"
        finished = found
        assert contents(out).items() <= expected.items(), "a file is half written"

    def done() -> None:
        nonlocal finished
        assert contents(out) == expected
        assert not list(out.rglob("*.partial*"))
        shutil.rmtree(out)
        finished = set()

    said = kill_often(preparing("out"), seconds, tmp_path / "log", seed=16, killed=killed, done=done)
    print("prepare", said)
