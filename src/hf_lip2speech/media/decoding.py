"""Containers -> decoded pictures, each with the time at which it is shown; damage is mended and told."""

import itertools
import numbers
import re
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.filter import Graph

from ..constants import FRAME_RATE
from ..errors import EmptyVideoError, Lip2SpeechError, NoVideoStreamError, UnreadableVideoError
from .display import picture_filters
from .sources import video_streams

SHORTEST_FRAME = Fraction(1, 1000)  # seconds; less is a broken duration
LONGEST_GAP = 10  # seconds between two pictures; more is a broken time stamp ...
LONGEST_STILL = 600  # ... or a still picture, if the container is as long as that; more than this is broken
LATEST = 1e9  # seconds of a video
SMALLEST_SIDE = 16  # pixels
MOST_ELONGATED = 20  # the longer side over the shorter
SEEK_FROM = 10  # seconds; the start of a part that lies later is sought, not decoded up to
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # formats that find the key frame before a time
SMALL = 640 * 480  # pixels; of a smaller picture, threads cost more than they give (a third of the CPU time)


class Timed(NamedTuple):
    """A picture (of any type) and when it is shown, in seconds since the first."""

    start: Fraction
    duration: Fraction
    picture: Any


def check_size(width: int, height: int, name: str) -> None:
    """Refuse pictures in which no face can be, before hours are spent on the search."""
    if min(width, height) < SMALLEST_SIDE or max(width, height) > MOST_ELONGATED * min(width, height):
        raise UnreadableVideoError(
            f"{name} has pictures of {width}x{height} pixels: expected at least {SMALLEST_SIDE} each way and "
            f"one side at most {MOST_ELONGATED} times the other"
        )


def check_length(count: int, seconds: Fraction, name: str) -> None:
    """Refuse rates that no video has: `count` pictures of so many seconds in all, or so far."""
    if seconds > LONGEST_STILL + count or (count > 2 and seconds < count * SHORTEST_FRAME):
        raise rate_error(name, seconds / count)


def rate_error(name: str, seconds: Fraction) -> UnreadableVideoError:
    return UnreadableVideoError(
        f"by its frame rate or time stamps, {name} shows a picture for {float(min(seconds, 10**18)):.2g} s: "
        "expected 1 to 1000 pictures per second. Is its rate right?"
    )


