"""The voices that a visitor chooses from: names that say who they are, and a sample of each."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import LimitError
from ...loading import BUNDLED
from ...pipeline import LipToSpeechPipeline
from ..repository import RENDERED_SPEAKER

BUNDLED_NAMES = {
    "grid_s1": "British man",
    "awb": "Scottish man (synthetic)",
    "kal": "American man, robotic (synthetic)",
    "rms": "American man (synthetic)",
    "slt": "American woman (synthetic)",
}


def is_bundled(speak: LipToSpeechPipeline) -> bool:
    return Path(speak.model.config._name_or_path) == BUNDLED


def voice_choices(speak: LipToSpeechPipeline) -> list[tuple[str, str]]:
    """(name for people, voice of the model), the default first."""
    names = BUNDLED_NAMES if is_bundled(speak) else {}
    default = speak.model.config.default_voice
    return [(names.get(voice, voice), voice) for voice in sorted(speak.voices, key=lambda v: v != default)]


def samples(speak: LipToSpeechPipeline) -> Callable[[str], tuple[int, np.ndarray]]:
    """A function from a voice of the model to what the rendered speaker says in it, spoken when it is asked
    for first: sampling rate, int16 (N,)."""

    @cache
    def sample(voice: str) -> tuple[int, np.ndarray]:
        if voice not in speak.voices:  # a path would be read
            raise LimitError("There is no such voice.")
        speech = speak(str(RENDERED_SPEAKER), speaker=voice)
        return speech["sampling_rate"], (speech["audio"] * 32767).round().astype(np.int16)

    return sample
