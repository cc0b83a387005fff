"""What both trainings share: loading data, averaging weights, stopping."""

import atexit
import gc
import multiprocessing
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data.unread import SkippedClips
from ..errors import TrainingError

STOP_CHECK_EVERY = 10  # updates between two agreements of several processes on whether to stop
SKIPPED = "skipped_clips.jsonl"  # in output_dir: the clips that could not be read
SAME_SIGNAL = 5.0  # seconds: a launcher repeats to its processes a signal that the whole group received


def training_loader(
    dataset: Dataset, collate: Callable, batches: int | Sampler, workers: int, accelerator: Accelerator
) -> DataLoader:
    """A shuffled, prepared loader; the last, incomplete batch of an epoch is left out.

    Args:
        batches: Clips per process and batch, or a sampler of batches.
    """
    if not isinstance(batches, int):
        how = {"batch_sampler": batches}
    else:
        how = {"batch_size": batches, "shuffle": True, "drop_last": True}
        if len(dataset) < batches * accelerator.num_processes:
            raise TrainingError(
                f"The training split has {len(dataset)} clips, fewer than one batch needs "
                f"(per_device_train_batch_size {batches} x {accelerator.num_processes} processes): lower it."
            )
    return accelerator.prepare_data_loader(
        loader(dataset, collate, workers, persistent_workers=workers > 0, **how)
    )


def loader(dataset: Dataset, collate: Callable, workers: int, **options) -> DataLoader:
    atexit.unregister(end_workers)
    atexit.register(end_workers)
    return DataLoader(
        dataset,
        collate_fn=collate,
        num_workers=workers,
        worker_init_fn=start_worker,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # its own, so that starting an epoch draws nothing from torch's
        **options,
    )


def skipped_clips(
    train: Dataset, validation: Dataset, output_dir: str, processes: int
) -> tuple[SkippedClips, SkippedClips]:
    """The record of what one of the processes could not read of training and validation."""
    of_train, of_validation = (
        SkippedClips(split, -(-len(clips) // processes), Path(output_dir) / SKIPPED)
        for split, clips in (("train", train), ("val", validation))
    )
    return of_train, of_validation


def start_worker(_: int) -> None:
    """What a data-loading process does first.

    It never frees what it was forked with: a video decoder freed there would wait for threads that a fork
    does not copy. And it survives a signal to the whole process group, since its parent needs it until the
    checkpoint is written; a second SIGTERM ends it (`end_workers`).
    """
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def end_workers() -> None:
    """When this process ends: end its loading processes.

    After an error they are still at work. Python would send each one SIGTERM, which they survive, and then
    wait for them for ever.
    """
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    for seconds in (0.2, 2.0):  # the first SIGTERM must have been seen before the second is sent
        for worker in workers:
            worker.terminate()
        deadline = time.monotonic() + seconds
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        worker.kill()


def set_epoch(batches: DataLoaderShard, epoch: int) -> None:
    """Tell loader, sampler and data set which epoch begins."""
    batches.set_epoch(epoch)
    if hasattr(batches.dataset, "set_epoch"):  # accelerate forgets it where it wraps the batch sampler
        batches.dataset.set_epoch(epoch)


def is_decayed(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to biases and normalisation gains."""
    return parameter.squeeze().ndim > 1


def weight_average(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the module's weights and batch-norm statistics; update it after each
    step."""

    def average(averaged, current, num_averaged):
        n = int(num_averaged)  # short trainings: the first, random weights must not linger
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, num_averaged)

    return AveragedModel(module, multi_avg_fn=average, use_buffers=True).requires_grad_(False).eval()


class StopRequest:
    """Remembers SIGTERM and SIGINT while the block runs, and watches the clock.

    A second signal acts at once, unless it comes within seconds of the first: a signal to the process group
    arrives twice, from its sender and from the launcher.
    """

    def __init__(self, max_minutes: float | None):
        self.signal = 0
        self.reason = ""
        self._deadline = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._previous = {}

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_):
        self._restore()

    def requested(self, accelerator: Accelerator, step: int) -> bool:
        """Whether to stop now; several processes agree on it every STOP_CHECK_EVERY updates."""
        late = self._deadline is not None and time.monotonic() > self._deadline
        if accelerator.num_processes > 1:
            if step % STOP_CHECK_EVERY:
                return False
            wishes = torch.tensor([self.signal, int(late)], device=accelerator.device)
            wishes = accelerator.gather(wishes[None]).amax(dim=0)
            self.signal, late = int(wishes[0]), bool(wishes[1])
        if self.signal:
            self.reason = f"stopped by {signal.Signals(self.signal).name}; --resume continues"
        elif late:
            self.reason = "max_minutes reached; --resume continues"
        return bool(self.signal or late)

    def exit_after_signal(self) -> None:
        """Raise SystemExit(128 + signal): a shell must not take a half-trained model for a finished one."""
        if self.signal:
            raise SystemExit(128 + self.signal)

    def _remember(self, number: int, frame) -> None:
        if self.signal and time.monotonic() - self._first > SAME_SIGNAL:
            self._restore()
            signal.raise_signal(number)
        elif not self.signal:
            self.signal, self._first = number, time.monotonic()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
