"""What a training shows: a banner, lines on the terminal, sound and pictures of validation clips."""

import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from transformers.utils.logging import disable_progress_bar

from ..constants import FRAME_RATE, MEL_PER_FRAME, SAMPLING_RATE, UNITS_PER_FRAME
from ..data.unread import ReadableClips, SkippedClips, UnreadClip
from ..errors import TrainingError
from ..files import atomic_file
from ..media.audio import write_audio
from .arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments


def print_banner(
    title: str,
    args: Lip2SpeechTrainingArguments | VocoderTrainingArguments,
    accelerator: Accelerator,
    modules: dict[str, nn.Module],
    train: Any,
    val: Any,
    batches: int,
) -> None:
    """Ten lines on what is about to be trained, where it is written and how to look at it."""
    processes, accumulation = accelerator.num_processes, args.gradient_accumulation_steps
    updates = batches / accumulation
    hours = sum(getattr(train, "lengths", [])) / 90_000
    frames = getattr(args, "batch_frames", None)
    size = f"up to {frames} frames" if frames else f"{args.per_device_train_batch_size} clips"
    lines = {
        "device": f"{accelerator.device}, {processes} process(es), {torch.get_num_threads()} CPU thread(s), "
        f"mixed precision: {accelerator.mixed_precision}",
        **{
            name: f"{sum(p.numel() for p in module.parameters()):,} parameters, "
            f"{sum(p.numel() for p in module.parameters() if p.requires_grad):,} trained"
            for name, module in modules.items()
        },
        "starts from": args.init_from or "random weights",
        "data": f"{', '.join(args.folders)}: {len(train):,} training clips"
        f"{f' ({hours:.1f} h)' if hours else ''}, {len(val):,} for validation",
        "update": f"{size} x {accumulation} micro-batch(es) x {processes} process(es)",
        "updates": f"{args.max_steps:,}, {updates:,.1f} per epoch: {args.max_steps / updates:,.1f} epochs",
        "writes to": f"{args.output_dir}/ (best/, last/, checkpoint-N/, samples/)",
        "look at it": f"tensorboard --logdir {args.output_dir}"
        if "tensorboard" in args.report_to
        else f"report_to: {', '.join(args.report_to) or 'none'}",
    }
    disable_progress_bar()  # of saving, a line at every validation
    accelerator.print(title, *(f"  {name:<15}{text}" for name, text in lines.items()), sep="\n", flush=True)


class Meter:
    """Averages losses between two log lines, without waiting for the device at every step, and the pace."""

    def __init__(self, accelerator: Accelerator, max_steps: int, clips_per_update: float):
        self.accelerator, self.max_steps, self.clips_per_update = accelerator, max_steps, clips_per_update
        self.started = time.monotonic()
        self.on_batch: Callable[[], Any] = lambda: None  # called after each micro-batch
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}
        self.start(0)

    def start(self, step: int) -> None:
        """The clock starts, after `step` updates."""
        self._clock, self._step, self._waited, self._paused = time.monotonic(), step, 0.0, 0.0

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """Count the losses of one micro-batch."""
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()
            self._counts[name] = self._counts.get(name, 0) + 1
        self.on_batch()

    def waiting(self, fetch: Callable, *args: Any, **options: Any) -> Any:
        """fetch(...), counted as waiting for data."""
        begin = time.monotonic()
        fetched = fetch(*args, **options)
        self._waited += time.monotonic() - begin
        return fetched

    def paused(self, work: Callable, *args: Any, **options: Any) -> Any:
        """work(...), left out of the pace."""
        begin = time.monotonic()
        done = work(*args, **options)
        self._paused += time.monotonic() - begin
        return done

    def read(self, step: int) -> tuple[dict[str, float], dict[str, float]]:
        """Mean losses over all processes since the last call, and the pace.

        Raises:
            TrainingError: a loss is not finite.
        """
        means = torch.stack([value.float() / self._counts[name] for name, value in self._sums.items()])
        means = self.accelerator.reduce(means, reduction="mean").tolist()
        losses = dict(zip(self._sums, means, strict=True))
        self._sums, self._counts = {}, {}
        elapsed = time.monotonic() - self._clock - self._paused
        seconds = elapsed / max(1, step - self._step)
        pace = {
            "seconds_per_step": seconds,
            "clips_per_second": self.clips_per_update / max(seconds, 1e-9),
            "waiting_for_data": self._waited / max(elapsed, 1e-9),
        }
        self.start(step)
        if bad := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise TrainingError(
                f"{', '.join(bad)} is not finite at step {step}. Lower learning_rate, set max_grad_norm, or "
                "use bf16 instead of fp16; the latest checkpoint is from before."
            )
        return losses, pace

    def print(self, step: int, epoch: float, losses: dict, pace: dict, learning_rate: float) -> None:
        self.accelerator.print(
            f"step {step}/{self.max_steps} epoch {epoch:.2f} | {_numbers(losses)} | lr {learning_rate:.3g}"
            f" | {pace['seconds_per_step']:.3f} s/step {pace['clips_per_second']:.1f} clips/s"
            f" {pace['waiting_for_data']:.0%} waiting for data"
            f" | {(time.monotonic() - self.started) / 60:.1f} min, about "
            f"{(self.max_steps - step) * pace['seconds_per_step'] / 60:.1f} to go",
            flush=True,
        )

    def print_validation(self, step: int, metrics: dict[str, float], best: bool) -> None:
        self.accelerator.print(
            f"valid {step} | {_numbers(metrics)}{' | best so far' if best else ''}", flush=True
        )

    def print_end(
        self, step: int, reason: str, metric: str, best: float | None, best_step: int | None
    ) -> None:
        found = "none yet" if best_step is None else f"{metric} {best:.4g} at step {best_step}"
        minutes = (time.monotonic() - self.started) / 60
        self.accelerator.print(
            f"Ended at step {step} after {minutes:.1f} min: {reason or 'max_steps reached'}. Best: {found}.",
            flush=True,
        )


