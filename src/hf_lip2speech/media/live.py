"""Pictures as they are taken: from a camera, from a pipe, or from a file that is shown at its own pace."""

import os
import stat
import sys
import threading
import time
from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer

from ..errors import MissingVideoError, UnreadableVideoError
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


def live_frames(
    source: str, stopped: threading.Event | None = None, camera: tuple[str, str] | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Frames at the time at which they are taken, or, of a file, shown.

    Args:
        source: a camera's number, device or (on Windows) name; "-", standard input, or a named pipe, with
            video in a format that is read without seeking (Matroska, MPEG-TS, y4m, ...); or a video file.
        stopped: when it is set, no more frames come.
        camera: FFmpeg's device and its pattern of names; default: the platform's in CAMERAS.

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
    container = _open_pipe(source) if kind == "pipe" else _open_camera(source, camera)
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


def _open_camera(source: str, camera: tuple[str, str] | None) -> InputContainer:
    device, pattern = camera or CAMERAS.get(sys.platform, CAMERAS["linux"])
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
        raise UnreadableVideoError(
            f"cannot read video from the pipe: {reason}. Send a format that is read without seeking, such as "
            "Matroska, MPEG-TS or y4m."
        ) from error


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
