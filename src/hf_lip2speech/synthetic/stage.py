"""What is behind the head: a wall out of focus, shoulders and neck."""

import cv2
import numpy as np

from .looks import Look
from .paint import smoothstep


def paint_stage(
    look: Look, size: tuple[int, int], centre: np.ndarray, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """Paint what does not move.

    Args:
        look: of the talker.
        size: width and height, pixels.
        centre: (2,), the point between the eyes, pixels.
        unit: of the face, pixels.
        rng: of the wall.

    Returns:
        float32 (H, W, 3), sRGB in 0..1.
    """
    width, height = size
    x = (np.arange(width, dtype=np.float32)[None, :] - centre[0]) / unit
    y = (np.arange(height, dtype=np.float32)[:, None] - centre[1]) / unit
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(colour, np.float32) for colour in look.backdrop)
    glow = np.exp(-(((x - look.light[0]) / 2.2) ** 2 + ((y + 0.3) / 1.8) ** 2))
    wall = (top * (1 - down) + bottom * down) * (0.86 + 0.22 * glow)[..., None]
    spots = cv2.resize(
        rng.standard_normal((5, 7, 1)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    wall = wall * (1 + 0.04 * spots[..., None])
    side = np.abs(x)
    skin = np.array(look.skin, np.float32) * np.array(look.light_colour, np.float32)
    # Neck, in the chin's shadow above.
    neck_width = (0.46 if not look.long_hair else 0.38) + 0.10 * np.clip(y - 1.5, 0, 1) ** 1.5
    round_ = np.sqrt(np.clip(1 - (side / (neck_width + 0.05)) ** 2, 0.05, 1))
    shadow = smoothstep((y - 1.25) * 1.5)
    towards = 0.85 + 0.25 * look.light[0] * x / 0.4
    lit = (0.42 + 0.42 * shadow) * (0.55 + 0.45 * round_) * towards
    neck = skin * lit[..., None] * np.array([1.0, 0.94, 0.92], np.float32)
    neck_mask = smoothstep((neck_width - side) * unit / 3 + 0.5) * (y > 0.6)
    # Shoulders and a collar.
    slope = 1.72 + 0.30 * np.clip(side - 0.40, 0, None) ** 1.15 + 0.25 * np.clip(side - 1.35, 0, None) ** 2
    collar = 1.80 + 0.55 * np.clip(0.42 - side, 0, 1) * (1.4 if look.long_hair else 1.0)
    cloth_mask = smoothstep((y - slope) * unit / 4 + 0.5)
    cloth_mask = cloth_mask * np.where(side > neck_width - 0.02, 1, smoothstep((y - collar) * unit / 4 + 0.5))
    fold = np.sin(x * 5 + 1.5 * np.sin(y * 2.2) + 2 * spots) * 0.05
    cloth_light = 0.72 + fold + 0.25 * look.light[0] * x / 1.2 - 0.06 * np.clip(y - 2, 0, 2)
    seam = 1 - 0.35 * np.exp(-(((y - collar - 0.07) / 0.02) ** 2)) * (side < 0.45)
    cloth = np.array(look.garment, np.float32) * np.array(look.light_colour, np.float32)
    cloth = cloth * (np.clip(cloth_light, 0.3, 1.2) * seam)[..., None]
    stage = wall + neck_mask[..., None] * (neck - wall)
    stage = stage + cloth_mask[..., None] * (cloth - stage)
    return np.ascontiguousarray(np.clip(stage, 0, 1), np.float32)
