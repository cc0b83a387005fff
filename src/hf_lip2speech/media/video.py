"""Silent video in and out: any container and codec -> upright RGB frames at 25 fps, and frames -> mp4."""

import contextlib
import numbers
import os
import warnings
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from math import floor
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer

from ..constants import FRAME_RATE
from ..errors import EmptyVideoError, NoVideoStreamError, UnreadableVideoError
from ..files import atomic_file
from .display import Display
from .sources import describe, ffmpeg_name, local_source, open_container, video_stream

SHORTEST_FRAME = Fraction(1, 1000)  # seconds; less is a broken duration
SMALL = 640 * 480  # pixels; of a smaller picture, threads cost more than they give (a third of the CPU time)
LONGEST_GAP = 10  # seconds between two frames; more is a broken time stamp, not a still picture
MIDPOINT_SLACK = Fraction(1, 50)  # of an output frame: keeps jittering time stamps from deciding a tie


class Timed(NamedTuple):
    """A frame and when it is shown, in seconds since the first."""

    start: Fraction
    duration: Fraction
    frame: Any


class Video:
    """The frames of a video at a constant rate; each iteration decodes it again. Made by `open_video`.

    Attributes:
        name: what messages call it.
    """

    def __init__(self, source: Any, fps: float, name: str):
        self.name = name
        self._source = source
        self._fps = fps
        self._count: int | None = None  # frames of the first complete iteration

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB frames.

        Raises:
            UnreadableVideoError: not a video, nothing in it can be decoded, or it has another number of
                frames than when it was first read.
            NoVideoStreamError: no video stream (sound only).
            EmptyVideoError: no frame.
        """
        count = 0
        for frame in self._frames():
            count += 1
            if self._count is not None and count > self._count:
                break
            yield frame
        if self._count not in (None, count):
            raise UnreadableVideoError(
                f"{self.name} had {self._count} frames when it was first read and has {count} or more now: "
                "did the file change, or is it damaged? Encode it again."
            )
        self._count = count

    def _frames(self) -> Iterator[np.ndarray]:
        if isinstance(self._source, dict):
            yield from (timed.frame for timed in _resample(_timed_array(self._source), self._fps))
            return
        display, shown, array = Display("rgb24"), None, np.empty(0)
        with open_container(self._source, self.name) as container:
            for timed in _resample(
                _timed_frames(container, self.name, quiet=self._count is not None), self._fps
            ):
                if timed.frame is not shown:
                    shown, array = timed.frame, display(timed.frame).to_ndarray()
                yield array


@contextlib.contextmanager
def open_video(source: Any, fps: float = FRAME_RATE) -> Generator[Video]:
    """A video whose frames can be read several times; a URL is downloaded once.

    Frame k is the one shown at the middle of its span, (k + 0.5) / fps seconds after the first frame, by the
    time stamps; there are max(1, round(fps * seconds)) of them. Frames are upright and unmirrored. Only a
    frame or two are in memory at a time. A file that breaks off, or has damaged frames, gives what can be
    decoded, with a warning.

    Args:
        source: path, http(s) URL, bytes of a file, seekable or plain binary file object, or
            {"frames": uint8 (T, H, W[, 3]) RGB or gray, "fps": float}.
        fps: frames per second.

    Raises:
        MissingVideoError: no such file.
        UnreadableVideoError: not a source of a video.
    """
    if isinstance(source, dict):
        yield Video(source, fps, describe(source))
    else:
        with local_source(source) as opened:
            yield Video(opened, fps, describe(source))


def iter_frames(source: Any, fps: float = FRAME_RATE) -> Iterator[np.ndarray]:
    """The frames of a video, uint8 (H, W, 3) RGB, for reading them once; see `open_video`."""
    with open_video(source, fps) as video:
        yield from video


def _timed_array(source: dict) -> Iterator[Timed]:
    """In-memory frames."""
    if "frames" not in source or "fps" not in source:
        raise UnreadableVideoError(
            f'expected a dict with "frames" and "fps", not with {sorted(map(str, source))}'
        )
    try:
        frames = np.asarray(source["frames"])
    except ValueError as error:
        raise UnreadableVideoError(
            "the given frames differ in shape: expected uint8 (T, H, W[, 3])"
        ) from error
    if frames.ndim == 4 and frames.shape[3] == 1:
        frames = frames[..., 0]
    if frames.dtype != np.uint8 or not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] == 3)):
        raise UnreadableVideoError(
            f"expected frames as uint8 (T, H, W) or (T, H, W, 3), not {frames.dtype} {frames.shape}"
        )
    fps = source["fps"]
    if not isinstance(fps, numbers.Real) or not 0 < fps < float("inf"):
        raise UnreadableVideoError(f"expected fps as a positive number of frames per second, not {fps!r}")
    if frames.size == 0:
        raise EmptyVideoError(f"the given frames have shape {frames.shape}: expected at least one frame")
    duration = 1 / Fraction(float(fps))
    for index, frame in enumerate(frames):
        if frame.ndim == 2:
            frame = np.repeat(frame[:, :, None], 3, axis=2)
        yield Timed(index * duration, duration, frame)


def _timed_frames(container: InputContainer, name: str, quiet: bool) -> Iterator[Timed]:
    """Every frame that can be decoded, as av.VideoFrame. If not `quiet`, warns about damage."""
    stream = video_stream(container)
    if stream is None:
        raise NoVideoStreamError(f"{name} has no video stream: expected a video of a talking face")
    stream.thread_type = "AUTO"
    if stream.width * stream.height <= SMALL:
        stream.codec_context.thread_count = 1
    clock = _Clock(stream)
    failure = None
    for item in _decoded(container, stream):
        if isinstance(item, av.FFmpegError):
            failure = item
        else:
            yield Timed(*clock.read(item), item)
    if clock.first is None and failure is not None:
        raise UnreadableVideoError(f"no frame of {name} can be decoded: {failure}") from failure
    if clock.first is None:
        raise EmptyVideoError(f"the video stream of {name} has no frame")
    expected = Fraction(0)
    if stream.duration and stream.time_base:
        expected = stream.duration * Fraction(stream.time_base)
    elif container.duration:  # Matroska times the file, not its streams
        expected = Fraction(container.duration, av.time_base) - clock.first
    damage = None
    if failure is not None:
        damage = f"{name} is damaged ({failure})"
    elif clock.end < expected - max(Fraction(1, 5), expected / 50):
        damage = f"{name} breaks off at {float(clock.end):.2f} s of {float(expected):.2f} s"
    if damage and not quiet:
        warnings.warn(f"{damage}: used what could be decoded", stacklevel=2)


class _Clock:
    """Starts and durations of frames since the first, in seconds; missing and broken time stamps mended."""

    def __init__(self, stream: Any):
        self.usual = 1 / Fraction(stream.average_rate or stream.guessed_rate or FRAME_RATE)
        self.first: Fraction | None = None  # time stamp of the first frame
        self.start = -self.usual
        self.end = Fraction(0)

    def read(self, frame: Any) -> tuple[Fraction, Fraction]:
        """(start, duration) of the next frame."""
        unit = Fraction(frame.time_base or 0)
        stamp = None if frame.pts is None or not unit else frame.pts * unit
        start = self.start + self.usual
        if self.first is None:
            self.first = stamp or Fraction(0)
        elif stamp is not None:
            if 0 <= stamp - self.first - self.start <= LONGEST_GAP:
                start = stamp - self.first
            else:  # the time stamps start again
                self.first = stamp - start
        duration = Fraction(frame.duration or 0) * unit
        if not SHORTEST_FRAME <= duration <= LONGEST_GAP:
            duration = self.usual
        self.start, self.end = start, start + duration
        return start, duration


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """The decoded frames of a stream; an FFmpegError in place of what cannot be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            yield error
            packet = None
        if packet is None:
            try:
                yield from stream.decode(None)
            except av.EOFError:
                pass  # the demuxer's own flush packet has drained the decoder already
            except av.FFmpegError as error:
                yield error
            return
        try:
            frames = packet.decode()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            yield error
            continue
        yield from frames


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
    """
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
            pad = ((0, height % 2), (0, width % 2), (0, 0))[: frame.ndim]
            frame = np.ascontiguousarray(np.pad(frame, pad, mode="edge"))
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
