"""Work on a folder that several processes share: one run at a time, in this process, in several, or on Ray.

A pool calls the methods of a worker object, which every process makes for itself once, so that its models
stay loaded. Calls are taken from the iterable as workers become free and results come in any order: neither
150,000 clips nor their results are in memory at once. Finished work is kept on disk by the workers
themselves, which is what makes a killed run resumable.
"""

import multiprocessing
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from logging import WARNING
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import torch
from transformers.utils import logging

from hf_lip2speech_extras import require_extra

from ..errors import DatasetError, WorkerDiedError

try:
    import fcntl
except ImportError:  # Windows has no flock: nothing there keeps two runs out of one folder
    fcntl = None

Run = Callable[[str, Iterable[tuple]], Iterator[Any]]  # run(method of the worker, arguments of each call)
AHEAD = 4  # calls handed out per worker, so that none waits
RETRIES = 5  # of one Ray call whose machine or process died

_worker: tuple[str, Any] | None = None  # in a worker process: the pool's name and its worker object


@contextmanager
def sole_use(root: Path, state: Path, part: str = "") -> Generator[None]:
    """Keep other runs out of the folder `root`, and remove the unfinished files of a killed one.

    `state` is its hidden folder, which holds the locks, which die with the process, and unfinished files in
    staging/. Shards, whose names are `part`, run side by side, each once; a run without a part runs alone. A
    DatasetError where another run is at work.
    """
    staging = state / "staging" / part
    state.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for name, shared in [("lock", bool(part))] + [(f"lock-{part}", False)] * bool(part):
            _lock(stack.enter_context(open(state / name, "w")), shared, root)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        yield
        shutil.rmtree(staging, ignore_errors=True)


def _lock(file: IO, shared: bool, root: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DatasetError(
            f"Another run is writing to {root}. Only one may (shards: each once, and none beside a run "
            "without shard). Wait for it, or choose another folder."
        ) from None
    except OSError as error:  # some network file systems have no locks
        warnings.warn(f"{root} cannot be locked ({error}): run only one process on it.", stacklevel=2)


@contextmanager
def local_pool(make: Callable[[], Any], num_proc: int, doing: str) -> Generator[Run]:
    """This process (`num_proc` 1), or `num_proc` others, each with a worker object of its own.

    `make`, which pickle must know, makes the worker object; `doing`, such as "preparing OUT", is for the
    error's message. A WorkerDiedError where a process died.
    """
    if num_proc == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a worker process, so that the files do not depend on num_proc
        try:
            worker = make()
            yield lambda method, calls: (getattr(worker, method)(*arguments) for arguments in calls)
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: PyTorch's and LiteRT's thread pools do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_proc, mp_context=context, initializer=_follow_parent)
    name = uuid4().hex

    def run(method: str, calls: Iterable[tuple]) -> Iterator[Any]:
        def submit(arguments: tuple) -> Any:
            with _without_interrupts():  # it starts the processes
                return pool.submit(_call, name, make, method, arguments)

        try:
            for future in _in_flight(
                submit,
                lambda pending: wait(pending, return_when=FIRST_COMPLETED),
                calls,
                lambda: AHEAD * num_proc,
            ):
                yield future.result()
        except BrokenProcessPool as error:
            raise WorkerDiedError(
                f"One of the {num_proc} processes {doing} died, most likely because memory ran out. Finished "
                "clips are kept: run the same command again to resume, with a smaller num_proc if so."
            ) from error

    try:
        yield run
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def ray_pool(make: Callable[[], Any], num_proc: int, doing: str) -> Generator[Run]:
    """The Ray cluster that is connected or can be (RAY_ADDRESS, or `ray start` on this machine), else
    `num_proc` processes of Ray's on this machine. A call takes one CPU.

    Machines may join, and may die in the middle of a call, which Ray then repeats elsewhere. All of them see
    the same paths and have this package installed. Arguments as for `local_pool`; a WorkerDiedError where the
    workers of one call died again and again.
    """
    ray = require_extra("ray", "ray")
    died = require_extra("ray.exceptions", "ray")
    started = not ray.is_initialized()
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": WARNING}
    if started:
        try:
            ray.init(address="auto", **quietly)
        except ConnectionError:
            ray.init(num_cpus=num_proc, include_dashboard=False, **quietly)
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
    name = uuid4().hex

    def run(method: str, calls: Iterable[tuple]) -> Iterator[Any]:
        pending: list[Any] = []

        def submit(arguments: tuple) -> Any:
            pending.append(remote.remote(name, make, method, arguments))
            return pending[-1]

        try:
            for reference in _in_flight(
                submit,
                lambda references: ray.wait(list(references), num_returns=1),
                calls,
                lambda: AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))),
            ):
                pending.remove(reference)
                yield ray.get(reference)
        except died.RayTaskError as error:  # what the worker raised, without the text of its traceback
            raise error.cause from error
        except (died.WorkerCrashedError, died.NodeDiedError, died.OutOfMemoryError) as error:
            raise WorkerDiedError(
                f"A Ray worker {doing} died {RETRIES + 1} times over the same clip, most likely because "
                "memory ran out. Finished clips are kept: run the same command again to resume."
            ) from error
        finally:
            for reference in pending:
                ray.cancel(reference)

    try:
        yield run
    finally:
        if started:
            ray.shutdown()


POOLS = {"local": local_pool, "ray": ray_pool}


def _in_flight(submit: Callable, wait_for_one: Callable, calls: Iterable[tuple], limit: Callable[[], int]):
    """Keep up to `limit()` calls submitted; yield what `submit` returned for each that is done."""
    calls = iter(calls)
    pending: set[Any] = set()
    while True:
        pending |= {submit(arguments) for arguments in islice(calls, max(0, limit() - len(pending)))}
        if not pending:
            return
        done, rest = wait_for_one(pending)
        pending = set(rest)
        yield from done


def _call(name: str, make: Callable[[], Any], method: str, arguments: tuple) -> Any:
    """One call in a worker process."""
    global _worker
    if _worker is None or _worker[0] != name:
        torch.set_num_threads(1)
        logging.disable_progress_bar()
        _worker = name, make()
    return getattr(_worker[1], method)(*arguments)


@contextmanager
def _without_interrupts() -> Generator[None]:
    """Keep Ctrl-C from processes that are started meanwhile: it may come before `_follow_parent`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
    """In a worker process: leave Ctrl-C to the parent, and do not outlive it."""
    # Ctrl-C reaches the whole process group: the parent alone decides, and the current clip is finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        # A killed parent cannot tell: without this its workers would wait for tasks for ever.
        parent.join()
        os._exit(1)

    threading.Thread(target=die_with_parent, daemon=True).start()
