"""A bad input, what is done with it, and what may come of it: speech of the right length, or one named error.

Wrong are: another exception, or one without a helpful sentence; a traceback or silence of the command line; a
hang; more than 2 GB; half a file; a temporary file that stays.
"""

import contextlib
import io
import os
import resource
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hf_lip2speech
import hf_lip2speech_cli as cli
from hf_lip2speech.constants import SAMPLES_PER_FRAME
from hf_lip2speech.errors import Lip2SpeechError, MissingExtraError, OutputError

OURS = str(Path(hf_lip2speech.__file__).parent)
SECONDS = 20  # the work of any case takes less than half of it
MEMORY = 2 << 20  # KiB
FEWEST_WORDS = 5  # of a message


@dataclass(frozen=True)
class Case:
    """Something bad and what is done with it, in an empty folder of its own.

    `act` returns what `checked` looks at: a pipeline's result and the number of frames that it should have,
    what a command did, or None where coming back is enough.
    """

    kind: str
    name: str
    act: Callable[[Path], Any]


@dataclass(frozen=True)
class Command:
    """What a command line did, and the files that it was to write."""

    code: int
    stderr: str
    outputs: tuple[Path, ...] = ()


class Hang(BaseException):
    """The case did not end."""


class Wrong(Exception):
    """Something came back that may not."""


def command(*line: object, outputs: tuple[Path, ...] = ()) -> Command:
    stderr = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        try:
            code = cli.main([str(word) for word in line])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
    return Command(code, stderr.getvalue(), outputs)


def judge(case: Case, folder: Path) -> tuple[str, str]:
    """("speech" | "error" | "WRONG", what came of it)."""
    temporary = folder / "tmp"
    temporary.mkdir()
    place = folder / "case"
    place.mkdir()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _deadline(), _temporary(temporary), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = _checked(case.act(place))
    except (Hang, Exception) as error:
        outcome = _of_error(error)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    left = [*temporary.rglob("*"), *place.rglob(".*partial*")]
    if outcome[0] != "WRONG" and left:
        return "WRONG", f"left {left[0].name}"
    if outcome[0] != "WRONG" and grown > MEMORY:
        return "WRONG", f"took {grown >> 10} MiB"
    return outcome


def _checked(result: Any) -> tuple[str, str]:
    if isinstance(result, Command):
        return _of_command(result)
    if isinstance(result, tuple):
        speech, frames = result
        audio = speech["audio"]
        if len(audio) != SAMPLES_PER_FRAME * frames or not len(audio):
            raise Wrong(f"{len(audio)} samples for {frames} frames")
        if not np.isfinite(audio).all() or np.abs(audio).max() > 1:
            raise Wrong("samples that are no sound")
        return "speech", f"{frames} frames"
    return "speech", str(result)


def _of_command(done: Command) -> tuple[str, str]:
    last = done.stderr.strip().splitlines()[-1:] or [""]
    whole = [path for path in done.outputs if os.path.isfile(path) and path.stat().st_size > 0]
    if "Traceback" in done.stderr:
        return "WRONG", f"a traceback: {last[0]}"
    if done.code == 0 and len(whole) < len(done.outputs):
        return "WRONG", "exit 0 with nothing written"
    if done.code == 0:
        return "speech", "written"
    if whole:
        return "WRONG", f"exit {done.code} and {whole[0].name} written"
    if "error: " not in last[0] or len(last[0].split()) < FEWEST_WORDS or ".partial" in last[0]:
        return "WRONG", f"exit {done.code} without a sentence: {last[0]}"
    return "error", last[0]


def _of_error(error: BaseException) -> tuple[str, str]:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    deepest = frames[-1].filename if frames else ""
    named = isinstance(error, (Lip2SpeechError, MissingExtraError, OutputError))
    checked = isinstance(error, (ValueError, TypeError, FileNotFoundError)) and deepest.startswith(OURS)
    if not (named or checked):
        where = next((f"{f.filename.rpartition('/')[2]}:{f.lineno}" for f in reversed(frames)), "")
        return "WRONG", f"{text[:300]} at {where}"
    if len(str(error).split()) < FEWEST_WORDS or ".partial" in text:
        return "WRONG", f"no sentence: {text[:300]}"
    return "error", text


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
