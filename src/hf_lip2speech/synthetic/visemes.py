"""Phones with times -> how the mouth moves: targets of each phone, blended by dominance functions.

The blending is that of Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993: each
phone pulls each articulator towards its target with a dominance that decays exponentially with the distance
in time; the articulator goes to the mean, weighted by the dominances. So rounding starts before its vowel,
and a consonant without a shape of its own takes that of its neighbours. The targets are this package's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

ARTICULATORS = ("jaw", "gap", "width", "round", "raise", "tuck", "tip", "out", "press")
# jaw: 0 teeth together, 1 wide; gap: between the lips, 0..1; width: -1 narrow .. 1 spread; round: protrusion;
# raise: of the upper lip, baring teeth; tuck: lower lip under the upper teeth; tip: the tongue's, 1 behind
# the upper teeth; out: the tongue's tip between the teeth; press: of closed lips against each other.


@dataclass(frozen=True)
class Phone:
    """A phone of flite's US English set, or "pau" for silence; seconds."""

    name: str
    start: float
    end: float


# Of sounds made at one place, the voiceless ones have the higher jaw and the firmer lips, nasals the loosest.
#              jaw   gap  width round raise tuck  tip  out press
_TARGETS: dict[str, tuple[float, ...]] = {
    "pau": (0.04, 0.00, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.3),
    "iy": (0.12, 0.30, 0.9, 0.0, 0.25, 0.0, 0.3, 0.0, 0.0),
    "ih": (0.24, 0.36, 0.4, 0.0, 0.1, 0.0, 0.3, 0.0, 0.0),
    "eh": (0.44, 0.54, 0.35, 0.0, 0.1, 0.0, 0.2, 0.0, 0.0),
    "ae": (0.62, 0.68, 0.5, 0.0, 0.15, 0.0, 0.15, 0.0, 0.0),
    "aa": (0.95, 0.95, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "ah": (0.55, 0.58, 0.0, 0.05, 0.0, 0.0, 0.1, 0.0, 0.0),
    "ax": (0.32, 0.36, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0),
    "ao": (0.66, 0.64, -0.6, 0.65, 0.0, 0.0, 0.0, 0.0, 0.0),
    "uw": (0.14, 0.15, -1.0, 1.0, 0.0, 0.0, 0.2, 0.0, 0.0),
    "o": (0.48, 0.48, -0.75, 0.85, 0.0, 0.0, 0.0, 0.0, 0.0),  # where "ow" starts
    "p": (0.07, 0.00, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 1.0),
    "b": (0.11, 0.00, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.5),
    "m": (0.15, 0.00, 0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0),
    "f": (0.08, 0.15, 0.1, 0.0, 0.55, 1.0, 0.3, 0.0, 0.0),
    "v": (0.15, 0.20, 0.1, 0.0, 0.30, 1.0, 0.3, 0.0, 0.0),
    "th": (0.16, 0.32, 0.1, 0.0, 0.2, 0.0, 0.6, 1.0, 0.0),
    "dh": (0.24, 0.34, 0.1, 0.0, 0.1, 0.0, 0.6, 0.8, 0.0),
    "t": (0.07, 0.24, 0.2, 0.0, 0.15, 0.0, 1.0, 0.0, 0.0),
    "d": (0.15, 0.28, 0.2, 0.0, 0.1, 0.0, 1.0, 0.0, 0.0),
    "n": (0.22, 0.32, 0.1, 0.0, 0.05, 0.0, 1.0, 0.0, 0.0),
    "l": (0.36, 0.42, 0.1, 0.0, 0.15, 0.0, 1.0, 0.1, 0.0),
    "s": (0.01, 0.26, 0.5, 0.0, 0.35, 0.0, 0.7, 0.0, 0.0),
    "z": (0.05, 0.29, 0.4, 0.0, 0.25, 0.0, 0.7, 0.0, 0.0),
    "ch": (0.01, 0.38, -0.5, 0.75, 0.6, 0.0, 0.6, 0.0, 0.0),
    "jh": (0.06, 0.35, -0.4, 0.65, 0.45, 0.0, 0.6, 0.0, 0.0),
    "k": (0.24, 0.33, 0.1, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0),
    "g": (0.32, 0.37, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0),
    "r": (0.18, 0.22, -0.5, 0.6, 0.15, 0.0, 0.4, 0.0, 0.0),
    "w": (0.08, 0.07, -1.0, 1.0, 0.0, 0.0, 0.2, 0.0, 0.0),
    "y": (0.10, 0.24, 0.7, 0.0, 0.15, 0.0, 0.4, 0.0, 0.0),
}
_CLOSED = ("p", "b", "m")
_GLIDES = {  # a diphthong's two targets and the part of its time that the first takes
    "ey": ("eh", "iy", 0.55),
    "ay": ("aa", "iy", 0.6),
    "aw": ("aa", "uw", 0.55),
    "ow": ("o", "uw", 0.5),
}
# How strongly a phone insists, by articulator; 1 where it is not named. Vowels insist on all but the tongue.
_CONSONANT = dict.fromkeys(("jaw", "gap"), 0.9) | dict.fromkeys(("width", "round"), 0.25)
_INSISTS: dict[str, dict[str, float]] = {
    "pau": dict.fromkeys(("gap", "jaw"), 0.8) | dict.fromkeys(("width", "round"), 0.3),
    **dict.fromkeys(
        _CLOSED, {"gap": 9.0, "jaw": 1.5, "width": 0.2, "round": 0.2, "tuck": 3.0, "out": 3.0, "press": 6.0}
    ),
    **dict.fromkeys(
        ("f", "v"), {"gap": 3.0, "jaw": 2.0, "width": 0.4, "round": 0.3, "raise": 2.0, "tuck": 6.0}
    ),
    **dict.fromkeys(
        ("th", "dh"), {"gap": 2.0, "jaw": 2.0, "width": 0.3, "round": 0.3, "tip": 3.0, "out": 5.0}
    ),
    **dict.fromkeys(("t", "d"), _CONSONANT | {"jaw": 1.5, "gap": 1.2, "tip": 3.0}),
    "n": _CONSONANT | {"tip": 3.0},
    "l": _CONSONANT | {"tip": 4.0},
    **dict.fromkeys(
        ("s", "z"), {"gap": 2.0, "jaw": 4.0, "width": 0.6, "round": 0.35, "raise": 1.5, "tip": 1.5}
    ),
    **dict.fromkeys(("ch", "jh"), {"gap": 2.5, "jaw": 4.0, "width": 2.0, "round": 2.0, "raise": 2.0}),
    **dict.fromkeys(("k", "g"), _CONSONANT | {"jaw": 0.6, "gap": 0.6}),
    "r": {"gap": 1.5, "jaw": 1.0, "width": 1.5, "round": 1.5},
    "w": {"gap": 5.0, "jaw": 2.0, "width": 4.0, "round": 4.0},
    "y": {"gap": 1.2, "jaw": 1.2, "width": 1.2, "round": 0.8},
}
_VOWEL = {"tip": 0.5, "out": 1.0, "tuck": 1.0}
_DECAY = 0.045  # seconds in which a dominance falls to 1/e outside its phone
_SILENT_DECAY = 0.07
_CLOSURE = 0.068  # seconds for which a lip closure lasts at least: longer than a video frame
_RELEASE = 0.03  # seconds from a closure to lips that move freely


def articulate(phones: Sequence[Phone], times: np.ndarray, effort: float = 1.0) -> np.ndarray:
    """The articulators at `times` (T,) in seconds, float32 (T, 9), in the order of ARTICULATORS.

    Phones are in order of time; silence is assumed before and after. `effort` scales the opening of jaw and
    lips; 1 is clear speech.
    """
    names, starts, ends = zip(*_parts(phones), strict=True)
    start, end = np.array(starts)[:, None], np.array(ends)[:, None]
    targets = np.array([_TARGETS[name] for name in names])
    insists = (_INSISTS.get(name, _VOWEL) for name in names)
    weights = np.array([[insist.get(articulator, 1.0) for articulator in ARTICULATORS] for insist in insists])
    decay = np.array([_SILENT_DECAY if name == "pau" else _DECAY for name in names])[:, None]
    # Full within the middle third of the phone, falling off from there.
    margin = (end - start) / 3
    distance = np.maximum(np.maximum(start + margin - times, times - (end - margin)), 0)
    dominance = np.exp(-distance / decay)[:, :, None] * weights[:, None, :]  # (phones, T, articulators)
    track = (dominance * targets[:, None, :]).sum(axis=0) / dominance.sum(axis=0)
    track[:, :2] *= effort
    # Lips that meet do meet: the weighted mean of a short [b] between open vowels would leave a gap.
    for name, first, last in zip(names, starts, ends, strict=True):
        if name in _CLOSED:
            middle, half = (first + last) / 2, max(last - first, _CLOSURE) / 2
            track[:, 1] *= np.clip((np.abs(times - middle) - half) / _RELEASE, 0, 1)
    return track.astype(np.float32)


def _parts(phones: Sequence[Phone]) -> Iterator[tuple[str, float, float]]:
    """Names and times, diphthongs in two parts, between silences."""
    yield "pau", phones[0].start - 1.0, phones[0].start
    for phone in phones:
        if phone.name in _GLIDES:
            first, second, share = _GLIDES[phone.name]
            middle = phone.start + share * (phone.end - phone.start)
            yield first, phone.start, middle
            yield second, middle, phone.end
        else:
            yield phone.name, phone.start, phone.end
    yield "pau", phones[-1].end, phones[-1].end + 1.0
