"""What the demo takes, so that one visitor's file does not keep the others waiting."""

from pathlib import Path

import av

from ...constants import FRAME_RATE
from ...errors import LimitError

MAX_SECONDS = 30  # of a video
MAX_RECORDING_SECONDS = 60  # of a voice
MAX_MEGABYTES = 100  # of a file
MAX_PIXELS = 4096 * 2304  # of a frame: what phones call 4K


def check_video(path: str | Path) -> float | None:
    """Looks at what a video's head says, before any of it is decoded.

    Returns:
        Seconds; None where the head does not tell (films of a browser's camera), or nothing can be read:
        what is wrong with the file is for the decoder to say.

    Raises:
        LimitError: it is too long, or its pictures are too large.
    """
    try:
        with av.open(str(Path(path).absolute())) as container:
            for stream in container.streams.video:
                if stream.width * stream.height > MAX_PIXELS:
                    raise LimitError(
                        f"The pictures of this video have {stream.width}x{stream.height} pixels: at most 4K "
                        "(4096x2304) is taken here. Film or export it smaller."
                    )
            seconds = container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return None
    if seconds is not None and seconds > MAX_SECONDS + 0.5:
        raise _too_long("video", f"lasts {seconds:.0f} s", MAX_SECONDS)
    return seconds


def check_length(frames: int) -> None:
    """To be called while a video is read, with the frames so far at 25 a second: its head may be wrong.

    Raises:
        LimitError: it is too long.
    """
    if frames > (MAX_SECONDS + 0.5) * FRAME_RATE:
        raise _too_long("video", "goes on", MAX_SECONDS)


def check_recording(path: str | Path) -> None:
    """Counts the samples of a recording, a few at a time: its head may say nothing, or anything.

    Raises:
        LimitError: it is too long.
    """
    seconds = 0.0
    try:
        with av.open(str(Path(path).absolute())) as container:
            for frame in container.decode(container.streams.audio[0]) if container.streams.audio else ():
                seconds += frame.samples / frame.sample_rate
                if seconds > MAX_RECORDING_SECONDS + 0.5:
                    raise _too_long("recording", "goes on", MAX_RECORDING_SECONDS)
    except (av.FFmpegError, OSError):
        return


def _too_long(what: str, how_long: str, limit: int) -> LimitError:
    return LimitError(f"This {what} {how_long}: at most {limit} s is taken here. Cut it to the best part.")
