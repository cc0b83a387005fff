"""Reading and writing sound: any file in, 16 kHz mono out."""

import io
import numbers
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import soundfile
import soxr
from av.container import InputContainer

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError, NoAudioError
from ..files import atomic_file
from .sources import SOUND, as_array, describe, local_source, open_container, video_streams

AudioSource = str | os.PathLike[str] | bytes | BinaryIO | Mapping[str, Any]

# A gap in the time stamps is silence if it is longer than jitter and shorter than what a broken clock makes.
SMALLEST_GAP = 0.05  # seconds
LARGEST_GAP = 60.0
LOWEST_RATE, HIGHEST_RATE = 2_000, 768_000  # samples per second of a recording


def read_audio(source: AudioSource, sampling_rate: int = SAMPLING_RATE, *, track: int = 0) -> np.ndarray:
    """Read the sound of a sound or video file as one channel.

    Args:
        source: path, http(s) URL, bytes or seekable binary file of any format that FFmpeg knows; or
            {"array": (N,), (channels, N) or (N, channels), "sampling_rate": int} with floats in [-1, 1] or
            integers of any type.
        sampling_rate: samples per second to return.
        track: which of the file's sound tracks; see `sound_tracks`.

    Returns:
        float32 (N,) in [-1, 1]. Channels are averaged. The sound of a video starts with its first picture:
        what comes earlier is cut, what is missing is silence, as are gaps in the time stamps.

    Raises:
        NoAudioError: the source cannot be read, or has no sound.
        Lip2SpeechError: no sound has this sampling rate.
    """
    check_sampling_rate(sampling_rate)
    if isinstance(source, Mapping):
        samples, rate = _from_array(source)
    else:
        samples, rate = _decode(source, track)
    if not len(samples):
        raise NoAudioError(f"{describe(source)} has a sound track without samples: give one that has sound.")
    if not np.isfinite(samples).all():
        raise NoAudioError(f"{describe(source)} has samples that are not numbers (NaN, infinite): export it.")
    if rate != sampling_rate:
        samples = soxr.resample(samples, rate, sampling_rate)
    return np.clip(samples, -1.0, 1.0)


