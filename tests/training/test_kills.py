"""Both trainings are killed with SIGKILL at 20 random moments, and end with the bits of a whole run."""

import shutil

import pytest
from safetensors.torch import load_file

from hf_lip2speech.training import checkpoints as on_disk

from ..killing import finish, kill_often
from .conftest import assert_same_states, both, write_settings


@pytest.mark.slow
@both
def test_a_training_survives_twenty_kills(script, scripts, prepared, tmp_path):
    often = {"save_steps": 1, "eval_steps": 1, "save_total_limit": 2, "max_steps": 6}

    def training(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        settings = write_settings(tmp_path / name, script, prepared, **often)
        return lambda: scripts[script].main([str(settings), "--resume"])

    seconds = finish(training("whole"), tmp_path / "log")
    whole, run, work = tmp_path / "whole/run", tmp_path / "killed/run", training("killed")
    latest = 0

    def killed() -> None:
        nonlocal latest
        found = [int(path.name.partition("-")[2]) for path in on_disk.checkpoints(run)]
        assert max(found, default=0) >= latest, "a checkpoint was lost"
        latest = max(found, default=0)
        assert all((run / f"checkpoint-{step}" / on_disk.ENVIRONMENT).is_file() for step in found)
        for name in ("best", "last"):  # whole, if they are there
            if (run / name).exists():
                load_file(run / name / "model.safetensors")

    def done() -> None:
        nonlocal latest
        assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in whole.iterdir())
        assert_same_states(whole / "checkpoint-6", run / "checkpoint-6")
        for name in ("best", "last"):
            one, other = (folder / name / "model.safetensors" for folder in (whole, run))
            assert one.read_bytes() == other.read_bytes()
        shutil.rmtree(run)
        latest = 0

    print(script, kill_often(work, seconds, tmp_path / "log", seed=16, killed=killed, done=done))
