"""Silent video in and out: any container and codec -> upright RGB frames at 25 fps, and frames -> mp4."""

import contextlib
import numbers
import os
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from math import floor
from typing import Any

import av
import numpy as np

from ..constants import FRAME_RATE
from ..errors import EmptyVideoError, Lip2SpeechError, UnreadableVideoError
from ..files import atomic_file
from ..machine import read_ahead
from .decoding import (
    Timed,
    check_length,
    check_part,
    check_size,
    main_stream,
    part,
    stated_seconds,
    timed_pictures,
)
from .display import Display
from .sources import as_array, describe, ffmpeg_name, local_source, open_container

FRAMES = "RGB (T, H, W, 3) or (T, 3, H, W) or gray (T, H, W), uint8 or floats in 0..1"
LOWEST_FPS, HIGHEST_FPS = 1, 1000
FRAMES_AHEAD = 4  # decoded by another thread while those before are looked at
MIDPOINT_SLACK = Fraction(1, 50)  # of an output frame: keeps jittering time stamps from deciding a tie


class Video:
    """The frames of a video at a constant rate; each iteration decodes it again. Made by `open_video`.

    Attributes:
        name: what messages call it.
        start: seconds of the source at which it begins.
        expected: about how many frames there will be; None until the first is read, or if the file does not
            say how long it is.
    """

    def __init__(self, source: Any, fps: float, name: str, start: float = 0.0, end: float | None = None):
        self.name = name
        self.start = start
        self.expected: int | None = None
        self._end = end
        self._source = source
        self._fps = fps
        self._count: int | None = None  # frames of the first complete iteration

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB frames; an error where it is no video, has no video stream or no frame, nothing
        in it can be decoded, or it has another number of frames than when it was first read."""
        count = 0
        for frame in self._frames():
            count += 1
            if self._count is not None and count > self._count:
                break
            yield frame
        if self._count not in (None, count):
            raise UnreadableVideoError(
                f"{self.name} had {self._count} frames when it was first read and has {count} or more now: "
                "did it change, or is it damaged? Encode it again."
            )
        self._count = count

    def _frames(self) -> Iterator[np.ndarray]:
        if isinstance(self._source, dict):
            for timed in _resample(self._part(_timed_array(self._source)), self._fps):
                yield timed.picture
            return
        with open_container(self._source, self.name) as container:
            self.expected = self._expected(stated_seconds(container, self.name))
            pictures = timed_pictures(container, self.name, quiet=self._count is not None, seek=self.start)
            yield from read_ahead(self._shown(container, pictures), FRAMES_AHEAD)

    def _shown(self, container: Any, pictures: Iterable[Timed]) -> Iterator[np.ndarray]:
        display, shown, array = None, None, np.empty(0)
        for timed in _resample(self._part(pictures), self._fps):
            if display is None:
                display = Display("rgb24", main_stream(container, self.name).sample_aspect_ratio)
            if timed.picture is not shown:
                shown, array = timed.picture, display(timed.picture).to_ndarray()
            yield array

    def _part(self, pictures: Iterable[Timed]) -> Iterable[Timed]:
        whole = not self.start and self._end is None
        return pictures if whole else part(pictures, self.start, self._end, self.name)

    def _expected(self, seconds: Fraction | None) -> int | None:
        if seconds is None:
            return None
        end = seconds if self._end is None else min(seconds, Fraction(self._end))
        return max(1, round((end - Fraction(self.start)) * Fraction(self._fps)))


@contextlib.contextmanager
def open_video(
    source: Any, fps: float = FRAME_RATE, start: float = 0.0, end: float | None = None
) -> Generator[Video]:
    """A video whose frames can be read several times; a URL is downloaded once.

    Frame k is the one shown at the middle of its span, start + (k + 0.5) / fps seconds after the first frame,
    by the time stamps; there are max(1, round(fps * seconds)) of them. They are as a player shows them:
    upright, unmirrored, with square pixels, deinterlaced, HDR as SDR, all of one size. Only a few are
    in memory at a time. A file that breaks off, or has damaged frames, gives what can be decoded, with a
    warning.

    Args:
        source: path, http(s) URL, bytes of a file, seekable or plain binary file object, or
            {"frames": array, "fps": float}, with an array or tensor of RGB (never BGR) frames (T, H, W, 3) or
            (T, 3, H, W), or of gray ones (T, H, W), uint8 or floats in 0..1.
        fps: frames per second.
        start: seconds after the first frame at which to begin.
        end: seconds after the first frame at which to stop; None: with the last frame.

    Raises:
        MissingVideoError: no such file.
        UnreadableVideoError: not a source of a video.
        Lip2SpeechError: `start` or `end` is negative, or `end` not after `start`; no video has this rate.
    """
    _check_fps(fps)
    check_part(start, end)
    if isinstance(source, dict):
        yield Video(source, fps, describe(source), start, end)
    else:
        with local_source(source) as opened:
            yield Video(opened, fps, describe(source), start, end)


def iter_frames(source: Any, fps: float = FRAME_RATE) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 (H, W, 3) RGB, for reading them once; see `open_video`."""
    with open_video(source, fps) as video:
        yield from video


