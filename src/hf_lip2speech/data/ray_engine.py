"""Work on clips on a Ray cluster: machines may come, and may die in the middle of a clip.

Ray starts a lost call again elsewhere. All machines see the corpus and the prepared folder under the same
paths, and have this package installed. Needs the extra `ray`.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from ..errors import WorkerDiedError
from .engines import AHEAD, Run, work
from .layout import PreparedFolder

RETRIES = 5  # of one call whose machine or process died


@contextmanager
def ray_engine(folder: PreparedFolder, num_proc: int) -> Generator[Run]:
    """The cluster to which Ray is connected or can connect (RAY_ADDRESS, or `ray start` on this machine),
    else `num_proc` processes of this machine. A call takes one CPU.

    Raises:
        ImportError: Ray is not installed.
        WorkerDiedError: The workers of one call died again and again.
    """
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise ImportError("The engine 'ray' needs Ray: pip install 'hf-lip2speech[ray]'") from error

    started = not ray.is_initialized()
    if started:
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            ray.init(num_cpus=num_proc, include_dashboard=False, log_to_driver=False)
    call = ray.remote(num_cpus=1, max_retries=RETRIES)(work)

    def run(method: str, calls: Iterable[tuple]) -> Iterator[Any]:
        calls = iter(calls)
        pending: list[Any] = []
        try:
            while True:
                free = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(pending)
                pending += [
                    call.remote(folder, method, arguments) for arguments in islice(calls, max(0, free))
                ]
                if not pending:
                    return
                done, pending = ray.wait(pending, num_returns=1)
                yield ray.get(done[0])
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
        ) as error:
            raise WorkerDiedError(
                f"A worker preparing {folder.root} died {RETRIES + 1} times over the same clip, most likely "
                "for want of memory. What was done is kept: run again to go on."
            ) from error
        finally:
            for reference in pending:
                ray.cancel(reference)

    try:
        yield run
    finally:
        if started:
            ray.shutdown()
