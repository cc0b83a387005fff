"""Checkpoints of a training, complete or not there at all; exported models, replaced as a whole."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from ..errors import Lip2SpeechError

_STATE_FILE = "training_state.json"


class CheckpointError(Lip2SpeechError):
    """The output directory holds another run, or a checkpoint that this run cannot go on from."""


@dataclass
class TrainingState:
    """What a run knows beside weights, optimiser and random states.

    step: optimiser updates done. best_metric, best_step: of the best validation so far.
    clips_per_update, processes, threads: of the run that wrote the checkpoint; on a CPU, a run that resumes
    with the same takes the same path, bit for bit.
    """

    step: int = 0
    best_metric: float | None = None
    best_step: int | None = None
    clips_per_update: float | None = None
    processes: int | None = None
    threads: int | None = None


class Checkpoints:
    """`output_dir/checkpoints/step_N/`: accelerate's states and training_state.json.

    The latest `keep` of them stay. Each is written under another name and renamed when it is complete, so
    that a process killed at any moment leaves only complete ones.
    """

    def __init__(self, output_dir: str | os.PathLike, accelerator: Accelerator, keep: int):
        self.directory = Path(output_dir) / "checkpoints"
        self.accelerator = accelerator
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        if not self.directory.is_dir():
            return []
        matches = (re.fullmatch(r"step_(\d+)", entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def start_fresh(self) -> TrainingState:
        """The state of a new run. Raises CheckpointError if the directory holds a run already."""
        if self.steps():
            raise CheckpointError(
                f"{self.directory} holds a training up to step {self.steps()[-1]}. Go on with it: --resume. "
                "Or give another output_dir."
            )
        return TrainingState()

    def resume(self, clips_per_update: float) -> TrainingState:
        """Load the latest complete checkpoint, random states included; a new state if there is none yet."""
        steps = self.steps()
        if not steps:
            self.accelerator.print(f"No checkpoint in {self.directory}: starting from the beginning.")
            return TrainingState()
        path = self.directory / f"step_{steps[-1]}"
        state = TrainingState(**json.loads((path / _STATE_FILE).read_text(encoding="utf-8")))
        now = (clips_per_update, self.accelerator.num_processes, torch.get_num_threads())
        then = (state.clips_per_update, state.processes, state.threads)
        if state.processes != self.accelerator.num_processes:
            raise CheckpointError(
                f"{path} was written by {state.processes} processes and this run has "
                f"{self.accelerator.num_processes}. Resume with as many, or start a new run from a saved "
                "model: --init-from OUTPUT_DIR/best."
            )
        if now != then:
            self.accelerator.print(
                f"{path} comes from (clips an update, processes, threads) = {then}, this run has {now}: it "
                "goes on, but not along the path that the first run would have taken."
            )
        self.accelerator.load_state(str(path))
        self.accelerator.print(f"Resumed from {path}.")
        return state

    def save(self, state: TrainingState, clips_per_update: float) -> Path:
        """Write a checkpoint of the current step; call it on all processes, at the end of an update."""
        path = self.directory / f"step_{state.step}"
        unfinished = self.directory / f"writing_{state.step}"
        if self.accelerator.is_main_process:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        # torch.save rather than safetensors: it keeps the memory layout of channels-last weights
        self.accelerator.save_state(str(unfinished), safe_serialization=False)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state.clips_per_update = clips_per_update
            state.processes = self.accelerator.num_processes
            state.threads = torch.get_num_threads()
            (unfinished / _STATE_FILE).write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
            shutil.rmtree(path, ignore_errors=True)
            os.replace(unfinished, path)
            self._forget()
        self.accelerator.wait_for_everyone()
        return path

    def _forget(self) -> None:
        """Remove all but the latest `keep` checkpoints, and what killed processes left unfinished."""
        for step in self.steps()[: -self.keep]:
            shutil.rmtree(self.directory / f"step_{step}")
        for entry in self.directory.glob("writing_*"):
            shutil.rmtree(entry)


def export(directory: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new directory, then put it in the place of `directory`, never a half-written one."""
    directory = Path(directory)
    unfinished = directory.with_name(f"{directory.name}.writing")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    write(unfinished)
    settle(directory)
    if directory.exists():
        os.replace(directory, _old(directory))
    os.replace(unfinished, directory)
    settle(directory)


def settle(directory: str | os.PathLike) -> None:
    """What a process killed inside `export` left: the old version comes back if there is no new one."""
    directory = Path(directory)
    if _old(directory).exists():
        if directory.exists():
            shutil.rmtree(_old(directory))
        else:
            os.replace(_old(directory), directory)


def _old(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.old")
