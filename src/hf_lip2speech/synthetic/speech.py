"""Sentences spoken with flite's four voices: sound, phone times and word times."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np

from ..constants import SAMPLING_RATE
from ..data.corpora import GRID_SENTENCE, Word
from ..errors import FliteError
from ..media.audio import read_audio
from .visemes import Phone

# Speaker -> flite's name of the voice, and by how much it is slowed to speak GRID's sentences in about 2 s:
# kal would need only 1.3 s.
VOICES = {"awb": ("awb", 1.2), "kal": ("kal16", 1.6), "rms": ("rms", 1.2), "slt": ("slt", 1.25)}

PAUSE = "pau"  # flite's phone of silence
LETTER_A = "ay"  # flite takes the letter for the article


@dataclass(frozen=True)
class Speech:
    """What flite said, without the silence around it: float32 (N,), 16 kHz, from the first phone's start to
    the last one's end, with the times in it of phones, silences between words included, and words."""

    waveform: np.ndarray
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]


def flite_version() -> str:
    """What `flite --version` says it is.

    Raises:
        FliteError: flite is missing, or lacks a voice: it would silently use another one.
    """
    listed = _flite("-lv").split()
    needed = [voice for voice, _ in VOICES.values()]
    if missing := [voice for voice in needed if voice not in listed]:
        raise FliteError(
            f"flite has no voice {', '.join(missing)} (`flite -lv` prints {' '.join(listed)!r}); expected "
            f"all of {', '.join(needed)}. Install flite with its usual voices, as Debian and Fedora have it."
        )
    lines = _flite("--version").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if "version:" in line), "unknown")


def speak(text: str, speaker: str, slowness: float = 1.0) -> Speech:
    """Speak a sentence.

    Args:
        text: Words of letters and apostrophes, such as "bin blue at f two now".
        speaker: One of VOICES.
        slowness: By which the speaker's usual durations are multiplied.

    Raises:
        FliteError: flite is missing, fails, or says one of the words as several.
    """
    spoken = text.split()
    grid = all(word in slot.values() for word, slot in zip(spoken, GRID_SENTENCE, strict=False))
    words = [LETTER_A if (grid, place, word) == (True, 3, "a") else word for place, word in enumerate(spoken)]
    voice, stretch = VOICES[speaker]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "speech.wav")
        duration = f"duration_stretch={stretch * slowness:.4f}"
        printed = _flite("-voice", voice, "--setf", duration, "-psdur", "-t", " ".join(words), "-o", path)
        waveform = read_audio(path)
    phones, end = [], 0.0
    for field in printed.split():
        name, _, time = field.partition(":")
        phones.append(Phone(name, end, float(time)))
        end = float(time)
    sounding = [phone for phone in phones if phone.name != PAUSE]
    start, end = sounding[0].start, sounding[-1].end
    inside = [phone for phone in phones if start <= phone.start and phone.end <= end]
    inside = [Phone(phone.name, phone.start - start, phone.end - start) for phone in inside]
    said = [phone for phone in inside if phone.name != PAUSE]
    edges = _word_edges(_phones_of(words, voice), [phone.name for phone in said])
    timed = [
        Word(word, said[first].start, said[last - 1].end)
        for word, (first, last) in zip(spoken, pairwise(edges), strict=True)
    ]
    first, last = round(start * SAMPLING_RATE), round(end * SAMPLING_RATE)
    return Speech(waveform[first:last], tuple(inside), tuple(timed))


def _phones_of(words: Sequence[str], voice: str) -> list[list[str]]:
    """The phones of each word, said with pauses between them."""
    printed = _flite("-voice", voice, "-ps", "-t", ", ".join(words), "-o", "none").split()
    groups = [list(names) for pause, names in groupby(printed, PAUSE.__eq__) if not pause]
    if len(groups) != len(words):
        raise FliteError(
            f"flite's voice {voice} says {' '.join(words)!r} as {' '.join(printed)!r}: {len(groups)} words, "
            f"expected {len(words)}. Write abbreviations and numbers as words."
        )
    return groups


def _word_edges(words: Sequence[Sequence[str]], said: Sequence[str]) -> list[int]:
    """Where each word begins among the phones of a sentence, and the end.

    In a sentence words may be said otherwise than alone ("for" as f er), so both are matched like texts.
    """
    alone = [name for word in words for name in word]
    places = np.full(len(alone) + 1, len(said))
    for _, first, last, start, end in SequenceMatcher(None, alone, said, autojunk=False).get_opcodes():
        places[first:last] = np.linspace(start, end, last - first, endpoint=False)
    edges, count = places[np.cumsum([0, *map(len, words)])], np.arange(len(words) + 1)
    edges[0] = 0
    edges = np.maximum.accumulate(edges - count) + count  # each word keeps a phone
    return np.minimum(edges, len(said) - count[::-1]).tolist()


def _flite(*arguments: str) -> str:
    """What flite prints."""
    program = shutil.which("flite")
    if program is None:
        raise FliteError(
            "flite, the program that speaks for the rendered speakers, is not on the PATH; expected flite "
            "2.x. Install it (Debian, Ubuntu: apt-get install flite; Fedora: dnf install flite)."
        )
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    # `flite --version` exits with 1 though nothing is wrong.
    if done.returncode and "--version" not in arguments:
        raise FliteError(
            f"{' '.join([program, *arguments])!r} failed with {done.returncode}: "
            f"{done.stderr.strip() or 'no message'}. Expected flite 2.x with the voices awb, kal16, rms and "
            "slt (`flite -lv` lists them)."
        )
    return done.stdout
