"""Sentences of GRID's grammar, spoken by the four people whose voices flite brings: sound and phone times."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.corpora import Word
from ..errors import FliteError
from ..media.audio import read_audio
from .visemes import Phone

# Talker -> flite's name of the voice, and by how much it is slowed to speak GRID's sentences in about 2 s:
# kal left alone would be over in 1.3 s.
VOICES = {"awb": ("awb", 1.2), "kal": ("kal16", 1.6), "rms": ("rms", 1.2), "slt": ("slt", 1.25)}

# flite's phones of the words, the same for all four voices: they say where a word ends.
_SPOKEN = {
    **{"bin": "b ih n", "lay": "l ey", "place": "p l ey s", "set": "s eh t"},
    **{"blue": "b l uw", "green": "g r iy n", "red": "r eh d", "white": "w ay t"},
    **{"at": "ae t", "by": "b ay", "in": "ih n", "with": "w ih dh"},
    **{"a": "ey", "b": "b iy", "c": "s iy", "d": "d iy", "e": "iy", "f": "eh f", "g": "jh iy", "h": "ey ch"},
    **{"i": "ay", "j": "jh ey", "k": "k ey", "l": "eh l", "m": "eh m", "n": "eh n", "o": "ow", "p": "p iy"},
    **{"q": "k y uw", "r": "aa r", "s": "eh s", "t": "t iy", "u": "y uw", "v": "v iy", "x": "eh k s"},
    **{"y": "w ay", "z": "z iy", "zero": "z ih r ow", "one": "w ah n", "two": "t uw", "three": "th r iy"},
    **{"four": "f ao r", "five": "f ay v", "six": "s ih k s", "seven": "s eh v ax n", "eight": "ey t"},
    **{"nine": "n ay n", "again": "ax g eh n", "now": "n aw", "please": "p l iy z", "soon": "s uw n"},
}
_SPELLED = {"a": "ay"}  # flite takes the letter for the article


@dataclass(frozen=True)
class Speech:
    """What flite said, without the silence around it.

    Attributes:
        waveform: float32 (N,), 16 kHz, from the first phone's start to the last one's end.
        phones: with times in it, silences between words included.
        words: with times in it.
    """

    waveform: np.ndarray
    phones: tuple[Phone, ...]
    words: tuple[Word, ...]


def flite_program() -> str:
    """Where flite is.

    Raises:
        FliteError: It is not installed.
    """
    program = shutil.which("flite")
    if program is None:
        raise FliteError(
            "flite, the program that speaks for the rendered talkers, is not on the PATH; expected flite "
            "2.x. Install it (Debian, Ubuntu: apt-get install flite; Fedora: dnf install flite)."
        )
    return program


def flite_version() -> str:
    """What `flite --version` says it is.

    Raises:
        FliteError: flite is missing, or lacks a voice: it would take another one without a word.
    """
    listed = _run(flite_program(), "-lv").split()
    if missing := [voice for voice, _ in VOICES.values() if voice not in listed]:
        raise FliteError(
            f"flite has no voice {', '.join(missing)} (`flite -lv` prints {' '.join(listed)!r}); expected "
            f"all of {', '.join(voice for voice, _ in VOICES.values())}. Install flite with its usual "
            "voices, as Debian and Fedora have it."
        )
    lines = _run(flite_program(), "--version").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if "version:" in line), "unknown")


def speak(text: str, talker: str, slowness: float = 1.0) -> Speech:
    """Speak a GRID sentence.

    Args:
        text: such as "bin blue at f two now".
        talker: one of VOICES.
        slowness: by which the talker's usual durations are multiplied.

    Raises:
        FliteError: flite is missing, fails, or speaks otherwise than expected.
    """
    spoken = text.split()
    voice, stretch = VOICES[talker]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        words = " ".join(
            _SPELLED.get(word, word) if place == 3 else word for place, word in enumerate(spoken)
        )
        printed = _run(
            *(flite_program(), "-voice", voice, "--setf", f"duration_stretch={stretch * slowness:.4f}"),
            *("-psdur", "-t", words, "-o", str(path)),
        )
        waveform = read_audio(path)
    phones = _read_phones(printed)
    sounding = [phone for phone in phones if phone.name != "pau"]
    expected = [name for word in spoken for name in _SPOKEN[word].split()]
    if [phone.name for phone in sounding] != expected:
        raise FliteError(
            f"flite's voice {voice} says {text!r} as {printed.strip()!r}; expected the phones "
            f"{' '.join(expected)}. Use flite 2.2, as Debian has it."
        )
    start, end = sounding[0].start, sounding[-1].end
    phones = [
        Phone(phone.name, phone.start - start, phone.end - start)
        for phone in phones
        if start <= phone.start and phone.end <= end
    ]
    first, last = round(start * 16000), round(end * 16000)
    return Speech(waveform[first:last], tuple(phones), tuple(_word_times(spoken, phones)))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # `flite --version` leaves with 1 though nothing is wrong.
    if done.returncode and "--version" not in command:
        raise FliteError(
            f"{' '.join(command)!r} failed with {done.returncode}: {done.stderr.strip() or 'no message'}. "
            "Expected flite 2.x with the voices awb, kal16, rms and slt (`flite -lv` lists them)."
        )
    return done.stdout


def _read_phones(printed: str) -> list[Phone]:
    phones, start = [], 0.0
    for field in printed.split():
        name, _, end = field.partition(":")
        phones.append(Phone(name, start, float(end)))
        start = float(end)
    return phones


def _word_times(spoken: list[str], phones: list[Phone]) -> list[Word]:
    left = [phone for phone in phones if phone.name != "pau"]
    words = []
    for word in spoken:
        count = len(_SPOKEN[word].split())
        words.append(Word(word, left[0].start, left[count - 1].end))
        left = left[count:]
    return words
