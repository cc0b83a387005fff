"""How far a long work is: a bar on a terminal; elsewhere, in a log say, a line now and then. And lines of
libraries that are held back."""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

SOONEST, LATEST = 10.0, 600.0  # seconds between two lines of a log
FOREIGN = (b"XNNPACK delegate",)  # in such lines
_alone = threading.Lock()

T = TypeVar("T")


class Progress:
    """The progress of one work, on standard error.

    A log gets a line for each tenth of the work, but none within 10 s of the one before or of the start, and
    one after ten minutes in any case.

    Args:
        what: Names the work or what is counted.
        total: Of what is counted; None if unknown.
        done: What was there before.
        shown: If not, nothing is shown.
        leave: Whether a bar stays when the work is done.
    """

    def __init__(
        self, what: str, total: int | None, *, done: int = 0, shown: bool = True, leave: bool = True
    ):
        self.what, self.total, self.done = what, total, done
        self._shown = shown and done != total  # else there is nothing to wait for
        self._begun_with = done
        self._told, self._began = done, time.monotonic()
        self._told_at = self._began
        self._bar: Any = None
        if self._shown and sys.stderr.isatty():
            self._bar = tqdm(desc=what, total=total, initial=done, leave=leave, file=sys.stderr)

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.at(self.done + count, self.total)

    def at(self, done: int, total: int | None) -> None:
        """So many of so many are done."""
        self.done, self.total = done, total
        if self._bar is not None:
            self._bar.total = total
            self._bar.update(done - self._bar.n)
        elif self._shown and self._due():
            print(self._line(), file=sys.stderr, flush=True)
            self._told, self._told_at = done, time.monotonic()

    def _due(self) -> bool:
        waited = time.monotonic() - self._told_at
        total = self.total or 0
        tenth = total > 0 and 10 * self.done // total > 10 * self._told // total
        return waited >= LATEST or (tenth and waited >= SOONEST)

    def _line(self) -> str:
        made = self.done - self._begun_with
        if not self.total or made <= 0:
            return f"{self.what}: {self.done}"
        left = (time.monotonic() - self._began) * (self.total - self.done) / made
        return f"{self.what}: {self.done} of {self.total}, {tqdm.format_interval(left)} left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def tracked(items: Collection[T], what: str, *, shown: bool = True) -> Iterator[T]:
    """The items, with the progress of what is done with each."""
    with Progress(what, len(items), shown=shown) as progress:
        for item in items:
            yield item
            progress.update()


@contextmanager
def without_foreign_lines() -> Generator[None]:
    """Hold back what the process writes to standard error, past Python; other lines are written after."""
    with _alone:
        try:
            sys.stderr.flush()
            before = os.dup(2)
        except (AttributeError, OSError, ValueError):  # standard error is closed, or there is none
            yield
            return
        with tempfile.TemporaryFile() as held:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(before, 2)
                os.close(before)
                held.seek(0)
                for line in held:
                    if not any(words in line for words in FOREIGN):
                        os.write(2, line)
