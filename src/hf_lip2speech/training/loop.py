"""The loop that both trainings share: updates, validation, checkpoints, stopping and resuming to the same
bits.

What makes a resumed run equal one that never stopped: the position in the data follows from the number of
updates; each epoch's order is drawn from (seed, epoch), by accelerate's seedable sampler or by ours for clips
of about one length, and each sample's augmentation from (seed, epoch, index); learning rates are functions of
the step; weights, optimisers, averages and random states (dropout) are in the checkpoint; validation draws no
random numbers that training would miss.
"""

from __future__ import annotations

import gc
import math
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DataLoaderConfiguration, GradientAccumulationPlugin, set_seed
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from transformers.utils.logging import disable_progress_bar

from ..data.batching import FrameBatchSampler
from ..data.sampling import AugmentedDataset
from ..errors import Lip2SpeechError
from .checkpoint import Checkpoints, TrainingState, export, settle
from .config import TrainingConfig, to_yaml
from .tracking import Sample, Tracking

STOP_CHECK_EVERY = 10  # updates between two agreements of several processes on whether to stop


class TrainingError(Lip2SpeechError):
    """A training cannot start or go on."""


def start(config: TrainingConfig) -> Accelerator:
    """The accelerator for a configuration; torch's threads and random generators are set, equally on all
    processes."""
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        # updates go on across the ends of epochs, so that each sees equally many clips
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.gradient_accumulation, sync_with_dataloader=False
        ),
        dataloader_config=DataLoaderConfiguration(
            use_seedable_sampler=True, data_seed=config.seed, non_blocking=True
        ),
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=config.output_dir,
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError("mixed_precision: fp16 needs a GPU; on a CPU use bf16 or no.")
    disable_progress_bar()  # of saving the model, a line at every validation
    set_seed(config.seed)
    return accelerator


class Stage(ABC):
    """One of the two trainings, as the loop sees it.

    modules: the trainable modules, prepared by the accelerator. loader: the prepared training loader.
    clips_per_batch: the mean where batches differ in size, else None.
    """

    modules: list[nn.Module]
    loader: DataLoader
    clips_per_batch: float | None = None

    @abstractmethod
    def training_step(self, batch: dict, step: int, epoch: int) -> dict[str, torch.Tensor]:
        """Forward, backward and, where the accelerator says so, the update; returns named scalar losses,
        detached."""

    @abstractmethod
    def after_update(self) -> None:
        """Called after each update (weight averages)."""

    @property
    @abstractmethod
    def learning_rate(self) -> float:
        """Of the update done last."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on the validation split, equal on all processes."""

    @abstractmethod
    def samples(self) -> list[Sample]:
        """A few validation clips to look at and listen to; called on the main process."""

    @abstractmethod
    def save_model(self, directory: Path) -> None:
        """Write what from_pretrained reads; called on the main process."""


def training_loader(
    dataset: Dataset,
    collate: Callable,
    config: TrainingConfig,
    accelerator: Accelerator,
    batch_frames: int | None = None,
) -> DataLoader:
    """Shuffled full batches of batch_size clips; the last, incomplete batch of an epoch is left out.

    With `batch_frames`, batches of clips of about one length instead, see `FrameBatchSampler`; the dataset
    then has `lengths`, `seed` and `epoch`.
    """
    if batch_frames is not None:
        clips = cast(AugmentedDataset, dataset)
        sampler = FrameBatchSampler(clips.lengths, batch_frames, clips, accelerator.num_processes)
        batches: dict[str, Any] = {"batch_sampler": sampler}
    else:
        if len(dataset) < config.batch_size * accelerator.num_processes:
            raise TrainingError(
                f"The training split has {len(dataset)} clips, fewer than one batch needs (batch_size "
                f"{config.batch_size} x {accelerator.num_processes} processes): lower batch_size."
            )
        batches = {"batch_size": config.batch_size, "shuffle": True, "drop_last": True}
    loader = DataLoader(
        dataset,
        **batches,
        collate_fn=collate,
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
        pin_memory=accelerator.device.type == "cuda",
        worker_init_fn=leave_inherited_objects,
        generator=torch.Generator(),  # its own, so that starting an epoch draws nothing from torch's
    )
    return accelerator.prepare_data_loader(loader)


def validation_batches(
    dataset: Dataset, collate: Callable, batch_size: int, config: TrainingConfig, accelerator: Accelerator
) -> Iterator[dict]:
    """This process's share of the validation clips, in order, none doubled, on the accelerator's device."""
    count = len(dataset) if config.max_eval_clips is None else min(len(dataset), config.max_eval_clips)
    share = Subset(dataset, range(accelerator.process_index, count, accelerator.num_processes))
    loader = DataLoader(
        share,
        batch_size,
        collate_fn=collate,
        num_workers=config.num_workers,
        worker_init_fn=leave_inherited_objects,
        generator=torch.Generator(),
    )
    for batch in loader:
        yield {k: v.to(accelerator.device) if torch.is_tensor(v) else v for k, v in batch.items()}


def leave_inherited_objects(_: int) -> None:
    """A worker's first act: never free what it was forked with. A video decoder freed there waits for its
    threads, which a fork does not copy, for ever."""
    gc.freeze()


def clip_gradients(
    module: nn.Module, optimizer: torch.optim.Optimizer, max_norm: float | None, accelerator: Accelerator
) -> None:
    """At the end of an update, scale one optimiser's gradients down to a global norm."""
    if max_norm is not None and accelerator.sync_gradients:
        accelerator.unscale_gradients(optimizer)
        torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm)


