"""Sentences of GRID's grammar, spoken with flite's four voices: sound and phone times."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import SAMPLING_RATE
from ..data.corpora import Word
from ..errors import FliteError
from ..media.audio import read_audio
from .visemes import Phone

# Speaker -> flite's name of the voice, and by how much it is slowed to speak GRID's sentences in about 2 s:
# kal would need only 1.3 s.
VOICES = {"awb": ("awb", 1.2), "kal": ("kal16", 1.6), "rms": ("rms", 1.2), "slt": ("slt", 1.25)}

# flite's phones of each word, the same for all four voices: they tell where a word ends.
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
        phones: With times in it, silences between words included.
        words: With times in it.
    """

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
    """Speak a GRID sentence.

    Args:
        text: Such as "bin blue at f two now".
        speaker: One of VOICES.
        slowness: By which the speaker's usual durations are multiplied.

    Raises:
        FliteError: flite is missing, fails, or speaks otherwise than expected.
    """
    spoken = text.split()
    words = [_SPELLED.get(word, word) if place == 3 else word for place, word in enumerate(spoken)]
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
    sounding = [phone for phone in phones if phone.name != "pau"]
    expected = [name for word in spoken for name in _SPOKEN[word].split()]
    if [phone.name for phone in sounding] != expected:
        raise FliteError(
            f"flite's voice {voice} says {text!r} as {printed.strip()!r}; expected the phones "
            f"{' '.join(expected)}. Use flite 2.2, as Debian has it."
        )
    start, end = sounding[0].start, sounding[-1].end
    inside = [phone for phone in phones if start <= phone.start and phone.end <= end]
    inside = [Phone(phone.name, phone.start - start, phone.end - start) for phone in inside]
    left = iter(phone for phone in inside if phone.name != "pau")
    timed = []
    for word in spoken:
        its = [next(left) for _ in _SPOKEN[word].split()]
        timed.append(Word(word, its[0].start, its[-1].end))
    first, last = round(start * SAMPLING_RATE), round(end * SAMPLING_RATE)
    return Speech(waveform[first:last], tuple(inside), tuple(timed))


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
