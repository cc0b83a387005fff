"""Speech put back into the video that it was made from."""

import functools
import heapq
import itertools
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType

from ..constants import FRAME_RATE, SAMPLING_RATE
from ..errors import Lip2SpeechError, UnreadableVideoError
from ..files import UNWRITABLE, atomic_file
from .audio import as_waveform, check_sampling_rate
from .decoding import Timed, check_part, main_stream, part, timed_pictures
from .display import Display
from .sources import describe, ffmpeg_name, local_source, open_container
from .transcripts import Cue

logger = logging.getLogger(__name__)

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
COPIED_CODECS = ("h264", "hevc", "av1")  # what phones and browsers play; anything else becomes H.264
LONGEST_REORDERING = 16  # packets between the decoding of a picture and its display, at most
CLOCK = Fraction(1, 90_000)  # seconds; of pictures that are encoded again
AAC_FRAME = 1024  # samples
AAC_BIT_RATE = 96_000
SUBTITLE_CLOCK = Fraction(1, 1000)  # seconds
# How subtitles look where the player does not decide; MP4 must say it.
SUBTITLE_STYLE = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, \
MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1
""".replace(b"\\\n", b"")


def mux_speech(
    video_source: str | os.PathLike[str] | bytes | BinaryIO,
    waveform: np.ndarray,
    path: str | os.PathLike[str],
    sampling_rate: int = SAMPLING_RATE,
    start: float = 0.0,
    end: float | None = None,
    subtitles: Sequence[Cue] = (),
) -> None:
    """Write a video file with the pictures of a video and the given speech (AAC) in place of its sound.

    H.264, HEVC and AV1 are copied bit by bit. Any other codec, and a stream that cannot be copied, is encoded
    to H.264, as it is shown: with square pixels, HDR as SDR. The first picture and the first sample are at
    time 0. The file appears under its name only when it is complete, so that `path` may be the source.

    Args:
        video_source: path, http(s) URL, bytes or seekable binary file.
        waveform: float (N,), speech; samples outside [-1, 1] are clipped.
        path: the file to write, .mp4, .mov or .mkv.
        sampling_rate: samples per second of the waveform.
        start, end: seconds of the video between which the pictures are taken; a part is always encoded.
        subtitles: lines of a subtitle track, which players show on demand, in order; none: no track.

    Raises:
        UnreadableVideoError, NoVideoStreamError: the source cannot be read, or has no pictures.
        Lip2SpeechError: the waveform is not 1-D, no sound has its rate, or the path has another ending.
    """
    waveform = as_waveform(waveform)
    check_sampling_rate(sampling_rate)
    sampling_rate = int(sampling_rate)  # of NumPy, FFmpeg takes none
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise Lip2SpeechError(f"A video is written as {', '.join(FORMATS)}, got {Path(path).name!r}.")
    check_part(start, end)
    name, sound = describe(video_source), np.clip(waveform, -1.0, 1.0)
    options = {} if suffix == ".mkv" else {"movflags": "faststart"}
    with local_source(video_source) as opened, atomic_file(path) as unfinished:
        unfinished.touch()  # says why where nothing can be written; FFmpeg does not
        with open_container(opened, name) as source:
            codec = main_stream(source, name).codec_context.name
        encoded = functools.partial(_encoded, start=start, end=end)
        whole = not start and end is None
        ways = (_copied, encoded) if codec in COPIED_CODECS and whole else (encoded,)
        for way in ways:
            try:
                with (
                    open_container(opened, name) as source,
                    av.open(ffmpeg_name(unfinished), "w", format=FORMATS[suffix], options=options) as target,
                ):
                    _write(target, source, name, way, sound, sampling_rate, subtitles)
                return
            except (av.FFmpegError, ValueError) as error:
                if isinstance(error, Lip2SpeechError) or getattr(error, "errno", None) in UNWRITABLE:
                    raise
                # Old AVI files and some streams lack time stamps, which a copy needs, or have odd ones.
                if way is ways[-1]:
                    raise UnreadableVideoError(f"{name} cannot be written as a video: {error}") from error
                message = "The %s stream of %s cannot be copied (%s) and is encoded again."
                logger.warning(message, codec, name, error)


def _write(
    target: OutputContainer,
    source: InputContainer,
    name: str,
    way: Callable,
    waveform: np.ndarray,
    sampling_rate: int,
    subtitles: Sequence[Cue],
) -> None:
    pictures = way(source, name, target)
    speech: Any = target.add_stream("aac", rate=sampling_rate, layout="mono")
    speech.bit_rate = AAC_BIT_RATE
    tracks = [pictures, _sound_packets(speech, waveform, sampling_rate)]
    if subtitles:
        codec = "subrip" if target.format.name == FORMATS[".mkv"] else "mov_text"
        track: Any = target.add_stream(codec)
        track.codec_context.subtitle_header = SUBTITLE_STYLE
        track.time_base = track.codec_context.time_base = SUBTITLE_CLOCK
        tracks.append(_subtitle_packets(track, subtitles))
    # By decoding time, so that a player finds sound beside its pictures.
    for packet in heapq.merge(*tracks, key=lambda packet: (packet.dts or 0) * packet.time_base):
        target.mux(packet)


# The two ways to bring the pictures over. Each adds its stream to the target at once, since all streams must
# be known before the first packet is written, and returns the packets.


def _copied(source: InputContainer, name: str, target: OutputContainer) -> Iterator[av.Packet]:
    stream = main_stream(source, name)
    return _copied_packets(source.demux(stream), target.add_stream_from_template(stream))


def _encoded(
    source: InputContainer, name: str, target: OutputContainer, start: float, end: float | None
) -> Iterator[av.Packet]:
    stream = main_stream(source, name)
    video = target.add_stream("libx264", rate=stream.average_rate or FRAME_RATE)
    video.pix_fmt = "yuv420p"
    video.options = {"crf": "16", "preset": "medium"}
    video.codec_context.time_base = CLOCK
    display = Display("yuv420p", stream.sample_aspect_ratio, even=True)
    # What there is to warn about has been said when the video was read.
    pictures = part(timed_pictures(source, name, quiet=True, seek=start), start, end, name)
    return _encoded_packets(pictures, display, video)


def _copied_packets(packets: Iterable[av.Packet], copy: av.VideoStream) -> Iterator[av.Packet]:
    packets = (packet for packet in packets if packet.size)  # the last is empty
    # Packets come in decoding order, in which the first picture to be shown is among the first few.
    head = list(itertools.islice(packets, LONGEST_REORDERING))
    start = min(
        (packet.pts for packet in head if packet.pts is not None and not packet.is_discard), default=0
    )
    known = next((index for index, packet in enumerate(head) if packet.dts is not None), 0)
    for index in reversed(range(known)):  # Matroska has no decoding times; FFmpeg guesses all but the first
        head[index].dts = (head[index + 1].dts or 0) - (head[index].duration or 1)
    for packet in itertools.chain(head, packets):
        if packet.pts is None or packet.dts is None:
            raise ValueError("a packet has no time stamp")
        packet.pts -= start
        packet.dts -= start
        packet.stream = copy
        yield packet


def _encoded_packets(
    pictures: Iterable[Timed], display: Display, video: av.VideoStream
) -> Iterator[av.Packet]:
    last: int | None = None
    for timed in pictures:
        picture = display(timed.picture)
        if last is None:
            context = video.codec_context
            video.width, video.height = picture.width, picture.height
            context.colorspace, context.color_range = picture.colorspace, picture.color_range
            last = -1
        last = max(round(timed.start / CLOCK), last + 1)
        picture.pts, picture.time_base = last, CLOCK
        picture.pict_type = PictureType.NONE  # the encoder chooses its own key frames
        yield from video.encode(picture)
    yield from video.encode(None)


def _sound_packets(stream: av.AudioStream, waveform: np.ndarray, sampling_rate: int) -> Iterator[av.Packet]:
    for start in range(0, len(waveform), AAC_FRAME):
        samples = waveform[None, start : start + AAC_FRAME]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate = sampling_rate
        frame.pts = start
        frame.time_base = Fraction(1, sampling_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _subtitle_packets(track: Any, cues: Iterable[Cue]) -> Iterator[av.Packet]:
    for cue in cues:
        text = cue.text.encode()
        packet = av.Packet(struct.pack(">H", len(text)) + text if track.name == "mov_text" else text)
        packet.stream, packet.time_base = track, SUBTITLE_CLOCK
        packet.pts = packet.dts = round(cue.start / SUBTITLE_CLOCK)
        packet.duration = max(round(cue.end / SUBTITLE_CLOCK) - packet.pts, 1)
        yield packet
