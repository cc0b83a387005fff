"""The demo in a process of its own."""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

PATIENCE = 300  # seconds, on a machine that has other work


@contextmanager
def served(command: Sequence[str], says: str = "The demo is at ", **kwargs: Any) -> Iterator[str]:
    """Runs a command that serves a page, until it is no more needed; gives the address that it prints after
    `says`."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1, **kwargs
    )
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    said = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith(says):
                break
        else:
            raise AssertionError(f"no page: {''.join(said)}")
        watchdog.cancel()
        threading.Thread(target=said.extend, args=(process.stdout,), daemon=True).start()  # or it would block
        yield line.split()[4]
    finally:
        watchdog.cancel()
        process.terminate()
        process.wait(timeout=60)
