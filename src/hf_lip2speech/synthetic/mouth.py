"""What moves in a face, drawn for each frame on the painted one: lips, teeth, tongue and eyes."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from .looks import Look
from .paint import (
    EYE_X,
    LEFT,
    MOUTH_Y,
    NOSE_Y,
    PIXELS,
    TOP,
    Patch,
    bell,
    clouds,
    cover,
    dimmed,
    over,
    smoothstep,
    soft,
    tinted,
)

GAP = 0.26  # between the lips at `gap` 1, units
JAW = 0.17  # how far the chin goes down at `jaw` 1, units
TEETH = np.array([0.0, 0.088, 0.158, 0.222, 0.272, 0.312], np.float32)  # edges from the middle outwards
SHORTER = np.array([0, 0.012, 0.004, 0.016, 0.02], np.float32)  # each of these teeth, units
BOTTOM_OF_WARP = 1.85  # below it the skin does not move
DARK = np.array([0.10, 0.03, 0.03], np.float32)
TONGUE = np.array([0.72, 0.37, 0.36], np.float32)
ENAMEL = np.array([0.88, 0.85, 0.77], np.float32)
# Of an eye:
HALF_WIDTH = 0.155  # from an eye's centre to its corners, units
IRIS, PUPIL = 0.068, 0.028  # radii, units
WHITE = (0.90, 0.87, 0.85)
LID = np.array([0.93, 0.86, 0.84], np.float32)  # of the skin's colour


@dataclass(frozen=True)
class Lips:
    """The lips of one frame: heights of their edges in the middle, in units, and their shape.

    half: half the mouth's width. top, upper: the upper lip's edges. lower, bottom: the lower lip's edges.
    chin: how far the chin is down. roundness, tip, out: see visemes.ARTICULATORS.
    """

    half: float
    top: float
    upper: float
    lower: float
    bottom: float
    chin: float
    roundness: float
    tip: float
    out: float


def shape_lips(look: Look, pose: np.ndarray) -> Lips:
    """Articulators (9,), see visemes.ARTICULATORS, to lips."""
    jaw, gap, width, rounded, raised, tuck, tip, out, press = (float(value) for value in pose)
    pout = 1 + 0.30 * rounded
    pressed = 1 - 0.55 * press * math.exp(-((gap / 0.08) ** 2)) * (1 - rounded)  # they are rolled in
    half = look.mouth_width * (1 + 0.14 * width - 0.22 * rounded - 0.05 * jaw)
    opening = GAP * gap
    upper = MOUTH_Y - 0.27 * opening - 0.045 * raised
    lower = MOUTH_Y + 0.73 * opening
    lower += tuck * (MOUTH_Y + 0.004 - lower)
    top = upper - look.upper_lip * pout * pressed * (1 - 0.12 * gap)
    bottom = lower + look.lower_lip * pout * pressed * (1 - 0.15 * gap) * (1 - 0.25 * tuck)
    return Lips(half, top, upper, lower, bottom, JAW * jaw, max(rounded, 0.0), tip, out)


class Mouth:
    """The mouth of a clip's speaker; `light` is the painted head's, (H, W, 3), `rng` draws wrinkles and
    grain."""

    def __init__(self, look: Look, light: np.ndarray, rng: np.random.Generator):
        self.look = look
        self.patch = Patch(-0.56, 0.56, 0.60, 1.40)
        self.x, self.y = self.patch.x, self.patch.y
        self.rest = shape_lips(look, np.zeros(9))
        here = light[self.patch.rows, self.patch.columns]
        self.light = np.clip(cv2.GaussianBlur(here, (0, 0), 6), 0.25, 1.4)
        self.wrinkles = clouds((2, 400), 0.035, rng)[0]
        self.grain = clouds((self.y.size, self.x.size), 0.02, rng)

    def skin_from(self, patch: Patch, lips: Lips) -> tuple[np.ndarray, np.ndarray]:
        """For each pixel of a patch, where in the painted face its skin was at rest: cv2.remap's two maps."""
        x, y, chin, rest = patch.x, patch.y, self.look.chin, self.rest
        heights = [0.0, NOSE_Y, lips.top, lips.bottom, chin + lips.chin, BOTTOM_OF_WARP]
        sources = [0.0, NOSE_Y, rest.top, rest.bottom, chin, BOTTOM_OF_WARP]
        way = np.interp(y, heights, sources).astype(np.float32) - y
        drag = 0.6 * (lips.half - rest.half)  # the corners pull the cheeks
        pull = drag * np.exp(-(((np.abs(x) - lips.half) / 0.22) ** 2) - ((y - MOUTH_Y) / 0.22) ** 2)
        moved_x = x - pull * np.sign(x) + 0 * y
        moved_y = y + way * np.exp(-((x / 0.66) ** 4))
        return (moved_x - LEFT) * PIXELS - np.float32(0.5), (moved_y - TOP) * PIXELS - np.float32(0.5)

    def draw(self, face: np.ndarray, lips: Lips) -> None:
        """Draw on the painted face, float32 (H, W, 3) or more channels, sRGB."""
        x, y = self.x, self.y
        u = np.clip(x / lips.half, -1, 1)
        side = np.abs(u)
        corner = MOUTH_Y - 0.014 + 0.28 * (lips.lower - MOUTH_Y)
        # Edges as functions of x; all meet at the corners.
        bow = 0.16 * bell(u, 0.13) - 0.05 * bell(side - 0.26, 0.16)
        full = 1 - side ** (2.0 + 0.8 * lips.roundness)
        top = corner + (lips.top - corner) * full**0.80 + (lips.upper - lips.top) * bow
        inner = np.clip(1 - (side / 0.94) ** 2.2, 0, 1) ** (0.95 - 0.40 * lips.roundness)
        bend = 0.010 * (bell(u, 0.16) - 0.6 * bell(side - 0.4, 0.25))
        upper = corner + (lips.upper - corner) * inner + bend * (1 - lips.roundness)
        lower = corner + (lips.lower - corner) * inner + bend * (1 - lips.roundness)
        lower = np.maximum(lower, upper)
        bottom = corner + (lips.bottom - corner) * (1 - side**2.4) ** 0.72
        bottom = np.maximum(bottom, lower)
        top = np.minimum(top, upper)

        place = self.patch.rows, self.patch.columns
        image = np.ascontiguousarray(face[*place, :3])
        # The lower lip's shadow and the soft rim of the lips on the skin.
        image = dimmed(image, 1 - 0.16 * (bell(y - bottom - 0.02, 0.035) * (1 - side**4)))
        dimple = np.exp(-(((np.abs(x) - lips.half - 0.005) / 0.025) ** 2 + ((y - corner) / 0.03) ** 2))
        image = dimmed(image, 1 - 0.28 * dimple)
        colour = self._lip_colour(lips, u, top, upper, lower, bottom)
        image = over(image, colour, 0.92 * _between(y, top, bottom, 1.6))
        image = over(image, self._cavity(lips, upper, lower), _between(y, upper, lower))
        # The line where closed lips meet.
        line = bell(y - (upper + lower) / 2, 0.010) * np.clip(1 - (lower - upper) / 0.02, 0, 1)
        face[*place, :3] = dimmed(image, 1 - 0.55 * (line * (1 - side**8)))

    def _lip_colour(self, lips: Lips, u, top, upper, lower, bottom) -> np.ndarray:
        y, last = self.y, self.wrinkles.size - 1
        above = np.clip((y - top) / np.maximum(upper - top, 1e-3), 0, 1)
        below = np.clip((y - lower) / np.maximum(bottom - lower, 1e-3), 0, 1)
        lines = self.wrinkles[np.clip((u + 1) / 2 * last, 0, last).astype(np.int32)[0]][None, :]
        is_upper = y < (upper + lower) / 2
        # The upper lip faces down and is in shade, the lower one faces the light.
        shade_upper = 0.93 - 0.20 * above + 0.06 * np.sin(np.pi * above)
        shade_lower = 1.10 + 0.10 * np.cos((below - 0.30) * 3.2) - 0.20 * below**2
        shade_lower = shade_lower - 0.25 * np.exp(-below / 0.06)
        shade = np.where(is_upper, shade_upper, shade_lower)
        wrinkled = 0.035 * lines * np.sin(np.pi * np.where(is_upper, above, below))
        shade = shade * (1 + wrinkled + 0.012 * self.grain)
        shade = shade * (1 - 0.22 * np.abs(u) ** 3)
        shine = bell(below - 0.36, 0.16) * bell(u - 0.35 * self.look.light[0], 0.38)
        shine = shine * ~is_upper * np.clip(0.8 + 0.5 * lines, 0, 2) * (0.10 + 0.05 * lips.roundness)
        return tinted(self.look.lips, shade) * self.light + cv2.merge([shine] * 3)

    def _cavity(self, lips: Lips, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
        """What is seen between the lips, as if there were no lips."""
        x, y = self.x, self.y
        side = np.abs(x)
        image = np.broadcast_to(DARK, (*(y + x).shape, 3))
        edge = MOUTH_Y + 0.012 - 0.02 * (x / 0.3) ** 2  # of the upper teeth, fixed to the skull
        floor = MOUTH_Y + 0.026 + 0.92 * lips.chin  # the lower teeth's upper edge
        # The tongue is behind the lower teeth, its tip rises to the upper ones.
        low = floor - 0.35 * lips.chin
        crest = low - lips.tip * np.maximum(low - edge + 0.02, 0) * 0.9 + 0.5 * x**2
        tongue = cover(y - crest, 5) * smoothstep((0.24 - side) * 12)
        depth = np.clip((y - crest) / 0.12, 0, 1)
        flesh = 0.66 + 0.36 * np.sqrt(depth) - 0.12 * bell(x, 0.015) * (1 - lips.tip)
        image = over(image, tinted(TONGUE, flesh), tongue * (0.70 + 0.25 * lips.tip))
        lower_teeth, mask = self._teeth(0.62, floor + 0.012 * (x / 0.2) ** 2, up=False)
        image = over(image, 0.86 * lower_teeth, mask * smoothstep((0.21 - side) * 14))
        upper_teeth, mask = self._teeth(1.0, edge, up=True)
        image = over(image, upper_teeth, mask * smoothstep((0.31 - side) * 12))
        if lips.out > 0.02:
            rim = edge - 0.004 + 0.9 * x**2
            tip = cover(y - rim, 4) * smoothstep((0.16 - side) * 12) * lips.out
            arch = np.clip((y - rim) / 0.07, 0, 1)
            image = over(image, tinted(TONGUE, 1.12 + 0.22 * np.sin(np.pi * arch)), tip)
        # Shadow of the upper lip and of the cheeks.
        opening = np.maximum(lower - upper, 1e-3)
        shade = 1 - 0.45 * np.exp(-(y - upper) / 0.022) - 0.15 * np.exp(-(lower - y) / 0.02)
        shade = shade * np.clip(1.06 - 1.6 * np.abs(x / lips.half) ** 3, 0.15, 1)
        shade = shade * (0.80 + 0.20 * np.clip(opening / 0.08, 0, 1))
        return dimmed(image, np.clip(shade, 0.05, 1)) * np.minimum(self.light, 1.15)

    def _teeth(self, size: float, edge: np.ndarray, up: bool) -> tuple[np.ndarray, np.ndarray]:
        """Colours (H, W, 3) and coverage (H, W) of a row of teeth that ends at `edge`."""
        side = np.abs(self.x)
        borders = TEETH * size
        index = np.clip(np.searchsorted(borders, side[0]) - 1, 0, len(borders) - 2)
        left, right = borders[index], borders[index + 1]
        middle, half = (left + right) / 2, (right - left) / 2
        within = np.abs(side[0] - middle) / half  # 0 in a tooth's middle, 1 between two
        shorter = 0.010 * within**4 * size + SHORTER[index] * size
        inside = (edge - shorter - self.y) if up else (self.y - (edge + shorter))
        seam = 1 - 0.30 * bell((1 - within) * half, 0.006)
        curve = 1 - 0.9 * (side / 0.34) ** 2
        tint = 1 - 0.10 * np.clip(inside / 0.12, 0, 1)
        return tinted(ENAMEL, seam * np.clip(curve, 0.2, 1) * tint), cover(inside)


def _between(y: np.ndarray, low: np.ndarray, high: np.ndarray, softness: float = 1.0) -> np.ndarray:
    """Coverage of pixels by the strip low < y < high, antialiased; exactly 0 where the strip is empty."""
    scale = PIXELS / softness
    above = np.clip((y - low) * scale + 0.5, 0, 1)
    below = np.clip((high - y) * scale + 0.5, 0, 1)
    return np.clip(above + below - 1, 0, 1)


class Eye:
    """One eye of a clip's speaker, open or blinking, on the picture's left (`sign` -1) or right (1). In it x
    grows from the inner to the outer corner; `light` is the painted head's, (H, W, 3), `fibres` (128,) the
    brightness of the iris around the pupil."""

    def __init__(self, sign: int, look: Look, light: np.ndarray, fibres: np.ndarray):
        self.sign, self.look, self.fibres = sign, look, fibres
        self.patch = Patch(sign * EYE_X - 0.24, sign * EYE_X + 0.24, -0.2, 0.2)
        self.x, self.y = (self.patch.x - sign * EYE_X) * sign, self.patch.y
        self.light = np.clip(soft(light[self.patch.rows, self.patch.columns], 0.04), 0.4, 1.3)
        u = self.u = self.x / HALF_WIDTH
        self.arc = np.clip(1 - u**2, 0, 1)
        self.lower = -0.012 * u + 0.55 * look.eye_open * self.arc**0.8
        self.raised = -0.012 * u - 1.05 * look.eye_open * self.arc**0.62 * (1 + 0.12 * u)

    def draw(self, face: np.ndarray, closed: float, gaze: float) -> None:
        """Draw on the painted face (H, W, 3 or 4); `closed`: 0 open .. 1 shut; `gaze`: sideways, units."""
        place = self.patch.rows, self.patch.columns
        u, y, lower, raised = self.u, self.y, self.lower, self.raised
        within = np.abs(u) < 1
        upper = raised + closed * (lower - raised)
        image = np.ascontiguousarray(face[*place, :3])
        lid = np.array(self.look.skin, np.float32) * LID * self.light
        image = over(image, lid, 0.8 * _strip(y, raised, upper, 3.0) * within)
        ball = self._ball(gaze * self.sign) * np.minimum(self.light, 1.1)
        # The lid's shadow on the ball, and the lamp's reflection.
        ball = dimmed(ball, 0.95 - 0.50 * np.exp(-np.clip(y - upper, 0, 1) / 0.022))
        glint_x = self.sign * self.look.light[0] * 0.035 + 0.004
        glint = np.exp(-(((self.x - glint_x) / 0.013) ** 2 + ((y + 0.035) / 0.013) ** 2))
        ball = ball + 0.85 * tinted((1, 1, 1), glint)
        image = over(image, ball, _strip(y, upper, lower, 1.5) * within)
        lashes = bell(y - upper + 0.004, 0.011) * np.clip(1.15 - u**4, 0, 1)
        fold = bell(y - raised + 0.035, 0.012) * np.clip(1 - u**4, 0, 1)
        rim = bell(y - lower, 0.008) * self.arc
        shade = 1 - (0.75 if self.look.long_hair else 0.6) * lashes * (np.abs(u) < 1.05)
        shade = shade * (1 - 0.28 * (1 - 0.6 * closed) * fold) * (1 - 0.18 * rim)
        face[*place, :3] = dimmed(image, shade)

    def _ball(self, gaze: float) -> np.ndarray:
        """The eyeball as if there were no lids."""
        x, y = self.x - gaze, self.y + 0.012
        radius = np.hypot(x, y)
        fibres = self.fibres[((np.arctan2(y, x) + np.pi) * 20).astype(int) % 128]
        shade = 0.75 + 0.45 * np.clip(radius / IRIS, 0, 1) * (1 + 0.15 * fibres)
        shade = shade * (1 - 0.6 * smoothstep((radius - 0.8 * IRIS) * 60))
        white = tinted(WHITE, 1 - 0.30 * np.abs(self.u) ** 2 + 0 * y)
        ball = over(white, tinted(self.look.iris, shade), cover(IRIS - radius))
        return dimmed(ball, 1 - 0.94 * cover(PUPIL - radius))


def _strip(y: np.ndarray, low: np.ndarray, high: np.ndarray, softness: float) -> np.ndarray:
    """Coverage of pixels by low < y < high."""
    scale = PIXELS / softness
    return np.clip((y - low) * scale + 0.5, 0, 1) * np.clip((high - y) * scale + 0.5, 0, 1)
