"""What a training tells: lines on the terminal, and numbers, sound and pictures in accelerate's trackers."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator

from ..constants import SAMPLING_RATE
from ..media.audio import write_audio
from .checkpoint import TrainingState
from .config import TrainingConfig
from .pictures import compare_targets

Batch = TypeVar("Batch")


@dataclass
class Sample:
    """A validation clip to look at and listen to.

    waveforms: name -> float32 (N,) at 16 kHz. spectrograms: name -> log-mel (frames, 80), frames at 100 Hz.
    units: name -> ids (U,) at 50 Hz.
    """

    name: str
    waveforms: dict[str, np.ndarray] = field(default_factory=dict)
    spectrograms: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, np.ndarray] = field(default_factory=dict)


class Tracking:
    """Averages losses between two log lines without waiting for the device at every step.

    Sound goes to TensorBoard and, for every tracker, to `output_dir/samples/`, pictures to any tracker that
    takes images.
    """

    def __init__(
        self, config: TrainingConfig, accelerator: Accelerator, first_step: int, clips_per_update: float
    ):
        self.config = config
        self.accelerator = accelerator
        self.clips_per_update = clips_per_update
        self.started = time.monotonic()
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        if config.tracker != "none":
            # a resumed run overwrites what a killed one logged after its last checkpoint
            purge = {"tensorboard": {"purge_step": first_step + 1}} if first_step else {}
            project = "logs" if config.tracker == "tensorboard" else "hf-lip2speech"
            accelerator.init_trackers(project, init_kwargs=purge)
        self._clock, self._clock_step = time.monotonic(), first_step
        self._waited = 0.0

    def waited_for(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches; the time in which there is none to be had is counted: 0 where workers keep pace."""
        batches = iter(batches)
        while True:
            begin = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            self._waited += time.monotonic() - begin
            yield batch

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave what happens inside out of the step time."""
        begin = time.monotonic()
        yield
        self._clock += time.monotonic() - begin

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """Count the losses of one micro-batch."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def log_losses(self, step: int, learning_rate: float, epoch_length: int) -> dict[str, float]:
        """Mean losses since the last call, over all processes: returned, printed and tracked."""
        means = torch.stack([value.float() / self._counts[name] for name, value in self._sums.items()])
        means = self.accelerator.reduce(means, reduction="mean").tolist()
        losses = dict(zip(self._sums, means, strict=True))
        self._sums, self._counts = {}, {}
        now = time.monotonic()
        seconds = (now - self._clock) / max(1, step - self._clock_step)
        waiting = self._waited / max(now - self._clock, 1e-9)
        self._clock, self._clock_step, self._waited = now, step, 0.0
        speed = {"seconds_per_step": seconds, "clips_per_second": self.clips_per_update / max(seconds, 1e-9)}
        speed["waiting_for_data"] = waiting
        epoch = step * self.config.gradient_accumulation / epoch_length
        self.accelerator.print(
            f"step {step}/{self.config.max_steps} epoch {epoch:.2f} | {_numbers(losses)}"
            f" | lr {learning_rate:.3g} | {seconds:.3f} s/step {speed['clips_per_second']:.1f} clips/s"
            f" {waiting:.0%} waiting for data"
            f" | {(now - self.started) / 60:.1f} min, about "
            f"{(self.config.max_steps - step) * seconds / 60:.1f} to go",
            flush=True,
        )
        self._track(
            {f"train/{k}": v for k, v in losses.items()}
            | {"train/learning_rate": learning_rate, "train/epoch": epoch}
            | {f"speed/{k}": v for k, v in speed.items()},
            step,
        )
        return losses

    def log_validation(self, step: int, metrics: dict[str, float], samples: list[Sample], best: bool) -> None:
        """Print and track metrics; write the samples' sound and pictures. Called on the main process."""
        self.accelerator.print(
            f"valid {step} | {_numbers(metrics)}{' | best so far' if best else ''}", flush=True
        )
        self._track({f"valid/{k}": v for k, v in metrics.items()}, step)
        for sample in samples:
            self._log_sample(step, sample)

    def finish(self, state: TrainingState, reason: str) -> None:
        best = "none yet"
        if state.best_metric is not None:
            best = f"{self.config.best_metric} {state.best_metric:.4g} at step {state.best_step}"
        minutes = (time.monotonic() - self.started) / 60
        self.accelerator.print(
            f"Ended at step {state.step} after {minutes:.1f} min: {reason}. Best: {best}.", flush=True
        )
        if self.config.tracker != "none":
            self.accelerator.end_training()

    def _track(self, values: dict[str, float], step: int) -> None:
        if self.config.tracker != "none":
            self.accelerator.log(values, step=step)

    def _log_sample(self, step: int, sample: Sample) -> None:
        name = sample.name.replace("/", "_")
        folder = Path(self.config.output_dir) / "samples" / name
        folder.mkdir(parents=True, exist_ok=True)
        for kind, waveform in sample.waveforms.items():
            write_audio(folder / f"{kind}.wav", waveform)
        picture = compare_targets(sample.spectrograms, sample.units) if sample.spectrograms else None
        for tracker in self.accelerator.trackers:
            if tracker.name == "tensorboard":
                for kind, waveform in sample.waveforms.items():
                    sound = torch.from_numpy(np.clip(waveform, -1, 1))[None]
                    tracker.writer.add_audio(f"{name}/{kind}", sound, step, sample_rate=SAMPLING_RATE)
            if picture is not None and hasattr(tracker, "log_images"):
                values = picture[None] if tracker.name != "tensorboard" else np.moveaxis(picture, -1, 0)[None]
                tracker.log_images({f"{name}/targets": values}, step=step)


def _numbers(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())
