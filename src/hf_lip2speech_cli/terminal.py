"""What is shown on the terminal besides results: progress, and no lines of libraries."""

import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

PROGRAM = "hf-lip2speech"
FOREIGN = (b"XNNPACK delegate",)  # in lines of libraries that cannot be told to be quiet


class Bars:
    """A bar for each stage of a video and, where there are several, one for all; none off a terminal."""

    def __init__(self, videos: int):
        from tqdm import tqdm

        self._new = tqdm
        bar = {"desc": "videos", "unit": " videos", "file": sys.stderr, "disable": None}
        self._all = tqdm(total=videos, **bar) if videos > 1 else None
        self._stages: dict[str, Any] = {}

    def stage(self, name: str, done: int, total: int | None) -> None:
        """A pipeline's `progress`."""
        if name not in self._stages or done < self._stages[name].n:
            self._close()
            several = self._all is not None
            bar = {"unit": " frames", "file": sys.stderr, "disable": None, "leave": not several}
            self._stages[name] = self._new(desc=name, total=total, **bar)
        bar = self._stages[name]
        bar.total = max(total, done) if total else None
        bar.update(done - bar.n)

    def video_done(self) -> None:
        self._close()
        if self._all is not None:
            self._all.update()

    def _close(self) -> None:
        for bar in self._stages.values():
            bar.close()
        self._stages.clear()

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self._all is not None:
            self._all.close()


def say(line: str, file: Any = None) -> None:
    """Print a line, above the bars if there are any."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=file or sys.stdout)
    else:
        print(line, file=file or sys.stdout)


def error_line(message: str, program: str = PROGRAM) -> None:
    """Say what went wrong, in one line."""
    say(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def without_foreign_lines() -> Generator[None]:
    """Hold back what libraries write to the process's standard error, past Python; ours is written after."""
    try:
        sys.stderr.flush()
        before = os.dup(2)
    except (OSError, ValueError):  # standard error is closed
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


def load_detector() -> None:
    """Load the face landmark detector, which is then kept, without the lines of its library."""
    from hf_lip2speech.video.landmarks import borrowed_detector

    with without_foreign_lines(), borrowed_detector():
        pass


@contextmanager
def quiet_loading() -> Generator[None]:
    """No bars of transformers and the Hub off a terminal."""
    name = "HF_HUB_DISABLE_PROGRESS_BARS"  # read when they are imported, here or in a worker
    if sys.stderr.isatty() or name in os.environ:
        yield
        return
    logging: Any = sys.modules.get("transformers.utils.logging")
    shown = logging is not None and logging.is_progress_bar_enabled()
    os.environ[name] = "1"
    try:
        if shown:
            logging.disable_progress_bar()
        yield
    finally:
        os.environ.pop(name, None)
        if shown:
            logging.enable_progress_bar()
