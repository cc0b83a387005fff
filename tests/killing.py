"""Work in a process of its own that is killed with SIGKILL at random moments and started again."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

KILLS = 20


def start(work: Callable[[], object], log: Path) -> int:
    """Do the work in a fork of this process, where all is imported; its process ID."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def ended(pid: int, seconds: float) -> int | None:
    """The process's exit status, negative for a signal; None if it is alive after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.001)


def finish(work: Callable[[], object], log: Path) -> float:
    """Do the work to its end; the seconds that it took."""
    begin = time.monotonic()
    pid = start(work, log)
    assert ended(pid, 900) == 0, log.read_text()
    return time.monotonic() - begin


def kill_often(
    work: Callable[[], object],
    seconds: float,
    log: Path,
    *,
    seed: int,
    killed: Callable[[], object],
    done: Callable[[], object],
    kills: int = KILLS,
) -> str:
    """Start the work again and again and kill it at moments drawn from its length, `kills` times; then let it
    come to its end.

    Args:
        work: Goes on where it was killed.
        seconds: Its length without a kill.
        killed: Called after each kill, to look at what is there.
        done: Called whenever the work came to its end, to look at the result and clear it away.

    Returns:
        The figures.
    """
    draw = random.Random(seed)
    count = ends = 0
    while count < kills:
        pid = start(work, log)
        status = ended(pid, draw.uniform(0, seconds))
        if status is None:
            os.kill(pid, signal.SIGKILL)
            status = ended(pid, 60)
        if status == -signal.SIGKILL:
            count += 1
            killed()
        else:
            assert status == 0, log.read_text()
            ends += 1
            done()
    finish(work, log)
    done()
    return f"{count} kills in work of {seconds:.1f} s, seed {seed}; came to its end {ends + 1} times"
