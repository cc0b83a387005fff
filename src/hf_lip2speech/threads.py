"""Work of another thread: items that are made while the ones before are used."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")


class _Here(Executor):
    """Does what is submitted at once, in the same thread."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def other_thread(name: str) -> Executor:
    """One thread beside this one; where torch has a single thread, this one (a third thread's worth of CPU
    time goes into handing over small pieces of work)."""
    return ThreadPoolExecutor(1, name) if torch.get_num_threads() > 1 else _Here()


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