def _check_fps(fps: Any) -> None:
    if not isinstance(fps, numbers.Real) or not LOWEST_FPS <= fps <= HIGHEST_FPS:
        raise Lip2SpeechError(
            f"fps={str(fps)[:50]}: expected a number of frames per second from {LOWEST_FPS} to {HIGHEST_FPS}."
        )


def _timed_array(source: dict) -> Iterator[Timed]:
    """Frames in memory, as uint8 (H, W, 3) RGB."""
    if not {"frames", "fps"} <= set(source):
        keys = sorted(map(str, source))
        raise UnreadableVideoError(f'expected a dict with "frames" and "fps", not with {keys}')
    frames, fps = source["frames"], source["fps"]
    try:
        frames = as_array(frames)
        sound = isinstance(fps, numbers.Real) and 0 < fps < float("inf")
        duration = 1 / Fraction(float(fps)) if sound else None
    except OverflowError:
        duration = None
    except (ValueError, TypeError, RuntimeError) as error:
        raise UnreadableVideoError(
            f"the given frames differ in shape or cannot be copied: expected {FRAMES}"
        ) from error
    shape = frames.shape
    if frames.ndim == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):  # channels first
        frames = np.moveaxis(frames, 1, 3)
    if frames.ndim == 3 and shape[2] not in (3, 4):  # gray; with 3 or 4 it is rather one colour picture
        frames = frames[..., None]
    if (
        frames.ndim != 4
        or frames.shape[3] not in (1, 3)
        or not (frames.dtype == np.uint8 or frames.dtype.kind == "f")
    ):
        raise UnreadableVideoError(f"expected frames as {FRAMES}, not {frames.dtype} {shape}")
    if duration is None:
        raise UnreadableVideoError(
            f"expected fps as a positive number of frames per second, not {str(fps)[:50]}"
        )
    if frames.size == 0:
        raise EmptyVideoError(f"the given frames have shape {shape}: expected at least one frame")
    check_size(frames.shape[2], frames.shape[1], "the given array")
    check_length(len(frames), len(frames) * duration, "the given array")
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8:
            if not (frame.min() >= 0 and frame.max() <= 1):  # nor NaN
                raise UnreadableVideoError(
                    f"frames of floats are in 0..1, but {index} has {frame.min():.4g} to {frame.max():.4g}: "
                    "divide them by their range, or give uint8"
                )
            frame = np.round(frame * 255).astype(np.uint8)
        frame = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame
        yield Timed(index * duration, duration, np.ascontiguousarray(frame))


def _resample(frames: Iterable[Timed], fps: float) -> Iterator[Timed]:
    """Frames at a constant rate: each output frame is the one shown at the middle of its span.

    FFmpeg's fps filter differs: it drops a video of one short frame, rounds lengths otherwise, and lets
    jittering time stamps decide ties (6 tests fail with it). A frame that is not shown is not converted here.
    """
    rate = Fraction(fps)
    done = 0
    shown = None
    for timed in frames:
        if shown is not None:
            due = floor(timed.start * rate + Fraction(1, 2) + MIDPOINT_SLACK)
            for _ in range(done, due):
                yield shown
            done = max(done, due)
        shown = timed
    if shown is None:
        raise EmptyVideoError("the video has no frame")
    for _ in range(done, max(1, round((shown.start + shown.duration) * rate))):
        yield shown


def write_video(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float = FRAME_RATE, crf: int = 8
) -> None:
    """Write frames as an mp4 file (H.264, yuv420p), which appears when it is complete.

    Args:
        path: the file to write.
        frames: uint8 (T, H, W[, 3]) or an iterable of (H, W[, 3]); odd sides are padded by one repeated line.
        fps: frames per second.
        crf: x264's quality, 0..51; 8 is near lossless, 23 is usual for viewing.

    Raises:
        EmptyVideoError: no frames.
        Lip2SpeechError: no video has this rate.
    """
    _check_fps(fps)
    rate = Fraction(fps).limit_denominator(100_000)
    with (
        atomic_file(path) as unfinished,
        av.open(
            ffmpeg_name(unfinished), mode="w", format="mp4", options={"movflags": "+faststart"}
        ) as container,
    ):
        stream = None
        for frame in frames:
            frame = np.asarray(frame, dtype=np.uint8)
            height, width = frame.shape[:2]
            if height % 2 or width % 2:
                pad = ((0, height % 2), (0, width % 2), (0, 0))[: frame.ndim]
                frame = np.pad(frame, pad, mode="edge")
            frame = np.ascontiguousarray(frame)
            if stream is None:
                # one thread: as fast for small pictures, and the same bits whatever the machine's cores
                options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0", "threads": "1"}
                stream = container.add_stream("libx264", rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = frame.shape[1], frame.shape[0], "yuv420p"
            picture = av.VideoFrame.from_ndarray(frame, format="gray" if frame.ndim == 2 else "rgb24")
            container.mux(stream.encode(picture))
        if stream is None:
            raise EmptyVideoError("no frames to write: expected at least one")
        container.mux(stream.encode(None))
