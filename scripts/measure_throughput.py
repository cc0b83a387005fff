"""What an update of a training costs on the device at hand, and so its whole run.

    python scripts/measure_throughput.py examples/train.py examples/configs/lrs3.yaml [key=value ...]
        [--updates 5] [--frames-per-update 28800] [--peak 312]

Runs the training script as it is, but for its loop: some updates are timed and nothing is written. On a CPU
the whole run is reckoned from CPU time, in core-hours, which other programs on the machine change little; on
a GPU from wall-clock time. Under it stands the same from floating-point operations alone, for GPUs that are
not at hand: computed at an assumed share of their peak, not measured.
"""

import argparse
import contextlib
import importlib.util
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from hf_lip2speech.constants import SAMPLES_PER_FRAME
from hf_lip2speech.training.loop import endless_batches

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
    script.train = lambda stage, config, accelerator, resume: measure(stage, config, accelerator, arguments)
    script.main([arguments.config, *arguments.overrides])


def measure(stage, config, accelerator, arguments: argparse.Namespace) -> None:
    """In the place of `hf_lip2speech.training.loop.train`."""
    step = getattr(config, "adversarial_from_step", 0)  # a GAN's earlier ones may lack the discriminators
    batches = endless_batches(stage.loader, done=0)
    training, frames, places, flops = Clock(), 0, 0, 0
    for update in range(arguments.updates + 1):
        ended = False
        while not ended:
            epoch, batch = next(batches)
            with operations() if update == 0 else contextlib.nullcontext() as counted:
                with training.running(), accelerator.accumulate(*stage.modules):
                    stage.training_step(batch, step, epoch)
                    ended = accelerator.sync_gradients
            flops += counted.get_total_flops() if counted is not None else 0
            frames, places = frames + video_frames(batch)[0], places + video_frames(batch)[1]
        with training.running():
            stage.after_update()
        if update == 0:  # it started workers, chose kernels, made the optimiser's state: counted, not timed
            flops_per_frame = flops / places
            training, frames, places = Clock(), 0, 0
        print(f"update {update} done", flush=True)

    loading = Clock()
    with loading.running():
        batches = islice(endless_batches(stage.loader, done=0), LOADED_BATCHES)
        loaded = sum(video_frames(batch)[0] for _, batch in batches)

    updates = arguments.updates
    per_update = arguments.frames_per_update or places / updates
    whole = config.max_steps * per_update
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
        f"data alone, {config.num_workers} worker(s): {loaded / loading.wall:,.0f} frames/s by wall clock, "
        f"{loaded / loading.cpu:,.0f} for a second of the main process's CPU time\n"
        f"training: {places / seconds:,.1f} frames/s, {flops_per_frame / 1e9:.3g} GFLOP a frame forward and "
        f"backward, {flops_per_second / 1e12:.3g} TFLOP/s\n"
        f"whole run: {config.max_steps:,} updates x {per_update:,.0f} frames = {whole:.3g} frames, "
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
