"""Silent video in and out: any container and codec -> upright RGB frames at 25 fps, and frames -> mp4."""

import contextlib
import http.client
import io
import numbers
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
import warnings
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..constants import FRAME_RATE
from ..errors import EmptyVideoError, MissingVideoError, NoVideoStreamError, UnreadableVideoError
from ..files import atomic_file

SHORTEST_FRAME = Fraction(1, 1000)  # seconds; less is a broken duration
SMALL = 640 * 480  # pixels; of a smaller picture, threads cost more than they give (a third of the CPU time)
LONGEST_GAP = 10  # seconds between two frames; more is a broken time stamp, not a still picture
_MIDPOINT_SLACK = Fraction(1, 50)  # of an output frame: keeps jittering time stamps from deciding a tie
_HTTP_TIMEOUT = 30  # seconds


def iter_frames(source: Any, fps: float = FRAME_RATE, name: str | None = None) -> Iterator[np.ndarray]:
    """The frames of a video, upright, at a constant rate.

    Output frame k is the one shown at the middle of its span, (k + 0.5) / fps seconds after the first frame,
    by the time stamps; there are max(1, round(fps * seconds)) of them. Only a frame or two are in memory at a
    time. A file that breaks off, or holds damaged frames, gives what can be decoded, with a warning.

    Args:
        source: path, http(s) URL, bytes of a file, seekable or plain binary file object, or
            {"frames": uint8 (T, H, W[, 3]), "fps": float}.
        fps: output frames a second.
        name: what messages call the source; by default its path, URL or kind.

    Yields:
        uint8 (H, W, 3) RGB.

    Raises:
        MissingVideoError: no such file.
        UnreadableVideoError: not a video, or nothing in it can be decoded.
        NoVideoStreamError: no video stream (sound only).
        EmptyVideoError: no frame.
    """
    if isinstance(source, dict):
        timed = _timed_array(source)
        yield from _resample(timed, fps)
        return
    with local_source(source) as opened:
        yield from _resample(_timed_frames(opened, name or describe(source)), fps)


def describe(source: Any) -> str:
    """A short name of a video source for messages."""
    if isinstance(source, dict):
        return "the given frames"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the given {len(source)} bytes"
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    return f"the given file object {getattr(source, 'name', '')!r}"


def is_url(source: Any) -> bool:
    """Whether a source is an http(s) URL."""
    return isinstance(source, str) and urllib.parse.urlsplit(source).scheme.lower() in ("http", "https")


@contextlib.contextmanager
def local_source(source: Any) -> Generator[Any, None, None]:
    """A source that can be read several times: a path, a seekable file, or frames.

    URLs and files that cannot seek are copied to a temporary file, deleted at the end.
    """
    if isinstance(source, dict):
        yield source
    elif is_url(source):
        with tempfile.NamedTemporaryFile(prefix="lip2speech-") as file:
            try:
                with urllib.request.urlopen(_quoted(source), timeout=_HTTP_TIMEOUT) as response:
                    shutil.copyfileobj(response, file)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise UnreadableVideoError(f"cannot download the video {source!r}: {error}") from error
            file.seek(0)
            yield file
    elif isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        if not os.fspath(source) or not path.exists():
            raise MissingVideoError(
                f"there is no file {os.fspath(source)!r}: expected the path or URL of a video"
            )
        if path.is_dir():
            raise UnreadableVideoError(f"{os.fspath(source)!r} is a folder: expected one video file")
        yield path
    elif isinstance(source, io.TextIOBase):
        raise UnreadableVideoError(f"{describe(source)} is open as text: open the video with mode 'rb'")
    elif hasattr(source, "read"):
        if getattr(source, "seekable", lambda: False)():
            yield source
        else:
            with tempfile.NamedTemporaryFile(prefix="lip2speech-") as file:
                shutil.copyfileobj(source, file)
                file.seek(0)
                yield file
    else:
        raise UnreadableVideoError(
            f"cannot read a video from {type(source).__name__}: expected a path, URL, bytes, a binary file "
            'or {"frames": uint8 (T, H, W[, 3]), "fps": float}'
        )


def _quoted(url: str) -> str:
    """A URL as it was typed or copied, with blanks and letters beyond ASCII in its path and query escaped."""
    parts = urllib.parse.urlsplit(url)
    path, query = (urllib.parse.quote(part, safe="/%:@!$&'()*+,;=~?") for part in (parts.path, parts.query))
    return parts._replace(path=path, query=query).geturl()


def _timed_array(source: dict) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
    """(start, duration, frame) of in-memory frames."""
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
        raise UnreadableVideoError(f"expected fps as a positive number of frames a second, not {fps!r}")
    if frames.size == 0:
        raise EmptyVideoError(f"the given frames have shape {frames.shape}: expected at least one frame")
    duration = 1 / Fraction(float(fps))
    for index, frame in enumerate(frames):
        if frame.ndim == 2:
            frame = np.repeat(frame[:, :, None], 3, axis=2)
        yield index * duration, duration, frame


