"""Fixtures of the training tests: a small prepared folder, tiny settings, both scripts in this process."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState, PartialState

from hf_lip2speech.training.lip2speech_trainer import Lip2SpeechTrainer
from hf_lip2speech.training.mel_flow_trainer import MelFlowTrainer
from hf_lip2speech.training.stage_trainer import StageTrainer
from hf_lip2speech.training.vocoder_trainer import VocoderTrainer

from ..conftest import load_script
from .prepared_folder import NUM_UNITS, write_prepared_folder

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TRAINERS = {"train": Lip2SpeechTrainer, "train_vocoder": VocoderTrainer, "train_flow": MelFlowTrainer}

SHARED_SETTINGS = {
    "max_steps": 6,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "logging_steps": 1,
    "eval_steps": 2,
    "save_steps": 2,
    "num_threads": 1,
    "num_samples": 0,
    "report_to": "none",
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
        "per_device_eval_batch_size": 1,
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
        "ema_decay": 0.9,
        "mel_augmentation": {},
    },
    "train_flow": {
        "model": {
            "unit_embedding_dim": 4,
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "time_embedding_dim": 4,
        },
        "warmup_steps": 2,
        "max_frames": 9,
    },
}
both = pytest.mark.parametrize("script", ["train", "train_vocoder"])


class Killed(Exception):
    pass


def kill(_):
    raise Killed


def reset_accelerate() -> None:
    """accelerate keeps its settings in singletons: no run sees another's."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    threads = torch.get_num_threads()
    yield
    reset_accelerate()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    return write_prepared_folder(tmp_path_factory.mktemp("prepared"))


def write_settings(folder: Path, script: str, prepared: Path, **changes) -> Path:
    """The YAML file of a tiny training, whose output goes to folder / "run"."""
    values = {"data": str(prepared), "output_dir": str(folder / "run")}
    path = folder / f"{script}.yaml"
    path.write_text(yaml.safe_dump(values | SHARED_SETTINGS | STAGES[script] | changes))
    return path


@pytest.fixture
def configuration(tmp_path, prepared):
    """configuration(script, **changes) -> path of its YAML file; the output goes to tmp_path / "run"."""
    return lambda script, **changes: write_settings(tmp_path, script, **{"prepared": prepared} | changes)


@pytest.fixture(scope="session")
def scripts() -> dict:
    """The training scripts as modules, by name."""
    modules = {name: load_script(f"examples/{name}.py") for name in STAGES}
    gc.freeze()  # every Trainer collects garbage: let it not go through all that was imported
    return modules


@pytest.fixture
def train(scripts, configuration, monkeypatch):
    """train(script, *overrides, at={}, **settings) -> the trainer, when it is done.

    at: step -> what to do with the trainer before that update's first micro-batch.
    """

    def run(script: str, *overrides: str, at=(), **settings):
        path, actions = configuration(script, **settings), dict(at)
        kind = TRAINERS[script]
        training_step = kind.training_step

        def watched(self, *args, **kwargs):
            actions.pop(step_of(self), lambda trainer: None)(self)
            return training_step(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "training_step", watched)
            try:
                return scripts[script].main([str(path), *overrides])
            finally:
                reset_accelerate()

    return run


def step_of(trainer) -> int:
    return trainer.state.global_step if isinstance(trainer, StageTrainer) else trainer.step


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in run.glob("checkpoint-*"))


def assert_same_states(one: Path, other: Path) -> None:
    """Two checkpoints hold the same files, bit for bit; but what tells of times and places."""
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in other.iterdir())
    for path in one.iterdir():
        if path.name not in ("trainer_state.json", "training_args.bin"):
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name


def launch(command: list[str], log: Path, **options) -> subprocess.Popen:
    """Start a training script on the CPU, with one thread per process."""
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent / "src"), str(EXAMPLES.parent)]),
    }
    return subprocess.Popen(
        command, stdout=log.open("w"), stderr=subprocess.STDOUT, env=environment, **options
    )


def finish(command: list[str], log: Path) -> None:
    process = launch(command, log)
    assert process.wait(timeout=900) == 0, log.read_text()