def train(
    stage: Stage, config: TrainingConfig, accelerator: Accelerator, *, resume: bool = False
) -> TrainingState:
    """Run the training to max_steps, to max_minutes or to a signal (SIGTERM, Ctrl-C), whichever comes first.

    Each of these ends with a checkpoint. Raises SystemExit(128 + signal) after a signal, so that what a shell
    runs next does not take a half-trained model for a whole one.
    """
    output = Path(config.output_dir)
    checkpoints = Checkpoints(output, accelerator, config.keep_checkpoints)
    batch_size = stage.clips_per_batch or config.batch_size
    clips_per_update = batch_size * config.gradient_accumulation * accelerator.num_processes
    set_seed(config.seed, device_specific=True)  # the processes' dropout masks differ
    state = checkpoints.resume(clips_per_update) if resume else checkpoints.start_fresh()
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        for name in ("best", "last"):
            settle(output / name)
        (output / "config.yaml").write_text(to_yaml(config), encoding="utf-8")

    epoch_length = len(stage.loader)
    tracking = Tracking(config, accelerator, first_step=state.step, clips_per_update=clips_per_update)
    saved_at = state.step if state.step else None
    with StopRequest(config.max_minutes) as stop:
        batches = endless_batches(stage.loader, done=state.step * config.gradient_accumulation)
        for epoch, batch in tracking.waited_for(batches):
            if state.step >= config.max_steps:
                break
            with accelerator.accumulate(*stage.modules):
                tracking.add(stage.training_step(batch, state.step, epoch))
            if not accelerator.sync_gradients:
                continue
            stage.after_update()
            state.step += 1
            last = state.step >= config.max_steps
            if last or state.step % config.log_every == 0:
                losses = tracking.log_losses(state.step, stage.learning_rate, epoch_length)
                _check_finite(losses, state.step)
            if last or state.step % config.eval_every == 0:
                _validate(stage, config, accelerator, state, tracking)
            if last or state.step % config.save_every == 0:
                with tracking.paused():
                    checkpoints.save(state, clips_per_update)
                saved_at = state.step
            if stop.requested(accelerator, state.step):
                break
        if saved_at != state.step:
            checkpoints.save(state, clips_per_update)
    if accelerator.is_main_process and not stop.signal:
        export(output / "last", stage.save_model)
    accelerator.wait_for_everyone()
    tracking.finish(state, stop.reason)
    if stop.signal:
        raise SystemExit(128 + stop.signal)
    return state


def endless_batches(loader: DataLoader, done: int) -> Iterator[tuple[int, dict]]:
    """(epoch, batch) for epoch after epoch, from the place where `done` batches have been seen."""
    epoch, skip = divmod(done, len(loader))
    while True:
        loader.set_epoch(epoch)  # ty: ignore[missing-attribute]
        if hasattr(loader.dataset, "set_epoch"):  # accelerate forgets it where it wraps the batch sampler
            loader.dataset.set_epoch(epoch)
        for batch in skip_first_batches(loader, skip) if skip else loader:
            yield epoch, batch
        epoch, skip = epoch + 1, 0


def _validate(
    stage: Stage, config: TrainingConfig, accelerator: Accelerator, state: TrainingState, tracking: Tracking
) -> None:
    cuda = [accelerator.device] if accelerator.device.type == "cuda" else []
    with tracking.paused(), torch.random.fork_rng(devices=cuda), torch.no_grad():
        metrics = stage.validate()
        if config.best_metric not in metrics:
            raise TrainingError(
                f"best_metric is {config.best_metric}; validation measures {', '.join(metrics)}."
            )
        better = config.is_better(metrics[config.best_metric], state.best_metric)
        if better:
            state.best_metric, state.best_step = metrics[config.best_metric], state.step
        if accelerator.is_main_process:
            if better:
                export(Path(config.output_dir) / "best", stage.save_model)
            tracking.log_validation(state.step, metrics, stage.samples(), better)
        accelerator.wait_for_everyone()


def _check_finite(losses: dict[str, float], step: int) -> None:
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"{', '.join(bad)} is not finite at step {step}. Lower optimizer.learning_rate, set "
            "optimizer.max_grad_norm, or use mixed_precision bf16 instead of fp16; the latest checkpoint is "
            "from before."
        )


class StopRequest:
    """Remembers SIGTERM and SIGINT (a second one acts at once) and watches the clock."""

    def __init__(self, max_minutes: float | None):
        self.signal = 0
        self.reason = "max_steps reached"
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_):
        self._restore()

    def requested(self, accelerator: Accelerator, step: int) -> bool:
        """Whether to stop now; several processes agree every STOP_CHECK_EVERY updates, all on the same
        answer."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        if accelerator.num_processes > 1:
            if step % STOP_CHECK_EVERY:
                return False
            wishes = torch.tensor([self.signal, int(late)], device=accelerator.device)
            wishes = accelerator.gather(wishes[None]).amax(dim=0)
            self.signal, late = int(wishes[0]), bool(wishes[1])
        if self.signal:
            self.reason = f"stopped by {signal.Signals(self.signal).name}; go on with --resume"
        elif late:
            self.reason = "max_minutes reached; go on with --resume"
        return bool(self.signal or late)

    def _remember(self, number: int, frame) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
