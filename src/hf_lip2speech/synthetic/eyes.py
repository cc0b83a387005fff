"""Eyes, drawn anew for each frame on the painted face."""

from dataclasses import dataclass

import numpy as np

from .head import EYE_X, Head
from .looks import Look
from .paint import PIXELS, dimmed, grid, over, patch_of, smoothstep, soft, tinted

HALF_WIDTH = 0.155  # from an eye's centre to its corners, units
IRIS, PUPIL = 0.068, 0.028  # radii, units
WHITE = (0.90, 0.87, 0.85)


@dataclass(frozen=True)
class _Patch:
    """The surroundings of one eye; x grows from its inner to its outer corner."""

    sign: int
    rows: slice
    columns: slice
    x: np.ndarray
    y: np.ndarray
    light: np.ndarray


class EyePainter:
    """Draws the eyes of a clip's talker, open or blinking."""

    def __init__(self, look: Look, head: Head, rng: np.random.Generator):
        self.look = look
        self.patches = []
        for sign in (-1, 1):
            box = (sign * EYE_X - 0.24, sign * EYE_X + 0.24, -0.2, 0.2)
            rows, columns = patch_of(box)
            x, y = grid(*box)
            light = np.clip(soft(head.light[rows, columns], 0.04), 0.4, 1.3)
            self.patches.append(_Patch(sign, rows, columns, (x - sign * EYE_X) * sign, y, light))
        self.fibres = rng.standard_normal(128).astype(np.float32)

    def draw(self, face: np.ndarray, closed: float, gaze: float) -> None:
        """Draw on the painted face (H, W, 3 or 4); `closed`: 0 open .. 1 shut; `gaze`: sideways, units."""
        for patch in self.patches:
            skin = np.ascontiguousarray(face[patch.rows, patch.columns, :3])
            face[patch.rows, patch.columns, :3] = self._eye(skin, patch, closed, gaze * patch.sign)

    def _eye(self, image: np.ndarray, patch: _Patch, closed: float, gaze: float) -> np.ndarray:
        y, look = patch.y, self.look
        u = patch.x / HALF_WIDTH
        within = np.abs(u) < 1
        arc = np.clip(1 - u**2, 0, 1)
        lower = -0.012 * u + 0.55 * look.eye_open * arc**0.8
        raised = -0.012 * u - 1.05 * look.eye_open * arc**0.62 * (1 + 0.12 * u)
        upper = raised + closed * (lower - raised)
        lid = np.array(look.skin, np.float32) * np.array([0.93, 0.86, 0.84], np.float32) * patch.light
        image = over(image, lid, 0.8 * _strip(y, raised, upper, 3.0) * within)
        ball = self._ball(patch, u, gaze) * np.minimum(patch.light, 1.1)
        # The lid's shadow lies on the ball, the lamp is mirrored in it.
        ball = dimmed(ball, 0.95 - 0.50 * np.exp(-np.clip(y - upper, 0, 1) / 0.022))
        glint_x = patch.sign * look.light[0] * 0.035 + 0.004
        glint = np.exp(-(((patch.x - glint_x) / 0.013) ** 2 + ((y + 0.035) / 0.013) ** 2))
        ball = ball + 0.85 * tinted((1, 1, 1), glint)
        image = over(image, ball, _strip(y, upper, lower, 1.5) * within)
        lashes = np.exp(-(((y - upper + 0.004) / 0.011) ** 2)) * np.clip(1.15 - u**4, 0, 1)
        fold = np.exp(-(((y - raised + 0.035) / 0.012) ** 2)) * np.clip(1 - u**4, 0, 1)
        rim = np.exp(-(((y - lower) / 0.008) ** 2)) * arc
        shade = 1 - (0.75 if look.long_hair else 0.6) * lashes * (np.abs(u) < 1.05)
        shade = shade * (1 - 0.28 * (1 - 0.6 * closed) * fold) * (1 - 0.18 * rim)
        return dimmed(image, shade)

    def _ball(self, patch: _Patch, u: np.ndarray, gaze: float) -> np.ndarray:
        """The eyeball as if there were no lids."""
        x, y = patch.x - gaze, patch.y + 0.012
        radius = np.hypot(x, y)
        fibres = self.fibres[((np.arctan2(y, x) + np.pi) * 20).astype(int) % 128]
        shade = 0.75 + 0.45 * np.clip(radius / IRIS, 0, 1) * (1 + 0.15 * fibres)
        shade = shade * (1 - 0.6 * smoothstep((radius - 0.8 * IRIS) * 60))
        white = tinted(WHITE, 1 - 0.30 * np.abs(u) ** 2 + 0 * y)
        ball = over(white, tinted(self.look.iris, shade), _disc(radius, IRIS))
        return dimmed(ball, 1 - 0.94 * _disc(radius, PUPIL))


def _disc(radius: np.ndarray, size: float) -> np.ndarray:
    return smoothstep((size - radius) * PIXELS / 2 + 0.5)


def _strip(y: np.ndarray, low: np.ndarray, high: np.ndarray, softness: float) -> np.ndarray:
    """Coverage of pixels by low < y < high."""
    scale = PIXELS / softness
    return np.clip((y - low) * scale + 0.5, 0, 1) * np.clip((high - y) * scale + 0.5, 0, 1)
