"""Holds back lines of libraries that cannot be told to be quiet."""

import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager

FOREIGN = (b"XNNPACK delegate",)  # in such lines
_alone = threading.Lock()


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
