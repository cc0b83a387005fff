"""What an update of a training costs on this device, and from that the whole run.

    python scripts/measure_throughput.py examples/train.py examples/configs/lrs3.yaml [key=value ...]
        [--updates 5] [--frames-per-update 28800] [--peak 312]

Runs the training script for a few updates and times them; nothing is kept. On a CPU the whole run is
estimated from CPU time, in core-hours, which other programs on the machine change little; on a GPU from
wall-clock time. Below that is the same from floating-point operations alone, for other GPUs: computed at an
assumed share of their peak, not measured.
"""

import argparse
import contextlib
import importlib.util
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from typing import Any
from unittest.mock import patch

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.constants import SAMPLES_PER_FRAME
    from hf_lip2speech.training import stages
    from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
    from hf_lip2speech.training.config import load_arguments
    from hf_lip2speech.training.lip2speech_trainer import Lip2SpeechTrainer
    from hf_lip2speech.training.vocoder_trainer import VocoderTrainer

LOADED_BATCHES = 10  # by which the loader's own pace is measured


@dataclass
class Clock:
    """Seconds that passed, and CPU seconds of this process, all its threads together."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        wait_for_device()
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wait_for_device()
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", help="examples/train.py or examples/train_vocoder.py")
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as the script takes them")
    parser.add_argument("--updates", type=int, default=5, help="that are timed, after one that is not")
    parser.add_argument(
        "--frames-per-update",
        type=int,
        help="video frames in an update of the whole run, padding included, all processes together "
        "(default: as in the updates measured)",
    )
    parser.add_argument(
        "--peak",
        type=float,
        nargs="+",
        default=[312.0],
        metavar="TFLOPS",
        help="of GPUs that are not at hand, at the run's precision (default: 312, an NVIDIA A100 in bf16)",
    )
    parser.add_argument("--share", type=float, default=0.3, help="of the peak that is assumed to be reached")
    arguments = parser.parse_intermixed_args()

    spec = importlib.util.spec_from_file_location("training_script", arguments.script)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    stage_1 = hasattr(script, "lip2speech_trainer")
    kind = Lip2SpeechTrainingArguments if stage_1 else VocoderTrainingArguments
    max_steps = load_arguments(kind, arguments.config, arguments.overrides).max_steps
    measured = Measured(arguments.updates)
    with tempfile.TemporaryDirectory() as folder:  # for what the script writes
        changes = [f"output_dir={folder}", f"max_steps={arguments.updates + 1}", "report_to=none"]
        changes += ["eval_strategy=no", "save_strategy=no"] if stage_1 else ["adversarial_from_step=0"]
        with patch.multiple(stages, **measured_trainers(measured)):
            trainer = script.main([arguments.config, *arguments.overrides, *changes])
        report(trainer, measured, max_steps, arguments)


@dataclass
class Measured:
    """What updates cost. The first one, which starts workers, chooses kernels and makes the optimiser's
    state, is counted but not timed."""

    updates: int
    training: Clock = field(default_factory=Clock)
    frames: int = 0
    places: int = 0
    flops_per_frame: float = 0.0
    step: int = -1

    def micro_batch(self, step: int, batch: dict, work: Callable[[], Any]) -> Any:
        """work(), timed, or counted if it is part of the first update."""
        first = step == 0
        if step == 1 and self.step == 0:
            self.flops_per_frame /= self.places
            self.training, self.frames, self.places = Clock(), 0, 0
        self.step = step
        with operations() if first else contextlib.nullcontext() as counted, self.training.running():
            done = work()
        self.flops_per_frame += counted.get_total_flops() if first else 0
        frames, places = video_frames(batch)
        self.frames, self.places = self.frames + frames, self.places + places
        return done


def measured_trainers(measured: Measured) -> dict[str, type]:
    """Both trainers, by name, whose updates are measured and which neither validate nor write."""

    class Stage1(Lip2SpeechTrainer):
        def training_step(self, model, inputs, *rest):
            work = partial(super().training_step, model, inputs, *rest)
            return measured.micro_batch(self.state.global_step, inputs, work)

        def create_optimizer(self, *args):
            optimizer = super().create_optimizer(*args)
            update = optimizer.step

            def timed(*args, **options):
                with measured.training.running():
                    return update(*args, **options)

            optimizer.step = timed
            return optimizer

        def _export(self, name):
            pass

    class Stage2(VocoderTrainer):
        def training_step(self, batch, epoch):
            return measured.micro_batch(self.step, batch, partial(super().training_step, batch, epoch))

        def _validate(self):
            pass

        _save = _validate

        def _export(self, name):
            pass

    return {"Lip2SpeechTrainer": Stage1, "VocoderTrainer": Stage2}


def report(trainer: Any, measured: Measured, max_steps: int, arguments: argparse.Namespace) -> None:
    accelerator, training, places = trainer.accelerator, measured.training, measured.places
    frames, flops_per_frame = measured.frames, measured.flops_per_frame
    batches = trainer.get_train_dataloader() if hasattr(trainer, "get_train_dataloader") else trainer.loader
    loading = Clock()
    with loading.running():
        epochs = chain.from_iterable(repeat(batches))
        loaded = sum(video_frames(batch)[0] for batch in islice(epochs, LOADED_BATCHES))

    updates = arguments.updates
    per_update = arguments.frames_per_update or places / updates
    whole = max_steps * per_update
    on_gpu = accelerator.device.type == "cuda"
    seconds, unit = (
        (training.wall, "hours of this GPU") if on_gpu else (training.cpu, "core-hours of this CPU")
    )
    flops_per_second = flops_per_frame * places / seconds
    print(
        f"{device_name()}, {torch.get_num_threads()} thread(s), precision {accelerator.mixed_precision}, "
        f"peak memory {peak_memory():.1f} GiB\n"
        f"update of {places / updates:.0f} video frames, {1 - frames / places:.1%} of them padding: "
        f"{training.wall / updates:.2f} s wall, {training.cpu / updates:.2f} s CPU\n"
        f"data alone, {trainer.args.dataloader_num_workers} worker(s): {loaded / loading.wall:,.0f} frames/s "
        f"by wall clock, {loaded / loading.cpu:,.0f} for a second of the main process's CPU time\n"
        f"training: {places / seconds:,.1f} frames/s, {flops_per_frame / 1e9:.3g} GFLOP a frame forward and "
        f"backward, {flops_per_second / 1e12:.3g} TFLOP/s\n"
        f"whole run: {max_steps:,} updates x {per_update:,.0f} frames = {whole:.3g} frames, "
        f"{whole * flops_per_frame:.3g} FLOP\n"
        f"measured: {whole * seconds / places / 3600:,.0f} {unit}"
    )
    for peak in arguments.peak:
        hours = whole * flops_per_frame / (arguments.share * peak * 1e12) / 3600
        share = f"at {arguments.share:.0%} of {peak:g} TFLOP/s"
        print(f"computed, not measured: {hours:,.1f} hours of a GPU {share}")


def video_frames(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """(without padding, with it): of stage 1's clips, or as many as last as long as stage 2's segments."""
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum()), batch["attention_mask"].numel()
    frames = batch["waveform"].numel() // SAMPLES_PER_FRAME
    return frames, frames


@contextlib.contextmanager
def operations() -> Iterator[FlopCounterMode]:
    """Counts matrix products and convolutions, forward and backward."""

    # torch's own formula forgets groups: a depthwise convolution of 512 channels counts 512 times too high
    def convolution_backward(
        grad, x, weight, bias, stride, padding, dilation, transposed, *rest, out_shape=None
    ):
        wanted = rest[2]  # of input, weight, bias
        return conv_flop_count(x, weight, grad, transposed=transposed) * (wanted[0] + wanted[1])

    formulas = {torch.ops.aten.convolution_backward: convolution_backward}
    # the one implementation of attention that is made of counted operations everywhere
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        yield counter


def wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo", encoding="ascii") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0]


def peak_memory() -> float:
    """GiB: of the GPU, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