def print_skipped(*splits: SkippedClips) -> None:
    """A line for each split of which clips could not be read."""
    for line in filter(None, (skipped.summary() for skipped in splits)):
        print(line, flush=True)


def _numbers(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


@dataclass
class Sample:
    """A validation clip to look at and listen to.

    waveforms: name -> float32 (N,) at 16 kHz. spectrograms: name -> log-mel (frames, 80), 100 frames per
    second. units: name -> ids (U,), 50 per second.
    """

    name: str
    waveforms: dict[str, np.ndarray] = field(default_factory=dict)
    spectrograms: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, np.ndarray] = field(default_factory=dict)


def write_samples(
    sample: Callable[[dict[str, Any]], Sample], clips: Any, args: Any, step: int, writer: Any
) -> None:
    """Sound and picture of the first args.num_samples validation clips, but of those that cannot be read, to
    `output_dir/samples`, TensorBoard's `writer` (or None), and trackers that take images."""
    for index in range(min(args.num_samples, len(clips))):
        if not isinstance(item := ReadableClips(clips)[index], UnreadClip):
            _write_sample(args, sample(item), step, writer)


def _write_sample(args: Any, sample: Sample, step: int, writer: Any) -> None:
    name = sample.name.replace("/", "_")
    folder = Path(args.output_dir) / "samples" / name
    for kind, waveform in sample.waveforms.items():
        write_audio(folder / f"{kind}.wav", waveform)
        if writer is not None:
            sound = torch.from_numpy(np.clip(waveform, -1, 1))[None]
            writer.add_audio(f"{name}/{kind}", sound, step, sample_rate=SAMPLING_RATE)
    figure = compare_targets(sample)
    with atomic_file(folder / "targets.png") as unfinished:
        figure.savefig(unfinished)
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    if writer is not None:
        writer.add_image(f"{name}/targets", picture, step, dataformats="HWC")
    for tracker in {"wandb", "trackio"}.intersection(args.report_to):
        module = importlib.import_module(tracker)
        module.log({f"{name}/targets": module.Image(picture)})


def compare_targets(sample: Sample) -> Any:
    """A matplotlib figure: log-mels, one panel each, and unit sequences in one panel, over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mels = sample.spectrograms
    figure = Figure(figsize=(8, 2 * (len(mels) + bool(sample.units))), layout="constrained")
    axes = figure.subplots(len(mels) + bool(sample.units), sharex=True, squeeze=False)[:, 0]
    low, high = min(mel.min() for mel in mels.values()), max(mel.max() for mel in mels.values())
    for axis, (name, mel) in zip(axes, mels.items(), strict=False):
        extent = (0, len(mel) / (FRAME_RATE * MEL_PER_FRAME), 0, mel.shape[1])
        axis.imshow(mel.T, origin="lower", aspect="auto", extent=extent, vmin=low, vmax=high)
        axis.set_ylabel(f"mel bin, {name}")
    if sample.units:
        for name, ids in sample.units.items():
            axes[-1].step(
                np.arange(len(ids)) / (FRAME_RATE * UNITS_PER_FRAME),
                ids,
                where="post",
                linewidth=1,
                label=name,
            )
        axes[-1].set_ylabel("unit")
        axes[-1].legend(loc="upper right", fontsize="small")
    axes[-1].set_xlabel("seconds")
    FigureCanvasAgg(figure).draw()
    return figure
