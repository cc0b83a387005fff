"""Who is seen: the four talkers' looks, and how a clip's seed varies them, as on several days of filming.

Lengths are in units of the distance between the outer corners of the eyes; colours are sRGB in 0..1.
"""

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """A face; the first half are the talker's own, the rest change from clip to clip."""

    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    clothes: tuple[Colour, ...]
    long_hair: bool = False
    face_width: float = 0.79  # half the width at the ears
    chin: float = 1.42  # height of the chin below the eyes
    jaw: float = 2.6  # exponent of the jaw's outline: more is squarer
    mouth_width: float = 0.33  # half, at rest
    upper_lip: float = 0.075
    lower_lip: float = 0.115
    nose_width: float = 1.0
    nose_length: float = 0.6
    brow: float = 1.0  # thickness
    eye_open: float = 0.078  # half the height of the open eye
    stubble: float = 0.0
    freckles: float = 0.0
    hairline: float = -0.62
    # of the clip
    scale: float = 80.0  # pixels of a frame 288 high
    position: tuple[float, float] = (0.0, 0.0)  # of the head, as parts of the frame from its usual place
    light: tuple[float, float, float] = (-0.4, -0.5, 0.77)
    light_colour: Colour = (1.0, 1.0, 1.0)
    ambient: float = 0.45
    backdrop: tuple[Colour, Colour] = ((0.5, 0.6, 0.7), (0.3, 0.4, 0.5))
    garment: Colour = (0.3, 0.35, 0.45)
    effort: float = 1.0  # of articulation
    noise: float = 1.5  # of the camera, grey levels
    blur: float = 0.5  # of the camera, pixels


TALKERS = {
    "awb": Look(
        skin=(0.90, 0.71, 0.62),
        lips=(0.74, 0.42, 0.40),
        hair=(0.55, 0.29, 0.13),
        iris=(0.36, 0.52, 0.62),
        clothes=((0.24, 0.30, 0.25), (0.45, 0.40, 0.33), (0.20, 0.24, 0.36)),
        face_width=0.77,
        chin=1.46,
        jaw=2.2,
        mouth_width=0.335,
        upper_lip=0.062,
        lower_lip=0.105,
        nose_width=0.95,
        nose_length=0.63,
        freckles=0.5,
        stubble=0.15,
        hairline=-0.66,
    ),
    "kal": Look(
        skin=(0.84, 0.63, 0.51),
        lips=(0.72, 0.42, 0.38),
        hair=(0.16, 0.11, 0.08),
        iris=(0.33, 0.22, 0.13),
        clothes=((0.32, 0.42, 0.58), (0.55, 0.56, 0.58), (0.42, 0.18, 0.18)),
        face_width=0.80,
        chin=1.43,
        jaw=2.6,
        mouth_width=0.34,
        upper_lip=0.07,
        brow=1.25,
        stubble=0.35,
        hairline=-0.58,
    ),
    "rms": Look(
        skin=(0.58, 0.40, 0.29),
        lips=(0.54, 0.31, 0.28),
        hair=(0.06, 0.05, 0.05),
        iris=(0.20, 0.12, 0.07),
        clothes=((0.80, 0.79, 0.74), (0.20, 0.36, 0.38), (0.48, 0.32, 0.20)),
        face_width=0.81,
        chin=1.42,
        jaw=2.4,
        mouth_width=0.345,
        upper_lip=0.09,
        lower_lip=0.13,
        nose_width=1.2,
        brow=1.15,
        stubble=0.3,
        hairline=-0.66,
    ),
    "slt": Look(
        skin=(0.88, 0.68, 0.57),
        lips=(0.78, 0.36, 0.38),
        hair=(0.27, 0.15, 0.09),
        iris=(0.36, 0.40, 0.24),
        clothes=((0.52, 0.16, 0.26), (0.20, 0.22, 0.26), (0.70, 0.68, 0.60)),
        long_hair=True,
        face_width=0.75,
        chin=1.38,
        jaw=2.0,
        mouth_width=0.32,
        upper_lip=0.085,
        lower_lip=0.125,
        nose_width=0.88,
        nose_length=0.57,
        brow=0.75,
        eye_open=0.088,
        hairline=-0.64,
    ),
}


def look_of(talker: str, rng: np.random.Generator) -> Look:
    """The talker as one clip shows him or her."""
    own = TALKERS[talker]

    def about(value: float, spread: float) -> float:
        return float(value * (1 + spread * rng.uniform(-1, 1)))

    def tint(colour: Colour, spread: float) -> Colour:
        red, green, blue = np.clip(np.array(colour) * (1 + spread * rng.uniform(-1, 1, 3)), 0, 1)
        return float(red), float(green), float(blue)

    azimuth, elevation = rng.uniform(-0.9, 0.9), rng.uniform(0.25, 0.85)
    light = (np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
    warmth = rng.uniform(-0.06, 0.06)
    brightness = rng.uniform(0.88, 1.08)
    wall = rng.uniform(0.25, 0.8) * (1 + rng.uniform(-0.16, 0.16, 3))
    top, bottom = np.clip(wall * rng.uniform(0.9, 1.15), 0, 1), np.clip(wall * rng.uniform(0.6, 1.0), 0, 1)
    return replace(
        own,
        skin=tint(own.skin, 0.025),
        lips=tint(own.lips, 0.05),
        face_width=about(own.face_width, 0.02),
        mouth_width=about(own.mouth_width, 0.03),
        upper_lip=about(own.upper_lip, 0.08),
        lower_lip=about(own.lower_lip, 0.08),
        stubble=about(own.stubble, 0.5),
        eye_open=about(own.eye_open, 0.1),
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
