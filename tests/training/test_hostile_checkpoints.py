"""Resuming from a checkpoint that somebody else wrote runs nothing in it, and says that it is damaged."""

import shutil
from pathlib import Path

import pytest
import torch

from hf_lip2speech.errors import TrainingError

from ..hostile import Hostile
from .conftest import both, reset_accelerate, write_settings

PICKLES = {
    "train": ("optimizer.pt", "scheduler.pt", "rng_state.pth", "average.pt"),
    "train_vocoder": ("pytorch_model.bin", "optimizer.bin", "random_states_0.pkl", "vocoder_state.pt"),
}


@pytest.fixture(scope="module")
def stopped(scripts, prepared, tmp_path_factory) -> dict[str, Path]:
    """Of each training a run of one update, which has a checkpoint."""
    runs = {}
    for script in PICKLES:
        folder = tmp_path_factory.mktemp("stopped")
        settings = write_settings(folder, script, prepared, max_steps=1, eval_steps=9)
        scripts[script].main([str(settings)])
        reset_accelerate()
        runs[script] = folder / "run"
    return runs


@both
def test_a_hostile_checkpoint_is_refused(script, train, stopped, tmp_path):
    checkpoint = stopped[script] / "checkpoint-1"
    assert set(PICKLES[script]) <= {path.name for path in checkpoint.iterdir()}
    names = {path.name for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".pkl")}
    for name in sorted(names - {"training_args.bin", "sampler.bin"}):  # which are not read
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(stopped[script], tmp_path / "run")
        made = tmp_path / "made"
        torch.save({"a": torch.zeros(2), "b": Hostile(made)}, tmp_path / "run/checkpoint-1" / name)
        with pytest.raises(TrainingError, match=r"checkpoint-1 is damaged.*Remove it"):
            train(script, "--resume", "max_steps=2", f"output_dir={tmp_path / 'run'}")
            pytest.fail(f"{name} was not read")
        assert not made.exists(), name


@pytest.mark.parametrize(
    ("script", "damage"), [(script, damage) for script in PICKLES for damage in ("cut", "gone")]
)
def test_a_damaged_checkpoint_is_named(script, damage, train, stopped, tmp_path):
    shutil.copytree(stopped[script], tmp_path / "run")
    path = tmp_path / "run/checkpoint-1" / PICKLES[script][1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "gone":
        path.unlink()
    with pytest.raises(TrainingError, match=r"checkpoint-1 is damaged.*Remove it"):
        train(script, "--resume", "max_steps=2", f"output_dir={tmp_path / 'run'}")
