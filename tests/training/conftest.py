"""Fixtures of the training tests: a small prepared folder, tiny configurations, both training scripts."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState

from .prepared_folder import NUM_UNITS, write_prepared_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

SHARED_SETTINGS = {
    "max_steps": 6,
    "batch_size": 2,
    "gradient_accumulation": 2,
    "eval_batch_size": 1,
    "log_every": 1,
    "eval_every": 2,
    "save_every": 2,
    "num_threads": 1,
    "num_samples": 1,
    "tracker": "none",
}
STAGES = {
    "train": {
        "model": {
            "num_units": NUM_UNITS,
            "frontend_stem_channels": 4,
            "frontend_channels": [4, 8],
            "frontend_blocks": [1, 1],
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "conv_kernel_size": 5,
            "mel_head_size": 16,
            "mel_head_layers": 1,
        },
        "warmup_steps": 2,
        "max_frames": 9,
    },
    "train_vocoder": {
        "model": {
            "num_units": NUM_UNITS,
            "unit_embedding_dim": 8,
            "speaker_dim": 8,
            "upsample_initial_channel": 32,
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
        },
        "discriminators": {
            "period": {"periods": [2, 3], "channels": [4, 4]},
            "scale": {
                "num_scales": 2,
                "channels": [4, 4],
                "kernel_sizes": [5, 5],
                "strides": [1, 2],
                "groups": [1, 1],
            },
        },
        "segment_units": 8,
        "adversarial_from_step": 1,
        "mel_augmentation": {},
    },
}


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    """accelerate keeps its settings in singletons, torch its threads: no test sees another's."""
    threads = torch.get_num_threads()
    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    return write_prepared_folder(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def configuration(tmp_path, prepared):
    """configuration(script, **changes) -> path of its YAML file; the output goes to tmp_path / "run"."""

    def write(script: str, **changes) -> Path:
        values = {"data": str(prepared), "output_dir": str(tmp_path / "run")}
        path = tmp_path / f"{script}.yaml"
        path.write_text(yaml.safe_dump(values | SHARED_SETTINGS | STAGES[script] | changes))
        return path

    return write


@pytest.fixture(scope="session")
def scripts() -> dict:
    """The training scripts as modules, by name."""
    modules = {}
    for name in STAGES:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modules[name])
    return modules


def assert_same_states(one: Path, other: Path) -> None:
    """Two checkpoints hold the same files, tensor by tensor and number by number."""
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        if path.suffix in (".bin", ".pkl"):
            _same(
                torch.load(path, weights_only=False),
                torch.load(other / path.name, weights_only=False),
                path.name,
            )
        else:
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def _same(one, other, where: str) -> None:
    if torch.is_tensor(one):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            _same(a, b, f"{where}/{index}")
    else:
        assert (one == other) if not hasattr(one, "shape") else (one == other).all(), where


def launch(command: list[str], log: Path) -> subprocess.Popen:
    """Start a training script on the CPU, with one thread a process."""
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent / "src"), str(EXAMPLES.parent)]),
    }
    return subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT, env=environment)


def finish(command: list[str], log: Path) -> None:
    process = launch(command, log)
    assert process.wait(timeout=900) == 0, log.read_text()
