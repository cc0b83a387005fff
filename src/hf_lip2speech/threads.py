"""Work of another thread: items that are made while the ones before are used."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The items of an iterable, which another thread makes up to `depth` ahead.

    The thread ends with the items, or when the iterator is closed or forgotten. What making an item raises is
    raised here, after the items before it.
    """
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
