"""Medians, peak memory, FLOPs, and the peak of the machine that they are compared with."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

MATRIX = 1536  # side of the matrices whose product gives the machine's peak
Clock = Callable[[], float]
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize()


def seconds_of(work: Callable[[], Any], repeats: int, device: str, clock: Clock = time.perf_counter) -> float:
    """The median of the seconds that `work` takes by a clock, after one call that warms it up."""
    work()
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = clock()
        work()
        synchronise(device)
        times.append(clock() - start)
    return median(times)


def peak_memory_of(work: Callable[[], Any], device: str) -> float | None:
    """The most memory in MB while `work` runs, of the device; on a CPU, of this process. None if unknown."""
    gc.collect()
    if device != "cpu":
        torch.accelerator.memory.reset_peak_memory_stats()
        work()
        synchronise(device)
        return torch.accelerator.memory.max_memory_allocated() / 1e6
    if not CLEAR.exists():
        return None
    CLEAR.write_text("5")  # the peak begins anew at what is used now
    work()
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def gflop_of(work: Callable[[], Any]) -> float:
    """Billions of floating-point operations of matrix multiplications, convolutions and attention."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def peak_gflops(dtype: torch.dtype, device: str, clock: Clock, repeats: int = 9) -> float:
    """Billions of operations per second that a product of two square matrices reaches here and now: the best
    of some, since other work on the machine can only slow it down."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        best = min(best, seconds_of(lambda: a @ b, 1, device, clock))
    return 2 * MATRIX**3 / best / 1e9
