"""Who is seen: the four speakers' faces, and how a clip's seed varies them, as on several days of filming.

Lengths are in units of the distance between the outer corners of the eyes; colours are sRGB in 0..1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Colour = tuple[float, ...]  # red, green, blue


@dataclass(frozen=True)
class Speaker:
    """What all clips of a speaker share."""

    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    clothes: tuple[Colour, ...]
    long_hair: bool
    face_width: float  # half the width at the ears
    chin: float  # height of the chin below the eyes
    jaw: float  # exponent of the jaw's outline: more is squarer
    mouth_width: float  # half, at rest
    upper_lip: float
    lower_lip: float
    nose_width: float
    nose_length: float
    brow: float  # thickness
    eye_open: float  # half the height of the open eye
    stubble: float
    freckles: float
    hairline: float


@dataclass(frozen=True)
class Look(Speaker):
    """A speaker as one clip shows them."""

    scale: float  # pixels per unit in a frame 288 high
    position: tuple[float, float]  # of the head, as parts of the frame from its usual place
    light: tuple[float, ...]  # the direction it comes from
    light_colour: Colour
    ambient: float
    backdrop: tuple[Colour, Colour]  # top and bottom
    garment: Colour
    effort: float  # of articulation
    noise: float  # of the camera, grey levels
    blur: float  # of the camera, pixels


# Hundredths of red, green and blue.
#         skin       lips       hair       iris       clothes
_COLOURS = {
    "awb": "90 71 62 | 74 42 40 | 55 29 13 | 36 52 62 | 24 30 25 | 45 40 33 | 20 24 36",
    "kal": "84 63 51 | 72 42 38 | 16 11  8 | 33 22 13 | 32 42 58 | 55 56 58 | 42 18 18",
    "rms": "58 40 29 | 54 31 28 |  6  5  5 | 20 12  7 | 80 79 74 | 20 36 38 | 48 32 20",
    "slt": "88 68 57 | 78 36 38 | 27 15  9 | 36 40 24 | 52 16 26 | 20 22 26 | 70 68 60",
}
# fmt: off
#       hair:  face:              mouth:               nose:       brow  eye                           hair-
#       long   width chin   jaw   width  upper  lower  width length      open   stubble freckles       line
_SHAPES = {
    "awb": (False, 0.77, 1.46, 2.2, 0.335, 0.062, 0.105, 0.95, 0.63, 1.00, 0.078, 0.15, 0.5, -0.66),
    "kal": (False, 0.80, 1.43, 2.6, 0.340, 0.070, 0.115, 1.00, 0.60, 1.25, 0.078, 0.35, 0.0, -0.58),
    "rms": (False, 0.81, 1.42, 2.4, 0.345, 0.090, 0.130, 1.20, 0.60, 1.15, 0.078, 0.30, 0.0, -0.66),
    "slt": (True,  0.75, 1.38, 2.0, 0.320, 0.085, 0.125, 0.88, 0.57, 0.75, 0.088, 0.00, 0.0, -0.64),
}
# fmt: on


def _colours(text: str) -> list[Colour]:
    return [tuple(int(value) / 100 for value in part.split()) for part in text.split("|")]


def _speaker(name: str) -> Speaker:
    skin, lips, hair, iris, *clothes = _colours(_COLOURS[name])
    return Speaker(skin, lips, hair, iris, tuple(clothes), *_SHAPES[name])


SPEAKERS = {name: _speaker(name) for name in _SHAPES}


def look_of(speaker: str, rng: np.random.Generator) -> Look:
    """The speaker as one clip shows them."""
    own = SPEAKERS[speaker]

    def about(value: float, spread: float) -> float:
        return float(value * (1 + spread * rng.uniform(-1, 1)))

    def tint(colour: Colour, spread: float) -> Colour:
        return tuple(np.clip(np.array(colour) * (1 + spread * rng.uniform(-1, 1, 3)), 0, 1).tolist())

    azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.85)
    light = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    warmth = rng.uniform(-0.06, 0.06)
    brightness = rng.uniform(0.88, 1.08)
    wall = rng.uniform(0.25, 0.8) * (1 + rng.uniform(-0.16, 0.16, 3))
    top, bottom = np.clip(wall * rng.uniform(0.9, 1.15), 0, 1), np.clip(wall * rng.uniform(0.6, 1.0), 0, 1)
    varied: dict[str, Any] = {
        "skin": tint(own.skin, 0.025),
        "lips": tint(own.lips, 0.05),
        "face_width": about(own.face_width, 0.02),
        "mouth_width": about(own.mouth_width, 0.03),
        "upper_lip": about(own.upper_lip, 0.08),
        "lower_lip": about(own.lower_lip, 0.08),
        "stubble": about(own.stubble, 0.5),
        "eye_open": about(own.eye_open, 0.1),
    }
    return Look(
        **vars(own) | varied,
        scale=float(rng.uniform(66, 86)),
        position=(float(rng.uniform(-0.06, 0.06)), float(rng.uniform(-0.03, 0.03))),
        light=tuple(float(part) for part in light),
        light_colour=(brightness * (1 + warmth), brightness, brightness * (1 - warmth)),
        ambient=float(rng.uniform(0.35, 0.6)),
        backdrop=(tuple(map(float, top)), tuple(map(float, bottom))),
        garment=tint(own.clothes[rng.integers(len(own.clothes))], 0.1),
        effort=float(rng.uniform(0.85, 1.12)),
        noise=float(rng.uniform(0.8, 2.5)),
        blur=float(rng.uniform(0.35, 0.7)),
    )
