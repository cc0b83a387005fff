"""Where the work on clips is done: in this process, in several, or on a Ray cluster (ray_engine.py).

An engine yields a function `run(method, calls)` that calls that method of a `ClipWriter` with each tuple of
arguments, and yields what it returns, in any order. Calls are taken as workers become free, so that neither
150,000 clips nor their results are in memory at once.
"""

import multiprocessing
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from transformers.utils import logging

from ..errors import WorkerDiedError
from .clip_files import ClipWriter
from .layout import PreparedFolder
from .workers import follow_parent

Run = Callable[[str, Iterable[tuple]], Iterator[Any]]
AHEAD = 4  # calls handed out for each worker, so that none waits

_writer: ClipWriter | None = None  # of a worker process


def work(folder: PreparedFolder, method: str, arguments: tuple) -> Any:
    """One call in a worker process, whose models stay loaded from call to call."""
    global _writer
    if _writer is None or _writer.folder.staging != folder.staging:
        _writer = ClipWriter(folder)
        torch.set_num_threads(1)
        logging.disable_progress_bar()
    return getattr(_writer, method)(*arguments)


@contextmanager
def local_engine(folder: PreparedFolder, num_proc: int) -> Generator[Run]:
    """This process (`num_proc` 1), or `num_proc` others.

    Raises:
        WorkerDiedError: A process died.
    """
    if num_proc == 1:
        threads = torch.get_num_threads()
        writer = ClipWriter(folder)
        torch.set_num_threads(1)  # as in a worker, so that the files do not depend on num_proc
        try:
            yield lambda method, calls: (getattr(writer, method)(*arguments) for arguments in calls)
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: PyTorch's and LiteRT's thread pools do not survive a fork.
    pool = ProcessPoolExecutor(
        num_proc, mp_context=multiprocessing.get_context("spawn"), initializer=follow_parent
    )

    def run(method: str, calls: Iterable[tuple]) -> Iterator[Any]:
        calls = iter(calls)
        pending: set[Future] = set()
        try:
            while True:
                for arguments in islice(calls, AHEAD * num_proc - len(pending)):
                    pending.add(pool.submit(work, folder, method, arguments))
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                f"One of the {num_proc} processes preparing {folder.root} died, most likely for want of "
                "memory. What was done is kept: run again to go on, with a smaller num_proc if so."
            ) from error

    try:
        yield run
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
