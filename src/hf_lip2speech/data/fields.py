"""The fields of a prepared clip, and how the file of each is read and checked."""

import tokenize
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile

from .. import constants
from ..errors import DatasetError
from ..media.sources import ffmpeg_name, one_file

LARGEST = 100  # of a log-mel, of which e**-100 and e**100 are no magnitudes, or an embedding
# what the readers of video, sound and arrays raise for a damaged file
DAMAGE = (
    *(av.FFmpegError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    tokenize.TokenError,
)


@contextmanager
def named_damage(source: str | Path | BinaryIO) -> Generator[None]:
    """What reading a damaged file raises, inside the block, becomes a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, av.FFmpegError):
            raise  # of the machine: no permission, a lost network, ...
        name = source if isinstance(source, str | Path) else "a prepared file"
        raise DatasetError(
            f"{name} is damaged ({error}). Remove it and run the same `hf-lip2speech prepare` again."
        ) from error


def read_crops(source: Path | BinaryIO) -> np.ndarray:
    """The mouth crops of a prepared folder's video, uint8 (T, 96, 96).

    Straight to gray, since its size and frame rate are known: a third of the time of reading any video.

    Raises:
        DatasetError: It is damaged.
    """
    opened = ffmpeg_name(source) if isinstance(source, Path) else source
    with named_damage(source), av.open(opened, **one_file()) as container:
        return np.stack([_gray(picture) for picture in container.decode(container.streams.video[0])])


def _gray(picture: av.VideoFrame) -> np.ndarray:
    if picture.is_corrupt:  # FFmpeg makes up what it could not decode
        raise ValueError("not all of its pictures can be decoded")
    return picture.to_ndarray(format="gray", threads=1)


def _read_floats(source: Path | BinaryIO) -> np.ndarray:
    values = np.load(source)
    if values.dtype.kind != "f" or not -LARGEST < values.min() <= values.max() < LARGEST:  # or NaN
        raise ValueError(f"{values.dtype} numbers; expected floats within +-{LARGEST}")
    return values


def _read_units(source: Path | BinaryIO) -> np.ndarray:
    given = np.load(source)
    units = given.astype(np.int64)
    if given.dtype.kind not in "iu" or (units.size and units.min() < 0):
        raise ValueError(f"negative or {given.dtype} numbers; expected units from 0 on")
    return units


def read_waveform(source: Path | BinaryIO) -> np.ndarray:
    """The sound of a prepared folder's clip, float32 (640T,)."""
    waveform, rate = soundfile.read(source, dtype="float32")
    if rate != constants.SAMPLING_RATE or not np.isfinite(waveform).all():
        raise ValueError(f"sampled at {rate} Hz or not finite; expected {constants.SAMPLING_RATE} Hz")
    return waveform


def word_times(words: Sequence[dict[str, Any]]) -> np.ndarray:
    """float32 (words, 2), start and end in seconds, of a row's decoded words."""
    return np.array([(word["start"], word["end"]) for word in words], np.float32).reshape(-1, 2)


# Field of an item -> the column that holds it or its file, how that is read, its shape for T video frames.
READERS: dict[str, tuple[str, Callable[[Any], Any], Callable[[int], tuple[int, ...]] | None]] = {
    "frames": ("video", read_crops, lambda frames: (frames, constants.MOUTH_SIZE, constants.MOUTH_SIZE)),
    "mel": ("mel", _read_floats, lambda frames: (constants.MEL_PER_FRAME * frames, constants.NUM_MEL_BINS)),
    "unit_ids": ("units", _read_units, lambda frames: (constants.UNITS_PER_FRAME * frames,)),
    "speaker_embeddings": ("speaker_embedding", _read_floats, lambda _: (constants.SPEAKER_EMBEDDING_DIM,)),
    "waveform": ("audio", read_waveform, lambda frames: (constants.SAMPLES_PER_FRAME * frames,)),
    "text": ("text", str, None),
    "word_times": ("words", word_times, None),
    "visual_units": ("visual_units", _read_units, lambda frames: (frames,)),
}
FIELDS = tuple(READERS)[:-1]  # by default; few folders have visual units