def main_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The video stream that a player shows, never a cover picture; an error where none can be decoded."""
    streams = video_streams(container)
    if not streams:
        raise NoVideoStreamError(f"{name} has no video stream: expected a video of a talking face")
    streams = [stream for stream in streams if stream.frames != 1] or streams  # 0: not stated
    best = container.streams.best("video")
    stream = next((stream for stream in streams if stream == best), streams[0])
    if stream.codec_context is None:
        raise UnreadableVideoError(f"the video stream of {name} has a format that FFmpeg cannot decode")
    return stream


def check_part(start: float, end: float | None) -> None:
    """Refuse seconds between which nothing of a video lies."""
    for seconds in (start, end):
        if seconds is not None and not (isinstance(seconds, numbers.Real) and 0 <= seconds <= LATEST):
            raise Lip2SpeechError(
                f"start and end are seconds of the video, from 0 to {LATEST:.0e}, got {seconds!r}."
            )
    if end is not None and end <= start:
        raise Lip2SpeechError(f"The part ends at {end} s, before its start at {start} s: give a later end.")


def part(pictures: Iterable[Timed], start: float, end: float | None, name: str) -> Iterator[Timed]:
    """What is shown from `start` until `end` (None: to the last picture), timed from `start` on.

    Raises:
        EmptyVideoError: the video ends before.
    """
    begin = Fraction(start)
    stop = None if end is None else Fraction(end)
    held, empty = None, True
    last = begin
    for timed in itertools.chain(pictures, [None]):
        if held is not None:  # a picture is shown until the next, whatever its duration
            last = held.start + held.duration if timed is None else timed.start
            first, until = max(held.start, begin), last if stop is None else min(last, stop)
            if first < until:
                empty = False
                yield Timed(first - begin, until - first, held.picture)
            if stop is not None and last >= stop:
                return
        held = timed
    if empty:
        raise EmptyVideoError(
            f"{name} is {float(last):.2f} s long: expected a start before its end, not {start} s"
        )


def stated_seconds(container: InputContainer, name: str) -> Fraction | None:
    """How long the video is, as the file states; None if it does not."""
    stream = main_stream(container, name)
    if stream.duration and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    return _end(container, stream) or None


def _end(container: InputContainer, stream: av.VideoStream) -> Fraction:
    """When a stream ends by the clock of its file; 0 if the file does not say. Matroska says it in a tag, and
    otherwise how long the file is, whose sound may be longer."""
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""), re.ASCII)
    if tag:
        return 3600 * Fraction(tag[1]) + 60 * Fraction(tag[2]) + Fraction(tag[3])
    return Fraction(container.duration or 0, av.time_base)


def timed_pictures(
    container: InputContainer, name: str, quiet: bool = False, seek: float = 0.0
) -> Iterator[Timed]:
    """Every picture of a video that can be decoded, as an av.VideoFrame, deinterlaced.

    `name` is what messages call it; if `quiet`, there is no warning about damage; pictures that are shown
    before `seek` seconds may be left out.

    Raises:
        NoVideoStreamError, UnreadableVideoError, EmptyVideoError: see the messages.
    """
    stream = main_stream(container, name)
    stream.thread_type = "AUTO"
    if stream.width * stream.height <= SMALL:
        stream.codec_context.thread_count = 1
    failures: list[av.FFmpegError] = []
    clock = _Clock(container, stream, _sought(container, stream, seek))
    if clock.usual > LONGEST_GAP:
        raise rate_error(name, clock.usual)
    for timed in clock.times(_deinterlaced(_decoded(container, stream, failures))):
        if clock.count == 1:
            check_size(timed.picture.width, timed.picture.height, name)
        if clock.end > LONGEST_STILL:
            check_length(clock.count, clock.end - clock.begin, name)
        yield timed
    if not clock.count and failures:
        raise UnreadableVideoError(f"no picture of {name} can be decoded: {failures[-1].strerror}")
    if not clock.count:
        raise EmptyVideoError(f"the video stream of {name} has no picture")
    if clock.count == 1 and container.format.name.endswith(("_pipe", "image2", "gif", "apng")):
        raise UnreadableVideoError(f"{name} is a still picture: expected a video of a talking face")
    check_length(clock.count, clock.end - clock.begin, name)
    damage = None
    if failures:
        damage = f"is damaged ({failures[-1].strerror}): used what could be decoded"
    elif clock.end < clock.expected - max(Fraction(1, 5), clock.expected / 50):
        ends = f"{float(clock.end):.2f} s of {float(clock.expected):.2f} s"
        damage = f"breaks off at {ends}: used what could be decoded"
    elif clock.mended:
        damage = f"has {clock.mended} time stamps that jump: used its usual rate there"
    if damage and not quiet:
        warnings.warn(f"{name} {damage}", stacklevel=2)


def _sought(container: InputContainer, stream: av.VideoStream, seconds: float) -> Fraction | None:
    """Go to the last key frame before a time, if that is worth it and sure; returns the stamp of time 0."""
    if seconds < SEEK_FROM or container.format.name not in INDEXED:
        return None
    if stream.start_time is None or stream.time_base is None:
        return None
    unit = Fraction(stream.time_base)
    first = stream.start_time * unit
    try:
        container.seek(int((first + Fraction(seconds)) / unit), stream=stream)
    except av.FFmpegError:  # beyond the end, say: decoding up to there will tell
        container.seek(stream.start_time, stream=stream)
        return None
    return first


class _Clock:
    """Starts and durations of pictures in seconds since the first; mends missing and broken time stamps.

    `first` is the time stamp of the first picture if others are read before it.
    """

    def __init__(self, container: InputContainer, stream: av.VideoStream, first: Fraction | None = None):
        rates = [rate for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate) if rate]
        rates = rates or [Fraction(FRAME_RATE)]  # the average is low where a still is held
        self.usual = 1 / next((rate for rate in rates if rate * LONGEST_GAP >= 1), rates[0])
        self.count = self.mended = 0
        self.begin = self.start = self.end = self.expected = Fraction(0)
        self._origin = first
        self._first = self._last = Fraction(0)  # time stamps: of time 0, and the last that was believed
        self._of_file = Fraction(0)
        if stream.duration and stream.time_base:
            self.expected = stream.duration * Fraction(stream.time_base)
        else:  # Matroska times the file from its zero on, not its streams
            self._of_file = _end(container, stream)

    def times(self, pictures: Iterable[av.VideoFrame]) -> Iterator[Timed]:
        waiting = None  # one picture waits, since a time stamp is judged by the one after it, too
        for picture in itertools.chain(pictures, [None]):
            if waiting is not None:
                yield self._time(waiting, None if picture is None else _stamp(picture))
            waiting = picture

    def _time(self, picture: av.VideoFrame, following: Fraction | None) -> Timed:
        stamp = _stamp(picture)
        start = self.start + self.usual if self.count else Fraction(0)
        if not self.count:
            self._first = self._last = stamp or Fraction(0)
            if self._origin is not None:
                self._first, start = self._origin, max(self._last - self._origin, Fraction(0))
            self.begin = start
            self.expected = self.expected or max(self._of_file - self._first, Fraction(0))
        elif stamp is not None:
            lone = following is not None and self._last < following and not self._last <= stamp <= following
            if not lone and self._holds(self.start, stamp - self._first):
                start = stamp - self._first
            else:
                self.mended += 1
            if not lone:  # else the others are read as before
                self._first, self._last = stamp - start, stamp
        duration = Fraction(picture.duration or 0) * Fraction(picture.time_base or 0)
        if duration < SHORTEST_FRAME or not self._holds(start, start + duration):
            duration = self.usual
        self.count, self.start, self.end = self.count + 1, start, start + duration
        return Timed(start, duration, picture)

    def _holds(self, start: Fraction, end: Fraction) -> bool:
        """Whether a picture can be shown so long: for a while, or as the length of the whole file agrees."""
        agreed = end <= self.expected + Fraction(1, 5)
        return 0 <= end - start <= (LONGEST_STILL if agreed else LONGEST_GAP)


def _stamp(picture: av.VideoFrame) -> Fraction | None:
    unit = Fraction(picture.time_base or 0)
    return picture.pts * unit if unit and picture.pts is not None else None


def _decoded(
    container: InputContainer, stream: av.VideoStream, failures: list[av.FFmpegError]
) -> Iterator[av.VideoFrame]:
    """The pictures of a stream that can be decoded; what FFmpeg says about the others goes to `failures`.

    AVI has no presentation times. Pictures, which come in the order in which they are shown, have the time of
    the packet that brought them out, as in players.
    """
    packets = container.demux(stream)
    unordered = container.format.name == "avi"
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            failures.append(error)
            packet = None
        try:
            for picture in stream.decode(None) if packet is None else packet.decode():
                if unordered:
                    picture.pts = picture.dts
                yield picture
        except av.EOFError:
            return  # the demuxer's own flush packet has drained the decoder already
        except av.FFmpegError as error:
            failures.append(error)
        if packet is None:
            return


def _deinterlaced(pictures: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """As many pictures as there are, of which bwdif makes the interlaced ones progressive."""
    graph: Graph | None = None
    kind: tuple | None = None
    times: deque[tuple] = deque()  # of the pictures in the filter, which halves the unit of time

    def pulled() -> Iterator[av.VideoFrame]:
        while graph is not None:
            try:
                picture = graph.vpull()
            except (BlockingIOError, av.EOFError):
                return
            picture.pts, picture.time_base, picture.duration = times.popleft()
            yield picture

    for picture in itertools.chain(pictures, [None]):
        here = None if picture is None else (picture.format.name, picture.width, picture.height)
        if graph is not None and here != kind:
            graph.vpush(None)
            yield from pulled()
            graph = None
        if picture is None:
            return
        if graph is None and not picture.interlaced_frame:
            yield picture
            continue
        if graph is None:
            graph = picture_filters(picture, [("bwdif", {"mode": "send_frame", "deint": "interlaced"})])
            kind = here
        times.append((picture.pts, picture.time_base, picture.duration))
        graph.vpush(picture)
        yield from pulled()
