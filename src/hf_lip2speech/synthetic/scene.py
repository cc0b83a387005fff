"""A clip's frames: the head with its mouth and eyes, moving a little before a wall, through a camera."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from ..constants import FRAME_RATE
from .eyes import EyePainter
from .head import paint_head
from .looks import Look
from .motion import blinks, head_motion, wander
from .mouth import BOX, MouthPainter, shape_lips
from .paint import LEFT, PIXELS, TOP, over, patch_of
from .stage import paint_stage
from .visemes import Phone, articulate

LOWER_FACE = (-1.0, 1.0, 0.55, 1.95)  # the skin that moves with the jaw
SUPERSAMPLING = 2
PIVOT = 1.2  # the head turns about a point in the neck, units below the eyes


class Scene:
    """A talker before a camera.

    Args:
        look: of the talker in this clip.
        phones: what is said, with times in the clip.
        num_frames: of the clip, at 25 a second.
        size: width and height of a frame.
        seed: of everything that moves or is noise.
    """

    def __init__(
        self, look: Look, phones: Sequence[Phone], num_frames: int, size: tuple[int, int], seed: int
    ):
        rng = np.random.default_rng([seed, 1])
        self.look, self.size, self.num_frames = look, size, num_frames
        times = (np.arange(num_frames) + 0.5) / FRAME_RATE
        self.poses = articulate(phones, times, look.effort)
        self.head = paint_head(look, rng)
        self.texture = np.dstack([self.head.colour, self.head.alpha])
        self.corners = _corners(self.head.alpha)
        self.mouth = MouthPainter(look, self.head, rng)
        self.eyes = EyePainter(look, self.head, rng)
        self.motion = head_motion(phones, times, rng)
        self.blinks = blinks(num_frames, rng)
        self.gaze = wander(times, rng, 0.4) * 0.012
        self.unit = look.scale * min(size[1] / 288, size[0] / 300) * SUPERSAMPLING
        width, height = (side * SUPERSAMPLING for side in size)
        self.centre = np.array(
            [width * (0.5 + look.position[0]), height * 0.5 - 0.36 * self.unit + height * look.position[1]]
        )
        self.stage = paint_stage(look, (width, height), self.centre, self.unit, rng)
        self.backdrop = _reduced(self.stage)
        self.noise_rng = np.random.default_rng([seed, 2])

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 (H, W, 3) RGB, frame after frame."""
        for index in range(self.num_frames):
            yield self._frame(index)

    def openings(self) -> np.ndarray:
        """float (T,): the drawn distance between the lips, pixels."""
        lips = [shape_lips(self.look, pose) for pose in self.poses]
        return np.array([lip.lower - lip.upper for lip in lips]) * self.unit / SUPERSAMPLING

    def _frame(self, index: int) -> np.ndarray:
        lips = shape_lips(self.look, self.poses[index])
        face = self.texture.copy()
        rows, columns = patch_of(LOWER_FACE)
        map_x, map_y = self.mouth.skin_from(LOWER_FACE, lips)
        face[rows, columns] = cv2.remap(
            self.texture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        rows, columns = patch_of(BOX)
        self.mouth.draw(face[rows, columns], lips)
        self.eyes.draw(face, float(self.blinks[index]), float(self.gaze[index]))
        picture = self.backdrop.copy()
        self._place(face, self.motion[index], picture)
        picture = cv2.GaussianBlur(picture, (0, 0), self.look.blur) * 255
        grain = self.noise_rng.standard_normal(picture.shape[:2], dtype=np.float32)
        tint = self.noise_rng.standard_normal(
            (picture.shape[0] // 2, picture.shape[1] // 2, 3), dtype=np.float32
        )
        tint = cv2.resize(tint, self.size)
        picture += self.look.noise * (cv2.merge([grain] * 3) + 0.5 * tint)
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
        back = cv2.invertAffineTransform(forward)
        height, width = self.stage.shape[:2]
        corners = self.corners @ forward[:, :2].T + forward[:, 2]
        low = np.floor(corners.min(axis=0) / SUPERSAMPLING).astype(int) - 1
        high = np.ceil(corners.max(axis=0) / SUPERSAMPLING).astype(int) + 1
        x0, y0 = np.maximum(low, 0) * SUPERSAMPLING
        x1, y1 = np.minimum(high * SUPERSAMPLING, (width, height))
        x = np.arange(x0, x1, dtype=np.float32)[None, :]
        y = np.arange(y0, y1, dtype=np.float32)[:, None]
        back = back.astype(np.float32)
        map_x = back[0, 0] * x + back[0, 1] * y + back[0, 2]
        map_y = back[1, 0] * x + back[1, 1] * y + back[1, 2]
        relief = cv2.remap(self.head.height, map_x, map_y, cv2.INTER_LINEAR)
        relief = (relief - 0.5) * PIXELS
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
    rows, columns = (np.flatnonzero(alpha.max(axis=axis) > 0) for axis in (1, 0))
    x, y = (columns[0] - margin, columns[-1] + margin), (rows[0] - margin, rows[-1] + margin)
    return np.array([(x[0], y[0]), (x[1], y[0]), (x[0], y[1]), (x[1], y[1])])
