"""The brushes: face coordinates, soft shapes, noise, and colours laid over each other.

Face coordinates: origin between the eyes, x to the right of the picture, y down, unit the distance between
the outer corners of the eyes.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Array = np.ndarray
PIXELS = 160  # per unit of the painted face
LEFT, RIGHT, TOP, BOTTOM = -1.5, 1.5, -1.6, 2.4  # of the painted face
GAMMA = 2.2  # sRGB is light to the power of 1 / 2.2, near enough
MOUTH_Y = 0.875  # where the lips meet
NOSE_Y = 0.63  # the nose's base
EYE_X = 0.345  # the eyes' centres


class Patch:
    """A box of the painted face.

    Attributes:
        x, y: float32 (1, W) and (H, 1), the pixels' coordinates.
        rows, columns: Where its pixels are in the painted face.
    """

    def __init__(self, left: float, right: float, top: float, bottom: float):
        width, height = round((right - left) * PIXELS), round((bottom - top) * PIXELS)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / PIXELS + np.float32(left))[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / PIXELS + np.float32(top))[:, None]
        x0, y0 = round((left - LEFT) * PIXELS), round((top - TOP) * PIXELS)
        self.rows, self.columns = slice(y0, y0 + height), slice(x0, x0 + width)


def smoothstep(value: Array) -> Array:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def cover(distance: Array, softness: float = 2.0) -> Array:
    """Coverage of pixels that are `distance` units inside an edge, which is `softness` pixels wide."""
    return smoothstep(distance * PIXELS / softness + 0.5)


def bell(value: Array, width: float) -> Array:
    return np.exp(-((value / width) ** 2))


def bump(x: Array, y: Array, x0: float, y0: float, sx: float, sy: float) -> Array:
    return bell(x - x0, sx) * bell(y - y0, sy)


def pair(x: Array, y: Array, x0: float, y0: float, sx: float, sy: float) -> Array:
    """The same bump on both sides of the face."""
    return bump(np.abs(x), y, x0, y0, sx, sy)


def soft(image: Array, sigma: float) -> Array:
    """Blurred; sigma in units."""
    return cv2.GaussianBlur(image, (0, 0), sigma * PIXELS)


def clouds(shape: tuple[int, int], size: float, rng: np.random.Generator) -> Array:
    """Smooth noise of variance about 1, of spots `size` units wide."""
    rows, columns = (max(2, round(side / PIXELS / size)) for side in shape)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


# Not written with [..., None], which NumPy works off three numbers at a time: a whole clip took 1.7 times as
# long.


def tinted(colour: Sequence[float] | Array, shade: Array) -> Array:
    """(3,) times (H, W) -> (H, W, 3)."""
    return cv2.merge([shade * np.float32(part) for part in colour])


def dimmed(image: Array, shade: Array) -> Array:
    """(H, W, 3) times (H, W)."""
    return image * cv2.merge([shade] * 3)


def over(image: Array, colour: Array, mask: Array) -> Array:
    """A colour, (H, W, 3) or (3,), laid over an image (H, W, 3) where the mask (H, W) is 1."""
    return image + cv2.merge([mask] * 3) * (colour - image)
