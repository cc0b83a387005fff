"""The brushes: face coordinates, soft shapes, noise, and colours laid one over the other.

Face coordinates: origin between the eyes, x to the right of the picture, y down, unit the distance between
the outer corners of the eyes.
"""

from collections.abc import Sequence

import cv2
import numpy as np

PIXELS = 160  # a unit, in the painted face
LEFT, RIGHT, TOP, BOTTOM = -1.5, 1.5, -1.6, 2.4  # of the painted face
GAMMA = 2.2  # sRGB is light to the power of 1 / 2.2, near enough


def grid(left: float, right: float, top: float, bottom: float) -> tuple[np.ndarray, np.ndarray]:
    """float32 x (1, W) and y (H, 1) of the painted face's pixels in a box."""
    x = (np.arange(round((right - left) * PIXELS), dtype=np.float32) + 0.5) / PIXELS + np.float32(left)
    y = (np.arange(round((bottom - top) * PIXELS), dtype=np.float32) + 0.5) / PIXELS + np.float32(top)
    return x[None, :], y[:, None]


def patch_of(box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of a box in the painted face."""
    left, right, top, bottom = box
    x0, y0 = round((left - LEFT) * PIXELS), round((top - TOP) * PIXELS)
    return (
        slice(y0, y0 + round((bottom - top) * PIXELS)),
        slice(x0, x0 + round((right - left) * PIXELS)),
    )


def smoothstep(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)


def bump(x: np.ndarray, y: np.ndarray, x0: float, y0: float, sx: float, sy: float) -> np.ndarray:
    return np.exp(-(((x - x0) / sx) ** 2)) * np.exp(-(((y - y0) / sy) ** 2))


def pair(x: np.ndarray, y: np.ndarray, x0: float, y0: float, sx: float, sy: float) -> np.ndarray:
    """The same bump on both sides of the face."""
    return bump(np.abs(x), y, x0, y0, sx, sy)


def soft(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurred; sigma in units."""
    return cv2.GaussianBlur(image, (0, 0), sigma * PIXELS)


def clouds(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of variance about 1, of spots `size` units wide."""
    rows, columns = (max(2, round(side / PIXELS / size)) for side in shape)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


# Not written with [..., None], which NumPy works off three numbers at a time: a whole clip took 1.7 times as
# long.


def tinted(colour: Sequence[float] | np.ndarray, shade: np.ndarray) -> np.ndarray:
    """(3,) times (H, W) -> (H, W, 3)."""
    return cv2.merge([shade * np.float32(part) for part in colour])


def dimmed(image: np.ndarray, shade: np.ndarray) -> np.ndarray:
    """(H, W, 3) times (H, W)."""
    return image * cv2.merge([shade] * 3)


def over(image: np.ndarray, colour: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A colour, (H, W, 3) or (3,), laid over an image (H, W, 3) where the mask (H, W) is 1."""
    return image + cv2.merge([mask] * 3) * (colour - image)
