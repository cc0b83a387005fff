"""Eyes, drawn for each frame on the painted face."""

import numpy as np

from .looks import Look
from .paint import EYE_X, PIXELS, Patch, bell, cover, dimmed, over, smoothstep, soft, tinted

HALF_WIDTH = 0.155  # from an eye's centre to its corners, units
IRIS, PUPIL = 0.068, 0.028  # radii, units
WHITE = (0.90, 0.87, 0.85)
LID = np.array([0.93, 0.86, 0.84], np.float32)  # of the skin's colour


class Eye:
    """One eye of a clip's speaker, open or blinking. In it x grows from the inner to the outer corner.

    Args:
        sign: -1 for the eye on the picture's left, 1 for the other.
        look: Of the speaker in this clip.
        light: Of the painted head, (H, W, 3).
        fibres: (128,), the brightness of the iris around the pupil.
    """

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
