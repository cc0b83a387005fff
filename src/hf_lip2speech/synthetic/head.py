"""The part of a face that does not speak, painted once per clip: skin, nose, brows, ears, hair.

The face is a relief: a sum of smooth bumps, lit by one lamp and by the sky, in the coordinates of paint.py.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from .looks import Look
from .paint import (
    BOTTOM,
    EYE_X,
    GAMMA,
    LEFT,
    MOUTH_Y,
    PIXELS,
    RIGHT,
    TOP,
    Array,
    Patch,
    bell,
    bump,
    clouds,
    cover,
    pair,
    smoothstep,
    soft,
)


@dataclass(frozen=True)
class Head:
    """What is painted once: float32 colour (H, W, 3), sRGB in 0..1; alpha (H, W), where the head is; height
    (H, W), towards the viewer, in units; light (H, W, 3), by which it multiplies sRGB colours there, about 1.
    """

    colour: Array
    alpha: Array
    height: Array
    light: Array


def paint_head(look: Look, rng: np.random.Generator) -> Head:
    """Paint a head without eyes and mouth."""
    whole = Patch(LEFT, RIGHT, TOP, BOTTOM)
    x, y = whole.x, whole.y
    width = _half_width(look, y)
    height = _relief(look, x, y, width)
    shade, gloss = _shading(look, height)
    skin = _skin(look, x, y, height, rng)
    linear = skin**GAMMA * shade + gloss[..., None] * np.array(look.light_colour, np.float32)
    face = cover(width - np.abs(x)) * (width > 0)
    colour, alpha = _with_ears(look, x, y, linear, face)
    colour = _brows(look, x, y, colour, rng)
    colour, alpha = _with_hair(look, x, y, colour, alpha, rng)
    colour = np.clip(colour, 0, 1) ** (1 / GAMMA)
    return Head(colour.astype(np.float32), alpha.astype(np.float32), height, shade ** (1 / GAMMA))


def _half_width(look: Look, y: Array) -> Array:
    """Half the face's width at heights y; 0 above and below it."""
    up = np.clip((0.15 - y) / 1.25, 0, 1)
    down = np.clip((y - 0.15) / (look.chin - 0.15), 0, 1)
    skull = (1 - up**2.4) ** (1 / 2.4)
    jaw = (1 - down**look.jaw) ** (1 / 2.0)
    return (look.face_width * np.where(y < 0.15, skull, jaw)).astype(np.float32)


def _relief(look: Look, x: Array, y: Array, width: Array) -> Array:
    across = np.clip(np.abs(x) / np.maximum(width, 0.02), 0, 1)
    depth = np.interp(y, [-1.1, -0.6, 0.0, 0.6, 1.0, look.chin], [0.25, 0.62, 0.74, 0.74, 0.68, 0.42])
    z = depth * np.sqrt(np.maximum(1 - across**2.3, 0))
    n = look.nose_width
    ridge = np.interp(
        y,
        np.array([-0.2, 0.0, 0.25, 0.45, 0.55, 0.62, 0.67]) * look.nose_length / 0.6,
        [0.0, 0.05, 0.13, 0.20, 0.21, 0.10, 0.0],
    )
    spread = n * np.interp(y, [-0.1, 0.1, 0.4, 0.6], [0.085, 0.09, 0.115, 0.145])
    tip = look.nose_length - 0.07
    z = z + ridge * bell(x, spread)
    z += 0.07 * pair(x, y, 0.125 * n, tip + 0.02, 0.065 * n, 0.07)
    z -= 0.11 * pair(x, y, 0.33, -0.01, 0.20, 0.12)  # sockets
    z += 0.055 * pair(x, y, EYE_X, 0.0, 0.14, 0.10)  # eyeballs
    z += 0.05 * pair(x, y, 0.30, -0.20, 0.26, 0.09)  # brow ridges
    z += 0.07 * pair(x, y, 0.44, 0.36, 0.22, 0.20)  # cheeks
    z += 0.06 * bump(x, y, 0.0, MOUTH_Y, 0.32, 0.24)  # the teeth under the lips
    z += 0.06 * bump(x, y, 0.0, look.chin - 0.17, 0.20, 0.14)
    z -= 0.035 * bump(x, y, 0.0, MOUTH_Y + 0.21, 0.20, 0.045)  # under the lower lip
    z -= 0.02 * bump(x, y, 0.0, 0.74, 0.03, 0.08)  # philtrum
    fold = 0.19 + 0.75 * (y - 0.55)  # from the nose to the corners of the mouth
    crease = bell(np.abs(x) - fold, 0.035)
    z -= 0.022 * crease * smoothstep((y - 0.5) * 6) * smoothstep((0.95 - y) * 5)
    return soft(z.astype(np.float32), 0.012)


def _shading(look: Look, height: Array) -> tuple[Array, Array]:
    """Light (H, W, 3) that multiplies linear colours, and gloss (H, W) that adds to them."""
    dy, dx = np.gradient(height * PIXELS)
    scale = 1 / np.sqrt(dx * dx + dy * dy + 1)
    nx, ny, nz = -dx * scale, -dy * scale, scale
    lx, ly, lz = look.light
    facing = nx * lx + ny * ly + nz * lz
    # Light bleeds under the skin past the edge of the shadow.
    key = np.clip((facing + 0.3) / 1.3, 0, 1) ** 1.3
    sky = 0.75 - 0.25 * ny
    hollow = np.clip(1 - 3.0 * np.maximum(soft(height, 0.09) - height, 0), 0.35, 1)
    ambient = (look.ambient * sky * hollow)[..., None]
    shade = ambient + (1.08 - look.ambient * 0.75) * key[..., None] * np.sqrt(hollow)[..., None]
    shade = shade * np.array(look.light_colour, np.float32)
    shade[..., 1:] *= (0.90 + 0.10 * np.clip(key, 0, 1))[..., None]  # shadows of skin are red
    half = np.array([lx, ly, lz + 1])
    half /= np.linalg.norm(half)
    gloss = np.clip(nx * half[0] + ny * half[1] + nz * half[2], 0, 1) ** 28
    return shade.astype(np.float32), (0.05 * gloss * hollow).astype(np.float32)