def write_audio(
    path: str | os.PathLike[str], waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE
) -> None:
    """Write a waveform, float (N,), clipped to [-1, 1], as 16-bit PCM, .wav or .flac.

    The file appears under its name only when it is complete.

    Raises:
        Lip2SpeechError: another file format, not a 1-D waveform, samples that are not finite, or a sampling
            rate that no sound has.
    """
    check_sampling_rate(sampling_rate)
    path = Path(path)
    if path.suffix.lower() not in (".wav", ".flac"):
        raise Lip2SpeechError(f"Sound is written as .wav or .flac, got {path.name!r}.")
    waveform = as_waveform(waveform)
    if not np.isfinite(waveform).all():
        broken = f"{(~np.isfinite(waveform)).sum()} of the waveform's {len(waveform)} samples"
        raise Lip2SpeechError(f"{broken} are not finite. Look at the model that made them.")
    pcm = np.clip(np.round(waveform * 32768.0), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()  # libsndfile does not say that a disk is full
    soundfile.write(buffer, pcm, sampling_rate, subtype="PCM_16", format=path.suffix[1:].upper())
    with atomic_file(path) as unfinished:
        unfinished.write_bytes(buffer.getbuffer())


def as_waveform(samples: Any) -> np.ndarray:
    """An array, a list or a tensor of one channel of sound as float32 (N,).

    Raises:
        Lip2SpeechError: it has another shape.
    """
    waveform = as_array(samples).astype(np.float32, copy=False)
    if waveform.ndim != 1:
        raise Lip2SpeechError(f"A waveform is a 1-D array of samples, got shape {waveform.shape}.")
    return waveform


def check_sampling_rate(rate: Any) -> None:
    """Raise a Lip2SpeechError for what is not the sampling rate of a sound."""
    if not isinstance(rate, numbers.Integral) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise Lip2SpeechError(
            f"sampling_rate={str(rate)[:50]}: expected a whole number of samples per second from "
            f"{LOWEST_RATE} to {HIGHEST_RATE}."
        )


def _from_array(source: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    if not {"array", "sampling_rate"} <= set(source):
        keys = sorted(map(str, source))
        raise NoAudioError(
            f'Sound in memory is {{"array": samples, "sampling_rate": int}}, got the keys {keys}.'
        )
    try:
        array, rate = as_array(source["array"]), int(source["sampling_rate"])
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        kind, rate = type(source["array"]).__name__, source["sampling_rate"]
        raise NoAudioError(
            f"Sound in memory is one array of samples, got a {kind} at {rate!r} Hz: {error}."
        ) from error
    if array.ndim not in (1, 2):
        raise NoAudioError(f"Sound in memory has 1 or 2 dimensions, got an array of shape {array.shape}.")
    _check_rate(rate, "Sound in memory")
    samples = _to_float(array)
    if samples.ndim == 2:  # the short axis is the channels
        samples = samples.mean(axis=int(samples.shape[0] > samples.shape[1]))
    return np.ascontiguousarray(samples, dtype=np.float32), rate


def _to_float(array: np.ndarray) -> np.ndarray:
    """Samples of any type as float32, integers divided by their range."""
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind not in "iu":
        raise NoAudioError(f"Samples are floats or integers, got an array of {array.dtype}.")
    half = 2.0 ** (8 * array.dtype.itemsize - 1)
    centre = half if array.dtype.kind == "u" else 0.0
    return ((array.astype(np.float64) - centre) / half).astype(np.float32)


def sound_tracks(source: str | os.PathLike[str] | bytes | BinaryIO) -> list[str]:
    """The titles of a file's sound tracks; their languages, or "", where they have none.

    Raises:
        NoAudioError: the source cannot be read.
    """
    name = describe(source)
    with local_source(source, SOUND) as opened, open_container(opened, name, SOUND) as container:
        tags = [stream.metadata for stream in container.streams.audio]
    return [tag.get("title") or tag.get("language", "") for tag in tags]


def _check_rate(rate: int, name: str) -> None:
    """Raise NoAudioError for a rate that no recording has: resampled, it would fill the memory."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        expected = f"expected {LOWEST_RATE} to {HIGHEST_RATE}"
        raise NoAudioError(f"{name} claims {rate} samples per second; {expected}. Export it again.")


def _decode(source: str | os.PathLike[str] | bytes | BinaryIO, track: int = 0) -> tuple[np.ndarray, int]:
    """Samples (N,) and their rate, with time 0 at the first picture if there are pictures."""
    name = describe(source)
    with local_source(source, SOUND) as opened, open_container(opened, name, SOUND) as container:
        if not container.streams.audio:
            raise NoAudioError(f"{name} has no sound track. Give a file with sound.")
        stream = container.streams.audio[track]
        if stream.codec_context is None:
            raise NoAudioError(f"{name} has sound in a format that FFmpeg cannot decode. Export it as .wav.")
        _check_rate(stream.rate, name)
        try:
            chunks = list(_in_time(container, stream))
        except (av.FFmpegError, OSError) as error:
            reason = error.strerror or error
            raise NoAudioError(
                f"{name} cannot be read as sound: {reason}. Does it play elsewhere?"
            ) from error
        return np.concatenate(chunks or [np.zeros(0, dtype=np.float32)]), stream.rate


def _in_time(container: InputContainer, stream: av.AudioStream) -> Iterator[np.ndarray]:
    """Decoded samples and, where the time stamps leave a gap, silence."""
    start = _start_of_pictures(container)
    position = 0  # samples since time 0
    for frame in container.decode(stream):
        samples = _mono(frame)
        if frame.time is not None:
            if start is None:
                start = frame.time - position / stream.rate
            missing = round((frame.time - start) * stream.rate) - position
            if position == 0 and missing < 0:
                samples = samples[-missing:]
            elif (SMALLEST_GAP * stream.rate if position else 0) < missing < LARGEST_GAP * stream.rate:
                yield np.zeros(missing, dtype=np.float32)
                position += missing
        yield samples
        position += len(samples)


def _start_of_pictures(container: InputContainer) -> float | None:
    """Seconds at which the first picture of a video is shown; None for a sound file, cover or not."""
    for stream in video_streams(container):
        if stream.start_time is not None and stream.time_base is not None:
            return float(stream.start_time * stream.time_base)
    return None


def _mono(frame: av.AudioFrame) -> np.ndarray:
    array = frame.to_ndarray()  # (channels, n), or (1, n * channels) where channels are interleaved
    channels = frame.layout.nb_channels
    if frame.format.is_packed:
        array = array.reshape(-1, channels).T
    return _to_float(array).mean(axis=0, dtype=np.float32)
