"""A clip's frames: the head with its mouth and eyes, moving a little before a wall, through a camera."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ..constants import FRAME_RATE
from .head import paint_head
from .looks import Look
from .mouth import Eye, Mouth, shape_lips
from .paint import LEFT, PIXELS, TOP, Patch, bell, over, smoothstep
from .visemes import Phone, articulate

LOWER_FACE = Patch(-1.0, 1.0, 0.55, 1.95)  # the skin that moves with the jaw
SUPERSAMPLING = 2
PIVOT = 1.2  # the head turns about a point in the neck, units below the eyes
NODDED = ("ey", "iy", "ay", "ow", "aw", "ao", "uw", "eh")  # long vowels, which may come with a nod
BLINK = np.array([0.4, 1.0, 0.95, 0.6, 0.25, 0.08])  # how far the eyes are shut, frame by frame


class Scene:
    """A speaker before a camera: a clip of `num_frames` at 25 per second, of width and height `size`, in
    which `phones` are said. The seed is of everything that moves or is noise."""

    def __init__(
        self, look: Look, phones: Sequence[Phone], num_frames: int, size: tuple[int, int], seed: int
    ):
        rng = np.random.default_rng([seed, 1])
        self.look, self.size, self.num_frames = look, size, num_frames
        times = (np.arange(num_frames) + 0.5) / FRAME_RATE
        self.poses = articulate(phones, times, look.effort)
        head = paint_head(look, rng)
        self.height = head.height
        self.texture = np.dstack([head.colour, head.alpha])
        self.corners = _corners(head.alpha)
        self.mouth = Mouth(look, head.light, rng)
        fibres = rng.standard_normal(128).astype(np.float32)
        self.eyes = [Eye(sign, look, head.light, fibres) for sign in (-1, 1)]
        self.motion = _head_motion(phones, times, rng)
        self.blinks = _blinks(num_frames, rng)
        self.gaze = _wander(times, rng, 0.4) * 0.012
        self.unit = look.scale * min(size[1] / 288, size[0] / 300) * SUPERSAMPLING
        width, height = (side * SUPERSAMPLING for side in size)
        self.centre = np.array(
            [width * (0.5 + look.position[0]), height * 0.5 - 0.36 * self.unit + height * look.position[1]]
        )
        self.stage = _paint_stage(look, (width, height), self.centre, self.unit, rng)
        self.backdrop = _reduced(self.stage)
        self.noise_rng = np.random.default_rng([seed, 2])

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB, frame after frame."""
        return map(self._frame, range(self.num_frames))

    def _frame(self, index: int) -> np.ndarray:
        lips = shape_lips(self.look, self.poses[index])
        face = self.texture.copy()
        maps = self.mouth.skin_from(LOWER_FACE, lips)
        face[LOWER_FACE.rows, LOWER_FACE.columns] = cv2.remap(
            self.texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        self.mouth.draw(face, lips)
        for eye in self.eyes:
            eye.draw(face, float(self.blinks[index]), float(self.gaze[index]))
        picture = self.backdrop.copy()
        self._place(face, self.motion[index], picture)
        picture = cv2.GaussianBlur(picture, (0, 0), self.look.blur) * 255
        height, width = picture.shape[:2]
        grain = self.noise_rng.standard_normal((height, width), dtype=np.float32)
        tint = self.noise_rng.standard_normal((height // 2, width // 2, 3), dtype=np.float32)
        picture += self.look.noise * (cv2.merge([grain] * 3) + 0.5 * cv2.resize(tint, self.size))
        return np.clip(np.round(picture), 0, 255).astype(np.uint8)

    def _place(self, face: np.ndarray, motion: np.ndarray, picture: np.ndarray) -> None:
        """Put the face before the backdrop, float32 (H, W, 3) in 0..1."""
        dx, dy, roll, yaw, pitch = motion
        scale = self.unit / PIXELS
        cos, sin = scale * np.cos(roll), scale * np.sin(roll)
        origin = np.array([-LEFT, -TOP]) * PIXELS - 0.5  # between the eyes, in the painted face
        pivot = origin + (0, PIVOT * PIXELS)
        turn = np.array([[cos, -sin], [sin, cos]])
        where = self.centre + (0, PIVOT * self.unit) + np.array([dx, dy]) * self.unit
        forward = np.column_stack([turn, where - turn @ pivot])
        height, width = self.stage.shape[:2]
        corners = cv2.transform(self.corners[None], forward)[0]
        low = np.floor(corners.min(axis=0) / SUPERSAMPLING).astype(int) - 1
        high = np.ceil(corners.max(axis=0) / SUPERSAMPLING).astype(int) + 1
        x0, y0 = np.maximum(low, 0) * SUPERSAMPLING
        x1, y1 = np.minimum(high * SUPERSAMPLING, (width, height))
        x = np.arange(x0, x1, dtype=np.float32)[None, :]
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        back = cv2.invertAffineTransform(forward).astype(np.float32)
        map_x = back[0, 0] * x + back[0, 1] * y + back[0, 2]
        map_y = back[1, 0] * x + back[1, 1] * y + back[1, 2]
        # Turning to the side or nodding shifts what is nearer to the camera more.
        relief = (cv2.remap(self.height, map_x, map_y, cv2.INTER_LINEAR) - 0.5) * PIXELS
        map_x -= np.float32(yaw) * relief
        map_y -= np.float32(pitch) * relief
        cut = cv2.remap(face, map_x, map_y, cv2.INTER_LINEAR)
        placed = over(self.stage[y0:y1, x0:x1], cv2.cvtColor(cut, cv2.COLOR_RGBA2RGB), cut[..., 3])
        reduced = tuple(slice(a // SUPERSAMPLING, b // SUPERSAMPLING) for a, b in ((y0, y1), (x0, x1)))
        picture[reduced] = _reduced(placed)


def _reduced(picture: np.ndarray) -> np.ndarray:
    height, width = (side // SUPERSAMPLING for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def _corners(alpha: np.ndarray) -> np.ndarray:
    """(4, 2): x, y of a box about the painted head, with room for a lowered jaw."""
    margin = 0.2 * PIXELS
    x, y, width, height = cv2.boundingRect((alpha > 0).astype(np.uint8))
    x0, y0, x1, y1 = x - margin, y - margin, x + width - 1 + margin, y + height - 1 + margin
    return np.array([(x0, y0), (x1, y0), (x0, y1), (x1, y1)])


def _wander(times: np.ndarray, rng: np.random.Generator, speed: float) -> np.ndarray:
    """A smooth random path about 0 of variance about 1."""
    rates = speed * np.array([0.5, 0.9, 1.6])
    phases = rng.uniform(0, 2 * np.pi, 3)
    return (np.array([0.9, 0.6, 0.35]) * np.sin(2 * np.pi * np.outer(times, rates) + phases)).sum(axis=1)


def _head_motion(phones: Sequence[Phone], times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 5): of the head, sideways and down in units, then roll, yaw and pitch in radians."""
    spreads = np.array([0.020, 0.012, 0.014, 0.030, 0.022]) * rng.uniform(0.5, 1.4)
    way = np.stack([_wander(times, rng, 0.45) for _ in spreads], axis=1) * spreads
    way[:, 2] += rng.uniform(-0.05, 0.05)
    way[:, 3] += rng.uniform(-0.10, 0.10)
    way[:, 4] += rng.uniform(-0.06, 0.06)
    for phone in phones:
        if phone.name in NODDED and rng.random() < 0.35:
            beat = bell(times - (phone.start + phone.end) / 2, 0.10)
            way[:, 4] += 0.022 * beat
            way[:, 1] += 0.008 * beat
    return way


def _blinks(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T,): how far the eyes are shut."""
    shut = np.zeros(num_frames)
    at = rng.uniform(0, 3)
    while (start := round(at * FRAME_RATE)) < num_frames:
        stop = min(start + len(BLINK), num_frames)
        shut[start:stop] = BLINK[: stop - start]
        at += rng.uniform(1.5, 4.5)
    return shut


def _paint_stage(
    look: Look, size: tuple[int, int], centre: np.ndarray, unit: float, rng: np.random.Generator
) -> np.ndarray:
    """What does not move, float32 (H, W, 3), sRGB in 0..1: a wall out of focus, neck and shoulders.

    `size` and `centre`, the point between the eyes, are in pixels, as is `unit`, the face's.
    """
    width, height = size
    x = (np.arange(width, dtype=np.float32)[None, :] - centre[0]) / unit
    y = (np.arange(height, dtype=np.float32)[:, None] - centre[1]) / unit
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(colour, np.float32) for colour in look.backdrop)
    glow = np.exp(-(((x - look.light[0]) / 2.2) ** 2 + ((y + 0.3) / 1.8) ** 2))
    wall = (top * (1 - down) + bottom * down) * (0.86 + 0.22 * glow)[..., None]
    coarse = rng.standard_normal((5, 7, 1)).astype(np.float32)
    spots = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    wall = wall * (1 + 0.04 * spots[..., None])
    side = np.abs(x)
    light = np.array(look.light_colour, np.float32)
    # Neck, in the chin's shadow above.
    neck_width = (0.46 if not look.long_hair else 0.38) + 0.10 * np.clip(y - 1.5, 0, 1) ** 1.5
    roundness = np.sqrt(np.clip(1 - (side / (neck_width + 0.05)) ** 2, 0.05, 1))
    shadow = smoothstep((y - 1.25) * 1.5)
    towards = 0.85 + 0.25 * look.light[0] * x / 0.4
    lit = (0.42 + 0.42 * shadow) * (0.55 + 0.45 * roundness) * towards
    neck = np.array(look.skin, np.float32) * light * lit[..., None] * np.array([1.0, 0.94, 0.92], np.float32)
    neck_mask = smoothstep((neck_width - side) * unit / 3 + 0.5) * (y > 0.6)
    # Shoulders and a collar.
    slope = 1.72 + 0.30 * np.clip(side - 0.40, 0, None) ** 1.15 + 0.25 * np.clip(side - 1.35, 0, None) ** 2
    collar = 1.80 + 0.55 * np.clip(0.42 - side, 0, 1) * (1.4 if look.long_hair else 1.0)
    cloth_mask = smoothstep((y - slope) * unit / 4 + 0.5)
    cloth_mask = cloth_mask * np.where(side > neck_width - 0.02, 1, smoothstep((y - collar) * unit / 4 + 0.5))
    fold = np.sin(x * 5 + 1.5 * np.sin(y * 2.2) + 2 * spots) * 0.05
    cloth_light = 0.72 + fold + 0.25 * look.light[0] * x / 1.2 - 0.06 * np.clip(y - 2, 0, 2)
    seam = 1 - 0.35 * bell(y - collar - 0.07, 0.02) * (side < 0.45)
    cloth = np.array(look.garment, np.float32) * light * (np.clip(cloth_light, 0.3, 1.2) * seam)[..., None]
    stage = wall + neck_mask[..., None] * (neck - wall)
    stage = stage + cloth_mask[..., None] * (cloth - stage)
    return np.ascontiguousarray(np.clip(stage, 0, 1), np.float32)