def _skin(look: Look, x: Array, y: Array, height: Array, rng: np.random.Generator):
    shape = height.shape
    base = np.array(look.skin, np.float32)
    red = 0.6 * pair(x, y, 0.42, 0.40, 0.22, 0.20) + 0.6 * bump(x, y, 0, look.nose_length - 0.08, 0.15, 0.13)
    red = red + 0.35 * bump(x, y, 0, look.chin - 0.15, 0.2, 0.12) + 0.12 * clouds(shape, 0.25, rng)
    skin = base * (1 + 0.014 * clouds(shape, 0.12, rng) + 0.016 * clouds(shape, 0.015, rng))[..., None]
    skin = skin * (1 - red[..., None] * np.array([0.0, 0.10, 0.10], np.float32))
    tired = pair(x, y, EYE_X, 0.12, 0.15, 0.05) + 0.6 * pair(x, y, EYE_X, -0.08, 0.17, 0.07)
    skin = skin * (1 - tired[..., None] * np.array([0.08, 0.11, 0.09], np.float32))
    if look.freckles:
        spots = smoothstep(clouds(shape, 0.022, rng) - 1.1) * smoothstep((0.75 - np.abs(y - 0.25)) * 3)
        skin = skin * (1 - look.freckles * spots[..., None] * np.array([0.12, 0.2, 0.25], np.float32))
    beard = smoothstep((y - 0.62 - 0.25 * np.maximum(0.5 - np.abs(x), 0)) * 4 + 0.5)
    beard = np.maximum(beard, bump(x, y, 0, 0.74, 0.3, 0.1)) * (1 - 0.5 * bump(x, y, 0, MOUTH_Y, 0.36, 0.1))
    hairs = np.clip(0.75 + 0.25 * clouds(shape, 0.012, rng), 0, 1.4) * beard * look.stubble
    skin = skin * (1 - hairs[..., None] * np.array([0.24, 0.20, 0.15], np.float32))
    n = look.nose_width
    nostril = pair(x, y, 0.068 * n, look.nose_length + 0.005, 0.04 * n, 0.018)
    crease = pair(x, y, 0.205 * n, look.nose_length - 0.05, 0.022, 0.06)
    skin = skin * (1 - np.clip(0.62 * nostril + 0.13 * crease, 0, 1))[..., None]
    return np.clip(skin, 0.01, 1).astype(np.float32)


def _with_ears(look: Look, x: Array, y: Array, linear: Array, face: Array):
    """Ears behind the face: linear colours and coverage of both."""
    sides = np.abs(x) - look.face_width
    ear = 1 - (((sides - 0.015) / 0.10) ** 2 + ((y - 0.17) / 0.25) ** 2)
    mask = smoothstep(ear * 0.1 * PIXELS / 2)
    inner = 1 - 0.38 * np.exp(-(((sides - 0.04) / 0.035) ** 2) - ((y - 0.15) / 0.14) ** 2)
    pale = np.array(look.skin, np.float32) ** GAMMA * np.array([1.0, 0.85, 0.82], np.float32)
    lit = np.where(x < 0, max(-look.light[0], 0), max(look.light[0], 0)) * 0.6 + look.ambient + 0.15
    ears = pale * (inner * lit)[..., None] * np.array(look.light_colour, np.float32)
    colour = ears + face[..., None] * (linear - ears)
    return colour, np.maximum(face, mask)


def _brows(look: Look, x: Array, y: Array, colour: Array, rng: np.random.Generator):
    """The linear colours with brows."""
    side = np.abs(x)
    arch = -0.205 - 0.065 * np.sin(np.clip((side - 0.12) / 0.46, 0, 1) * np.pi * 0.72)
    thick = look.brow * 0.045 * np.clip(1.2 - (side - 0.1) / 0.65, 0.1, 1)
    mask = np.exp(-(((y - arch) / thick) ** 4))
    mask = mask * smoothstep((side - 0.10) * 14) * smoothstep((0.60 - side) * 8)
    strands = cv2.GaussianBlur(rng.standard_normal(colour.shape[:2]).astype(np.float32), (0, 0), 1.0) * 3
    mask = mask * np.clip(0.75 + 0.22 * strands, 0, 1)
    hair = (np.array(look.hair, np.float32) * 0.8) ** GAMMA
    return colour + (0.85 * mask)[..., None] * (hair - colour)


def _with_hair(look: Look, x: Array, y: Array, colour: Array, alpha: Array, rng: np.random.Generator):
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


def _strands(look: Look, x: Array, y: Array, rng: np.random.Generator) -> Array:
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


def _short_hair(look: Look, x: Array, y: Array, jag: Array):
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


def _long_hair(look: Look, x: Array, y: Array, jag: Array):
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


def _skull(look: Look, y: Array, top: float, thick: float) -> Array:
    """Half the width of a skull with hair."""
    up = np.clip((0.15 - y) / (0.15 - top), 0, 1)
    return (look.face_width + thick) * (1 - up**2.3) ** (1 / 2.2)
