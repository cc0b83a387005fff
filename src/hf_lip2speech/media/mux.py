"""Speech put back into the video that it was read from."""

import heapq
import itertools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType

from ..constants import FRAME_RATE, SAMPLING_RATE
from ..errors import Lip2SpeechError, NoVideoStreamError, UnreadableVideoError
from ..files import atomic_file
from .display import Display
from .sources import describe, ffmpeg_name, local_source, open_container, video_stream

logger = logging.getLogger(__name__)

# What browsers and phones play from an mp4 file. Anything else becomes H.264.
COPIED_CODECS = ("h264", "hevc", "av1")
LONGEST_REORDERING = 16  # packets between the decoding of a picture and its display, at most
AAC_FRAME = 1024  # samples
AAC_BIT_RATE = 96_000


def mux_speech(
    video_source: str | os.PathLike[str] | bytes | BinaryIO,
    waveform: np.ndarray,
    path: str | os.PathLike[str],
    sampling_rate: int = SAMPLING_RATE,
) -> None:
    """Write an mp4 file with the pictures of a video and the given speech (AAC) in place of its sound.

    The video stream is copied bit by bit where mp4 players know its codec (H.264, HEVC, AV1) and is encoded
    to H.264 otherwise. The first picture and the first sample are at time 0. The file appears under its name
    only when it is complete, so that `path` may be the source.

    Args:
        video_source: path, http(s) URL, bytes or seekable binary file.
        waveform: float (N,), speech; samples outside [-1, 1] are clipped.
        path: the mp4 file to write.
        sampling_rate: samples per second of the waveform.

    Raises:
        UnreadableVideoError, NoVideoStreamError: the source cannot be read, or holds no pictures.
        Lip2SpeechError: the waveform is not 1-D.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if waveform.ndim != 1:
        raise Lip2SpeechError(f"A waveform is a 1-D array of samples, got shape {waveform.shape}.")
    with local_source(video_source) as opened, atomic_file(path) as unfinished:
        _mux(opened, describe(video_source), waveform, sampling_rate, unfinished)


def _mux(
    opened: os.PathLike | BinaryIO, name: str, waveform: np.ndarray, sampling_rate: int, path: Path
) -> None:
    with open_container(opened, name) as source:
        stream = video_stream(source)
        if stream is None:
            raise NoVideoStreamError(
                f"{name} has no video stream: give the video that the speech was made from"
            )
        codec = stream.codec_context.name
    ways = (_copied, _encoded) if codec in COPIED_CODECS else (_encoded,)
    for way in ways:
        try:
            with (
                open_container(opened, name) as source,
                av.open(ffmpeg_name(path), "w", format="mp4", options={"movflags": "faststart"}) as target,
            ):
                _write(target, source, way, waveform, sampling_rate)
            return
        except (av.FFmpegError, ValueError) as error:
            # Old AVI files and some streams lack time stamps, which a copy needs.
            if way is ways[-1]:
                raise UnreadableVideoError(f"{name} cannot be written as mp4: {error}") from error
            logger.warning(
                "The %s stream of %s cannot be copied into mp4 (%s) and is encoded again.", codec, name, error
            )


def _write(
    target: OutputContainer, source: InputContainer, way: Callable, waveform: np.ndarray, sampling_rate: int
) -> None:
    pictures = way(source, target, video_stream(source))
    speech = target.add_stream("aac", rate=sampling_rate, layout="mono")
    speech.bit_rate = AAC_BIT_RATE
    for packet in _by_time(pictures, _sound_packets(speech, np.clip(waveform, -1.0, 1.0), sampling_rate)):
        target.mux(packet)


# The two ways to bring the pictures over. Each adds its stream to the target at once, since all streams must
# be known before the first packet is written, and returns the packets.


def _copied(source: InputContainer, target: OutputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    return _copied_packets(source.demux(stream), target.add_stream_from_template(stream))


def _encoded(source: InputContainer, target: OutputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    rate = stream.average_rate or FRAME_RATE
    video = target.add_stream("libx264", rate=rate)
    video.pix_fmt = "yuv420p"
    video.options = {"crf": "16", "preset": "medium"}
    if stream.sample_aspect_ratio:
        video.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio
    if stream.time_base:
        video.codec_context.time_base = stream.time_base
    return _encoded_packets(source.decode(stream), video, 1 / Fraction(rate))


def _copied_packets(packets: Iterable[av.Packet], copy: av.VideoStream) -> Iterator[av.Packet]:
    packets = (packet for packet in packets if packet.size)  # the last is empty
    # Packets come in decoding order, in which the first picture to be shown is among the first few.
    head = list(itertools.islice(packets, LONGEST_REORDERING))
    start = min(
        (packet.pts for packet in head if packet.pts is not None and not packet.is_discard), default=0
    )
    for packet in itertools.chain(head, packets):
        if packet.pts is None or packet.dts is None:
            raise ValueError("a packet has no time stamp")
        packet.pts -= start
        packet.dts -= start
        packet.stream = copy
        yield packet


def _encoded_packets(
    frames: Iterable[av.VideoFrame], video: av.VideoStream, usual: Fraction
) -> Iterator[av.Packet]:
    display = Display("yuv420p", even=True)
    start = None
    for index, frame in enumerate(frames):
        picture = display(frame)
        if start is None:
            start = picture.pts or 0
            video.width, video.height = picture.width, picture.height
        if picture.pts is not None:
            picture.pts -= start
        else:  # a bare stream of pictures
            picture.pts, picture.time_base = index, usual
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


def _by_time(first: Iterable[av.Packet], second: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Two streams of packets merged by decoding time, so that a player finds sound beside its pictures."""
    return heapq.merge(first, second, key=lambda packet: (packet.dts or 0) * packet.time_base)
