"""Live media: pictures as they are taken, from a camera, a pipe or a paced file; sound that is played or
written piece by piece."""

import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
import soundfile
from av.container import InputContainer

from hf_lip2speech_extras import require_extra

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError, MissingVideoError, UnreadableVideoError
from ..files import atomic_file
from .decoding import check_size, main_stream, timed_pictures
from .display import Display
from .sources import describe, local_source, open_container

# FFmpeg's input device and how it names a camera, by platform.
CAMERAS = {
    "linux": ("v4l2", "/dev/video{}"),
    "darwin": ("avfoundation", "{}"),
    "win32": ("dshow", "video={}"),
}
CAMERA_OPTIONS = {"video_size": "640x480", "framerate": "30"}
PIPE_OPTIONS = {"analyzeduration": "500000"}  # microseconds, at most, before the first picture
FARTHEST = 0.2  # seconds between a picture's time stamp and its arrival; the stamps start anew beyond
LONGEST_DELAY = SAMPLING_RATE  # samples that wait to be played; older ones are dropped


def live_frames(source: str, stopped: threading.Event | None = None) -> Iterator[tuple[float, np.ndarray]]:
    """Frames at the time at which they are taken, or, of a file, shown.

    Args:
        source: a camera's number, device or (on Windows) name; "-", standard input, or a named pipe, with
            video in a format that is read without seeking (Matroska, MPEG-TS, y4m, ...); or a video file.
        stopped: when it is set, no more frames come.

    Yields:
        The time stamp in seconds, and uint8 (H, W, 3) RGB, upright and with square pixels.

    Raises:
        MissingVideoError: there is no such file or camera.
        UnreadableVideoError: it cannot be opened, or breaks off with an error.
    """
    stopped = stopped or threading.Event()
    kind = source_kind(source)
    if kind == "file":
        yield from _paced(source, stopped)
        return
    name = "the pipe" if kind == "pipe" else f"the camera {source}"
    container = _open_pipe(source) if kind == "pipe" else _open_camera(source)
    try:
        with container:
            yield from _as_they_come(container, name, stopped)
    except av.FFmpegError as error:
        raise UnreadableVideoError(f"{name} stopped: {error.strerror or error}.") from error


def source_kind(source: str) -> str:
    """ "camera", "pipe" or "file".

    Raises:
        MissingVideoError: there is no file of that name, and it cannot be a camera.
    """
    if source == "-":
        return "pipe"
    if source.isdecimal():
        return "camera"
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError):
        if sys.platform == "win32":  # where cameras have names
            return "camera"
        raise MissingVideoError(
            f"there is no file {source!r}: expected a camera's number, a video file, or - for a pipe"
        ) from None
    return "camera" if stat.S_ISCHR(mode) else "pipe" if stat.S_ISFIFO(mode) else "file"


def _paced(source: str, stopped: threading.Event) -> Iterator[tuple[float, np.ndarray]]:
    """The frames of a file, each when it is due after the first."""
    name, begin = describe(source), None
    with local_source(source) as opened, open_container(opened, name) as container:
        pictures = timed_pictures(container, name)
        display = Display("rgb24", main_stream(container, name).sample_aspect_ratio)
        for start, _, picture in pictures:
            frame = display(picture).to_ndarray()
            begin = time.monotonic() if begin is None else begin
            if stopped.wait(max(0.0, begin + float(start) - time.monotonic())):
                return
            yield float(start), frame


def _open_camera(source: str) -> InputContainer:
    device, pattern = CAMERAS.get(sys.platform, CAMERAS["linux"])
    name = pattern.format(source) if source.isdecimal() or device == "dshow" else source
    failure: Exception | None = None
    for options in (CAMERA_OPTIONS, {}):  # without, where the camera has no such size
        try:
            return av.open(name, format=device, options=options)
        except (av.FFmpegError, OSError, ValueError) as error:
            failure = failure or error
    reason = getattr(failure, "strerror", None) or failure
    raise MissingVideoError(
        f"cannot open the camera {source} ({device} {name}): {reason}. Is it plugged in, and free? Name "
        "another one, a video file, or - for a pipe."
    ) from failure


def _open_pipe(source: str) -> InputContainer:
    try:
        return av.open("pipe:0" if source == "-" else os.path.abspath(source), options=PIPE_OPTIONS)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "Send a format that is read without seeking, such as Matroska, MPEG-TS or y4m."
        raise UnreadableVideoError(f"cannot read video from the pipe: {reason}. {advice}") from error


def _as_they_come(
    container: InputContainer, name: str, stopped: threading.Event
) -> Iterator[tuple[float, np.ndarray]]:
    """Each frame when it arrives, with the time stamp of the device or sender where it has a sound one."""
    stream = main_stream(container, name)
    stream.thread_type = "SLICE"  # threads that each decode a picture would delay them all
    display = Display("rgb24", stream.sample_aspect_ratio)
    begin, offset = time.monotonic(), None
    for count, picture in enumerate(container.decode(stream)):
        if stopped.is_set():
            return
        if not count:
            check_size(picture.width, picture.height, name)
        arrived = time.monotonic() - begin
        stamp = arrived if picture.time is None else picture.time
        if offset is None or abs(stamp + offset - arrived) > FARTHEST:
            offset = arrived - stamp
        yield stamp + offset, display(picture).to_ndarray()


class Speakers:
    """The default sound device: plays what it is given as soon as it can, and silence in between.

    Raises:
        MissingExtraError: sounddevice is not installed (extra "live").
        Lip2SpeechError: PortAudio or a device that plays 16 kHz is missing.
    """

    def __init__(self) -> None:
        self._waiting: deque[float] = deque(maxlen=LONGEST_DELAY)
        self._lock = threading.Lock()
        try:
            sounddevice: Any = require_extra("sounddevice")
        except OSError as error:
            raise Lip2SpeechError(
                "The library PortAudio, which plays sound, is missing: install it (Debian, Ubuntu: apt "
                "install libportaudio2), or write the sound to a file."
            ) from error
        try:
            self._device = sounddevice.OutputStream(
                SAMPLING_RATE, channels=1, dtype="float32", latency="low", callback=self._fill
            )
            self._device.start()
        except sounddevice.PortAudioError as error:
            raise Lip2SpeechError(f"There is no loudspeaker ({error}): write the sound to a file.") from error

    def __enter__(self) -> "Speakers":
        return self

    def __exit__(self, *error: Any) -> None:
        self._device.stop()  # after what the device has taken already
        self._device.close()

    def play(self, samples: np.ndarray) -> None:
        """Play float32 (N,) in [-1, 1] after what waits already; returns at once."""
        with self._lock:
            self._waiting.extend(samples.tolist())

    def drain(self, seconds: float = 2.0) -> None:
        """Wait until everything is played, at most so many seconds."""
        until = time.monotonic() + seconds
        while self._waiting and time.monotonic() < until:
            time.sleep(0.02)

    def _fill(self, out: np.ndarray, frames: int, *_: Any) -> None:
        with self._lock:
            count = min(frames, len(self._waiting))
            out[:count, 0] = [self._waiting.popleft() for _ in range(count)]
        out[count:] = 0


@contextmanager
def open_wav(path: str | os.PathLike[str]) -> Generator[Callable[[np.ndarray], None]]:
    """A function that appends float32 (N,) in [-1, 1] to a WAV file (16 kHz, 16 bits).

    The file appears under its name, whole, when the block ends well.
    """
    with atomic_file(path) as unfinished:
        with soundfile.SoundFile(unfinished, "w", SAMPLING_RATE, 1, "PCM_16", format="WAV") as file:
            yield file.write
