"""Small good things to damage, a clip in every container, a model, sound; and ways to damage bytes."""

import functools
import io
import random
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.video import open_video
from hf_lip2speech.pipeline import LipToSpeechPipeline

from ..media.clips import encode, numbered
from ..tiny_model import tiny_model

FRAMES = 12
CONTAINERS = {
    "mp4": ("mp4", "libx264"),
    "mkv": ("matroska", "libx264"),
    "avi": ("avi", "mpeg4"),
    "mov": ("mov", "mpeg4"),
    "webm": ("webm", "libvpx-vp9"),
    "mpg": ("mpeg", "mpeg1video"),
}


@functools.cache
def clip(suffix: str) -> bytes:
    container, codec = CONTAINERS[suffix]
    return encode(numbered(FRAMES, 96, 96), container=container, codec=codec)


@functools.cache
def sound(suffix: str = "wav") -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 24_000).clip(-1, 1)
    soundfile.write(buffer, noise, 16_000, format={"ogg": "OGG", "mp3": "MP3"}.get(suffix, suffix.upper()))
    return buffer.getvalue()


@functools.cache
def pipe() -> LipToSpeechPipeline:
    return LipToSpeechPipeline(model=tiny_model(), feature_extractor=Lip2SpeechFeatureExtractor())


@functools.cache
def model_files() -> dict[str, bytes]:
    """The files of the folder of a small composite."""
    with tempfile.TemporaryDirectory() as folder:
        pipe().save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def model_folder(folder: Path, **changed: bytes | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in model_files().items():
        (folder / name).write_bytes(content)
    return folder


def spoken(source: object, **options: object) -> tuple[dict, int]:
    """Speech, and the number of frames that it should have."""
    options = {"cropped": True} | options
    speech = pipe()(source, **options)
    if isinstance(source, dict) and "frames" in source and source["fps"] == 25:
        return speech, len(source["frames"])
    with open_video(source) as video:
        return speech, sum(1 for _ in video)


def damaged(data: bytes, amount: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Some ways to damage a file, each with its name: cut, flipped, zeroed, swapped, repeated, shifted."""
    dice = random.Random(seed)
    for part in range(amount):
        yield f"cut {part}", data[: len(data) * part // amount]
    for number in range(3 * amount):
        changed = bytearray(data)
        near = len(data) if number % 3 else min(len(data), 600)  # headers are where it matters
        for _ in range(1 + number % 4 * 5):
            changed[dice.randrange(near)] ^= 1 << dice.randrange(8)
        yield f"flipped {number}", bytes(changed)
    for number in range(amount):
        changed = bytearray(data)
        start, size = dice.randrange(len(data)), dice.randrange(4, 200)
        changed[start : start + size] = (b"\0", b"\xff")[number % 2] * len(changed[start : start + size])
        yield f"overwritten {number}", bytes(changed)
    half = len(data) // 2
    yield "swapped halves", data[half:] + data[:half]
    yield "twice", data + data
    yield "no head", data[64:]
    yield "zeros first", bytes(64) + data
    yield "zeros last", data + bytes(4096)


def box(data: bytes, kind: bytes, offset: int, value: int) -> bytes:
    """An mp4 with another 32-bit number, `offset` bytes after the name of the first box of a kind."""
    start = data.index(kind) + 4 + offset
    return data[:start] + struct.pack(">I", value) + data[start + 4 :]
