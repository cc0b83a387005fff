"""What is fastest on this machine: to make items in another thread, to compute in bfloat16."""

import time
import timeit
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

import torch

LEAST_SPEEDUP = 1.3  # of products of matrices, for which a little accuracy is given up

T = TypeVar("T")


def read_ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The items of an iterable, which another thread makes up to `depth` ahead.

    The thread ends with the items, or when the iterator is closed or forgotten. What making an item raises is
    raised here, after the items before it. Where torch has a single thread, this one makes each item when it
    is asked for.
    """
    if torch.get_num_threads() == 1:
        yield from items
        return
    iterator, end = iter(items), object()
    with ThreadPoolExecutor(1, "read_ahead") as thread:
        coming: deque[Future[Any]] = deque(thread.submit(next, iterator, end) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, iterator, end))
                yield item
                del item  # not kept while the next one is awaited
        finally:
            for future in coming:
                future.cancel()
            thread.shutdown()
            if isinstance(iterator, Generator):
                iterator.close()


def fast_dtype(device: str | None = None) -> torch.dtype | str:
    """bfloat16 on a CPU that multiplies matrices faster in it than in float32, else "auto".

    A CPU that has units for it (AVX-512 BF16 or AMX) is timed, for 20 to 40 ms: there are virtual machines on
    which the former take twice the time of float32.

    Args:
        device: as torch names it; None: the first accelerator, else the CPU.
    """
    if device is None and torch.accelerator.is_available() or device not in (None, "cpu"):
        return "auto"
    able = torch.cpu.get_capabilities()
    units = able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if units and bfloat16_speedup() > LEAST_SPEEDUP else "auto"


@cache
def bfloat16_speedup() -> float:
    """How many times as fast this CPU multiplies matrices in bfloat16 as in float32, by the best of five."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(512, 512, dtype=dtype)
        matrix @ matrix  # the first takes longer
        # the CPU time of this thread, as others may be at work
        times = timeit.repeat(partial(torch.mm, matrix, matrix), number=1, timer=time.thread_time)
        seconds[dtype] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]
