"""Work of another thread: items that are made while the ones before are used."""

import threading
from collections.abc import Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


def read_ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The items of an iterable, which another thread makes up to `depth` ahead.

    The thread ends with the items, or when the iterator is closed or forgotten. What making an item raises is
    raised here, after the items before it.
    """
    made: SimpleQueue[tuple[Any, BaseException | None] | None] = SimpleQueue()
    free = threading.Semaphore(depth)
    stopped = threading.Event()

    def make() -> None:
        iterator = iter(items)
        try:
            while free.acquire() and not stopped.is_set():
                made.put((next(iterator), None))
        except StopIteration:
            pass
        except BaseException as error:
            made.put((None, error))
        finally:
            if isinstance(iterator, Generator):
                iterator.close()
            made.put(None)

    thread = threading.Thread(target=make, name="read_ahead", daemon=True)
    thread.start()
    try:
        while (entry := made.get()) is not None:
            item, error = entry
            if error is not None:
                raise error
            free.release()
            yield item
            del entry, item
    finally:
        stopped.set()
        free.release()
        thread.join()