def _timed_frames(opened: Any, name: str) -> Iterator[tuple[Fraction, Fraction, np.ndarray]]:
    """(start, duration, frame) of every decodable frame of a file, starts relative to the first."""
    with _open(opened, name) as container:
        streams = [stream for stream in container.streams.video if not _is_picture(stream)]
        if not streams:
            raise NoVideoStreamError(f"{name} holds no video stream: expected a video of a talking face")
        stream = streams[0]
        stream.thread_type = "AUTO"
        if stream.width * stream.height <= SMALL:
            stream.codec_context.thread_count = 1
        clock = _Clock(stream)
        failure = orientation = None
        for item in _decoded(container, stream):
            if isinstance(item, av.FFmpegError):
                failure = item
            else:
                # read once: it belongs to the stream, and asking each frame keeps frames alive in cycles
                orientation = orientation or _orientation(item)
                yield *clock.read(item), _upright(item, orientation)
        if clock.first is None and failure is not None:
            raise UnreadableVideoError(f"no frame of {name} can be decoded: {failure}") from failure
        if clock.first is None:
            raise EmptyVideoError(f"the video stream of {name} holds no frame")
        expected = Fraction(0)
        if stream.duration:
            expected = stream.duration * Fraction(stream.time_base)
        elif container.duration:  # Matroska times the file, not its streams
            expected = Fraction(container.duration, av.time_base) - clock.first
        if failure is not None:
            warnings.warn(f"{name} is damaged ({failure}): used what could be decoded", stacklevel=2)
        elif clock.end < expected - max(Fraction(1, 5), expected / 50):
            warnings.warn(
                f"{name} breaks off at {float(clock.end):.2f} s of {float(expected):.2f} s: "
                "used what could be decoded",
                stacklevel=2,
            )


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """A path as FFmpeg takes it: absolute, or a colon in it would be taken for a protocol's."""
    return str(Path(path).absolute())


def _open(opened: Any, name: str) -> Any:
    """An FFmpeg container of a path or seekable file."""
    if isinstance(opened, Path):
        opened = ffmpeg_name(opened)
    else:
        opened.seek(0)
    try:
        return av.open(opened, mode="r")
    except av.EOFError as error:
        raise EmptyVideoError(f"{name} ends before its first frame") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = (
            getattr(error, "strerror", None) or error
        )  # without FFmpeg's number and a temporary file's name
        raise UnreadableVideoError(f"cannot open {name} as a video: {reason}") from error


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
            else:  # the stamps begin anew
                self.first = stamp - start
        duration = Fraction(frame.duration or 0) * unit
        if not SHORTEST_FRAME <= duration <= LONGEST_GAP:
            duration = self.usual
        self.start, self.end = start, start + duration
        return start, duration


def _is_picture(stream: Any) -> bool:
    """Whether a video stream is a cover picture of a sound file."""
    return bool(stream.disposition & Disposition.attached_pic)


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


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(transpose, flip x, flip y): what the display matrix of a frame (filmed with a phone, say) demands."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return False, False, False
    # 9 words, column by column: the shown x is a * x + c * y, the shown y is b * x + d * y, up to a shift
    a, b, _, c, d = np.frombuffer(bytes(side_data), dtype=np.int32)[:5].tolist()
    return (True, c < 0, b < 0) if abs(b) > abs(a) else (False, a < 0, d < 0)


def _upright(frame: Any, orientation: tuple[bool, bool, bool]) -> np.ndarray:
    """uint8 (H, W, 3) RGB, turned and mirrored."""
    transpose, flip_x, flip_y = orientation
    # One thread: a frame that outlives its video in a reference cycle is copied into processes forked later,
    # where its converter's threads are not, and freeing it there waits for them for ever.
    image = frame.to_ndarray(format="rgb24", threads=1)
    if transpose:
        image = image.transpose(1, 0, 2)
    return np.ascontiguousarray(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1])


def _resample(timed: Iterable[tuple[Fraction, Fraction, np.ndarray]], fps: float) -> Iterator[np.ndarray]:
    """Frames at a constant rate: each output frame is the one shown at the middle of its span."""
    rate = Fraction(fps)
    done = 0
    shown, end = None, Fraction(0)
    for start, duration, frame in timed:
        if shown is not None:
            due = floor(start * rate + Fraction(1, 2) + _MIDPOINT_SLACK)
            for _ in range(done, due):
                yield shown
            done = max(done, due)
        shown, end = frame, start + duration
    if shown is None:
        raise EmptyVideoError("the video holds no frame")
    for _ in range(done, max(1, round(end * rate))):
        yield shown


def write_video(
    path: str | os.PathLike, frames: Iterable[np.ndarray], fps: float = FRAME_RATE, crf: int = 8
) -> None:
    """Write frames as an mp4 (H.264, yuv420p), in one step as seen from outside.

    Args:
        path: the mp4 to write; its folder must exist.
        frames: uint8 (T, H, W[, 3]) or an iterable of (H, W[, 3]); odd sides are padded by one repeated line.
        fps: frames a second.
        crf: x264's quality, 0..51; 8 is near lossless, 23 is usual for viewing.

    Raises:
        EmptyVideoError: no frames.
    """
    path = Path(path)
    rate = Fraction(fps).limit_denominator(100_000)
    with (
        atomic_file(path.absolute()) as unfinished,
        av.open(str(unfinished), mode="w", format="mp4", options={"movflags": "+faststart"}) as container,
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
