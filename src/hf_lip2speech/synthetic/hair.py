"""Hair, short or long: where it grows, how its strands run, how it shines."""

import cv2
import numpy as np

from .looks import Look
from .paint import GAMMA, PIXELS, clouds, smoothstep, soft


def add_hair(
    look: Look,
    x: np.ndarray,
    y: np.ndarray,
    colour: np.ndarray,
    alpha: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Hair before and behind the face: linear colours and coverage of the whole head."""
    shape = colour.shape[:2]
    strand = _strands(look, x, y, rng)
    jag = 0.016 * clouds(shape, 0.06, rng) + 0.016 * strand
    front, behind = (_long_hair if look.long_hair else _short_hair)(look, x, y, jag)
    # Lit as a ball, with a band of gloss across the strands.
    base = np.array(look.hair, np.float32) ** GAMMA
    side = np.abs(x)
    ball = np.sqrt(np.clip(1 - (side / 1.08) ** 2, 0.1, 1))
    toward = 0.75 + 0.5 * look.light[0] * x + 0.35 * np.clip(-y - 0.3, -0.6, 0.8)
    lum = (look.ambient + 0.6) * ball * np.clip(toward, 0.3, 1.5) * (1 + 0.32 * strand)
    ring = np.hypot(x - 0.5 * look.light[0], y + 0.95)
    gloss = 0.06 * np.exp(-(((ring - 0.30 - 0.05 * strand) / 0.13) ** 2)) * np.clip(1 + strand, 0, 2) * ball
    hair = base * np.clip(lum, 0.12, 3)[..., None] + gloss[..., None] * (base + 0.15)
    # It shades the skin beneath it.
    shadow = np.maximum(soft(front, 0.05), np.roll(soft(front, 0.03), round(0.03 * PIXELS), axis=0))
    colour = colour * (1 - 0.35 * shadow)[..., None]
    colour = hair * 0.5 + alpha[..., None] * (colour - hair * 0.5)
    colour = colour + front[..., None] * (hair - colour)
    return colour, np.maximum(np.maximum(alpha, front), behind)


def _strands(look: Look, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of variance about 1, drawn out along the hair, which runs from the crown outwards and down."""
    streaks = cv2.resize(
        rng.standard_normal((24, 900)).astype(np.float32), (1800, 96), interpolation=cv2.INTER_CUBIC
    )
    streaks = cv2.GaussianBlur(streaks, (0, 0), 1.2) * 1.6
    angle, radius = np.arctan2(x - 0.12, y + 1.0), np.hypot(x - 0.12, y + 1.0)
    if look.long_hair:
        angle = np.where(y > -0.2, x * 0.9 + 0.06 * np.sin(y * 4), angle)
    along = (np.clip(radius / 3.6, 0, 1) * 95).astype(np.float32)
    across = ((angle + np.pi) / (2 * np.pi) * 1799).astype(np.float32)
    return cv2.remap(streaks, across, along, cv2.INTER_LINEAR)


def _short_hair(look: Look, x: np.ndarray, y: np.ndarray, jag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coverage (H, W) by hair before and behind the head; `jag` frays its edges."""
    side = np.abs(x) * 0.79 / look.face_width
    line = look.hairline + np.interp(
        side, [0.0, 0.3, 0.46, 0.56, 0.64, 0.70, 0.80], [0.0, -0.01, -0.06, 0.08, 0.34, 0.62, 0.80]
    )
    outline = _skull(look, y, top=-1.24, thick=0.05) * (1 - 0.04 * np.clip(y + 0.3, 0, 1))
    front = smoothstep((line - y + 2.2 * jag) * 8 + 0.5)
    front = front * smoothstep((outline - np.abs(x) + 0.7 * jag) * 22 + 0.5)
    front = front * smoothstep((0.16 - y + 2 * jag) * 8) * smoothstep((y + 1.24 + jag) * 25)
    return front.astype(np.float32), np.zeros_like(front)


def _long_hair(look: Look, x: np.ndarray, y: np.ndarray, jag: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    side = np.abs(x)
    wave = 0.03 * np.sin(y * 4.5 + 0.6 * np.sign(x))
    outer = _skull(look, y, top=-1.27, thick=0.15)
    outer = np.where(y < -0.1, outer, np.interp(y, [-0.1, 0.5, 1.2, 1.9, 2.3], [0.90, 0.97, 1.03, 0.98, 0.9]))
    outer = cv2.GaussianBlur(outer.astype(np.float32), (1, 51), 12) + wave * smoothstep(y + 0.3)
    inside = smoothstep((outer - side + 0.6 * jag) * 22 + 0.5) * smoothstep((y + 1.27 + jag) * 25)
    inside = inside * smoothstep((1.98 - y + 3 * jag + 0.10 * np.sin(side * 9)) * 6)
    # Parted a little to one side, it frames forehead and cheeks.
    parting = np.abs(x + 0.08)
    line = (
        look.hairline
        - 0.20
        + np.interp(parting, [0.0, 0.12, 0.3, 0.5, 0.62, 0.70, 0.76], [0.0, 0.04, 0.20, 0.44, 0.72, 1.1, 2.0])
    )
    line = cv2.GaussianBlur(np.broadcast_to(line.astype(np.float32), inside.shape), (0, 0), 5)
    front = smoothstep((line - y + 1.5 * jag) * 7 + 0.5)
    inner = np.interp(y, [0.3, 0.8, 1.3, 2.0], [0.72, 0.70, 0.66, 0.56]) + 0.5 * wave
    front = np.maximum(front, smoothstep((side - inner + 0.6 * jag) * 16 + 0.5) * smoothstep((y - 0.1) * 5))
    # Behind the face, but not before the neck.
    behind = inside * smoothstep((side - 0.30) * 16 + (1.0 - y) * 12)
    return (front * inside).astype(np.float32), behind.astype(np.float32)


def _skull(look: Look, y: np.ndarray, top: float, thick: float) -> np.ndarray:
    """Half the width of a skull with hair."""
    up = np.clip((0.15 - y) / (0.15 - top), 0, 1)
    return (look.face_width + thick) * (1 - up**2.3) ** (1 / 2.2)
