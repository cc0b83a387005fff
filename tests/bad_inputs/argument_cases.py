"""Odd values for the arguments of the pipeline, of a stream, and of what reads and writes sound and video."""

import functools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import open_video, write_video
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.streaming import LipToSpeechStream

from ..media.clips import numbered
from ..tiny_model import spelling_model
from .judging import Case, Wrong
from .material import clip, pipe, sound

VALUES = {
    "True": True,
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "1e300": 1e300,
    "1e20": 1e20,
    "10**30": 10**30,
    "str": "x",
    "empty": "",
    "surrogate": "\udcff",
    "NUL": "a\0b",
    "list": [],
    "dict": {},
    "bytes": b"x",
    "object": object(),
    "scalar array": np.array(1.0),
    "array": np.zeros(3),
    "tensor": torch.zeros(2),
    "complex": 1j,
    "function": len,
    "class": int,
}
OF_A_CALL = (
    "batch_size",
    "cropped",
    "detector",
    "end",
    "face",
    "num_hypotheses",
    "num_workers",
    "on_error",
    "pitch_shift",
    "progress",
    "return_audio",
    "return_f0",
    "return_text",
    "speaker",
    "start",
    "text",
    "vocabulary",
)
FRAMES = numbered(4, 96, 96)
PUSHED = {
    "None": None,
    "empty": FRAMES[:0],
    "gray": FRAMES[0, ..., 0],
    "floats": FRAMES[0] / 255,
    "RGBA": np.zeros((96, 96, 4), np.uint8),
    "one pixel": FRAMES[0, :1, :1],
    "thin": np.zeros((2, 500, 3), np.uint8),
    "no height": FRAMES[0, :0],
    "a list of numbers": FRAMES[0].tolist(),
    "a tensor": torch.from_numpy(FRAMES[0]),
    "two sizes": [FRAMES[0], FRAMES[1, :50]],
}


@functools.cache
def reader() -> LipToSpeechPipeline:
    return LipToSpeechPipeline(model=spelling_model(), feature_extractor=Lip2SpeechFeatureExtractor())


def _called(name: str, value: Any, _: Path) -> Any:
    options = {"cropped": name not in ("detector", "face"), name: value}
    if name in ("num_hypotheses", "return_audio", "vocabulary"):
        options["return_text"] = True
    (speech,) = reader()([{"frames": FRAMES, "fps": 25}], **options)
    return (speech, len(FRAMES)) if "audio" in speech else speech["text"]


def _streamed(frames: Any, _: Path, times: tuple = (), **options: Any) -> Any:
    stream = LipToSpeechStream(pipe(), **options)
    spoken = [stream.push(FRAMES[0], timestamp=time) for time in times]
    spoken += [stream.push(frames), stream.flush()]
    if not all(np.isfinite(part).all() for part in spoken):
        raise Wrong("samples that are no sound")
    return sum(map(len, spoken))


def _count_frames(fps: Any, _: Path) -> int:
    with open_video(clip("mp4"), fps) as video:
        return sum(1 for _ in video)


def _muxed(waveform: Any, rate: Any, folder: Path) -> Any:
    (folder / "clip.mp4").write_bytes(clip("mp4"))
    return mux_speech(folder / "clip.mp4", waveform, folder / "out.mp4", rate)


def arguments() -> Iterator[Case]:
    values: dict[str, Any] = VALUES | {
        "None": None,
        "a fraction": Fraction(25),
        "a NumPy number": np.int64(8000),
    }
    quiet = np.zeros(1600, np.float32)
    acts: dict[str, Callable[[Any, Path], Any]] = {
        "read_audio": lambda rate, _: len(read_audio(sound(), rate)),
        "write_audio": lambda rate, folder: write_audio(folder / "out.wav", quiet, rate),
        "mux_speech": lambda rate, folder: _muxed(quiet, rate, folder),
        "open_video": _count_frames,
        "write_video": lambda fps, folder: write_video(folder / "out.mp4", FRAMES, fps),
    }
    for title, value in values.items():
        for name in OF_A_CALL:
            yield Case("odd argument", f"{name}: {title}", functools.partial(_called, name, value))
        for name, act in acts.items():
            yield Case("odd rate", f"{name}: {title}", functools.partial(act, value))
        for name in ("look_ahead", "chunk", "context", "fps"):
            act = functools.partial(_streamed, FRAMES, **{name: value})
            yield Case("stream", f"{name}: {title}", act)
        act = functools.partial(_streamed, FRAMES, times=(0.0, value))
        yield Case("stream", f"timestamp: {title}", act)
    for title, frames in PUSHED.items():
        yield Case("stream", f"frames: {title}", functools.partial(_streamed, frames))
    for title, waveform in {
        "NaN": quiet * math.nan,
        "two channels": np.zeros((2, 1600)),
        "none": np.zeros(0),
        "a gradient": torch.zeros(1600, requires_grad=True),
        "objects": np.array([None] * 10),
        "text": "sound",
    }.items():
        write = lambda folder, waveform=waveform: write_audio(folder / "out.wav", waveform)  # noqa: E731
        yield Case("waveform", f"write_audio: {title}", write)
        yield Case("waveform", f"mux_speech: {title}", functools.partial(_muxed, waveform, 16_000))
