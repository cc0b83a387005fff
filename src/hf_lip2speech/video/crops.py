"""Finds the place of a mouth in a frame and cuts its crop, also while the video is being read.

The place of a crop is known 6 frames later, when its landmarks can be averaged. Until then, the part of the
frame about the face is kept, not the frame: a video of any length is read once, in bounded memory.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..constants import MOUTH_SIZE
from ..errors import Lip2SpeechError
from .landmarks import Face
from .warp import apply_affine, invert_affine, sampled_region, similarity_transform, warp_affine

STABLE_POINTS = [2, 33, 133, 362, 263]  # nose base; right eye outer, inner; left eye inner, outer
MEAN_FACE = np.array([[128.87, 137.30], [92.52, 94.37], [112.77, 94.94], [145.53, 94.53], [166.68, 93.57]])
OUTER_LIPS = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
INNER_LIPS = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
LIPS = np.array(OUTER_LIPS + INNER_LIPS)
SMOOTHING_WINDOW = 12  # frames
HALF_WINDOW = SMOOTHING_WINDOW // 2
GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601 luma
REACH = 0.65  # of the longer side of the face: how far about the mouth a part of the frame is kept
SAME_PLACE = 1e-5  # pixels by which the points of a crop that was cut ahead may differ from the final ones
AT_ONCE = 8  # crops cut in one go
BLOCK = 256  # crops that are kept in one array
MOST_KEPT = 2**27  # bytes of kept parts, of all faces; what does not fit is read again


def anchor_points(face: Face) -> np.ndarray:
    """The points of a face that place its crop, (6, 2): five stable ones and the mean of the mouth's."""
    return np.vstack([face.points[STABLE_POINTS], face.points[LIPS].mean(axis=0)])


def smooth(anchors: np.ndarray) -> np.ndarray:
    """Mean over a window of 12 frames about each frame, shorter at the ends; (n, ...) -> (n, ...)."""
    total = np.concatenate([np.zeros_like(anchors[:1]), np.cumsum(anchors, axis=0)])
    index = np.arange(len(anchors))
    start = np.maximum(index - HALF_WINDOW, 0)
    stop = np.minimum(index + HALF_WINDOW, len(anchors))
    return (total[stop] - total[start]) / (stop - start)[:, None, None]


def interpolate(frames: Sequence[int], anchors: Sequence[np.ndarray], wanted: np.ndarray) -> np.ndarray:
    """Anchors (n, 6, 2) of the wanted frames, from those in which they are known; held beyond the ends."""
    known = np.stack(anchors).reshape(len(anchors), -1).astype(np.float64)
    return np.stack([np.interp(wanted, frames, column) for column in known.T], axis=1).reshape(-1, 6, 2)


def crop_matrix(anchors: np.ndarray) -> np.ndarray:
    """(6, 2) -> (2, 3): crop pixel -> frame pixel."""
    to_crop = similarity_transform(anchors[:5], MEAN_FACE)
    mouth = apply_affine(to_crop, anchors[5])
    to_crop = to_crop.copy()
    to_crop[:, 2] += MOUTH_SIZE / 2 - mouth
    return invert_affine(to_crop)


def cut_mouth(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The crop uint8 (96, 96), gray, of an RGB frame uint8 (H, W, 3)."""
    return (warp_affine(frame, matrix, MOUTH_SIZE, MOUTH_SIZE, GRAY) + np.float32(0.5)).astype(np.uint8)


def gray(frame: np.ndarray) -> np.ndarray:
    return (frame @ GRAY + 0.5).astype(np.uint8)


class Part(NamedTuple):
    """A part of a frame."""

    pixels: np.ndarray  # uint8 (h, w, 3)
    corner: tuple[int, int]  # x, y of its first pixel
    size: tuple[int, int]  # of the frame, W, H

    @classmethod
    def about(cls, frame: np.ndarray, anchors: np.ndarray, box: np.ndarray) -> "Part":
        """A copy of what the crop of a face with these anchors may need, if the face moves little."""
        size = (frame.shape[1], frame.shape[0])
        reach = REACH * float(max(box[2] - box[0], box[3] - box[1]))
        (x, y), (width, height) = anchors[5].tolist(), size
        left, top = (min(max(int(z - reach), 0), side - 1) for z, side in ((x, width), (y, height)))
        right, bottom = max(int(x + reach), left + 1), max(int(y + reach), top + 1)
        return cls(frame[top:bottom, left:right].copy(), (left, top), size)

    def holds(self, matrix: np.ndarray) -> bool:
        """Whether it holds every pixel of which a crop is made."""
        low, high, _ = sampled_region(matrix, self.size, MOUTH_SIZE, MOUTH_SIZE)
        ends = (self.corner[0] + self.pixels.shape[1], self.corner[1] + self.pixels.shape[0])
        return all(a <= b for a, b in zip(self.corner, low, strict=True)) and all(
            a <= b for a, b in zip(high, ends, strict=True)
        )

    def cut(self, matrix: np.ndarray) -> np.ndarray:
        """The same crop as of the whole frame."""
        matrix = np.array(matrix)
        matrix[:, 2] -= self.corner
        return cut_mouth(self.pixels, matrix)


def _no_crops(count: int = BLOCK) -> np.ndarray:
    return np.empty((count, MOUTH_SIZE, MOUTH_SIZE), dtype=np.uint8)


@dataclass
class FaceParts:
    """What is kept of one face.

    Attributes:
        parts: by frame, those that are not cut yet.
        following: the first frame that was not cut ahead.
        crops: uint8 (BLOCK, 96, 96), those that were cut ahead, by number of the block; others are undefined.
        points: by frame, the anchor points (6, 2) with which they were cut.
    """

    parts: dict[int, Part] = field(default_factory=dict)
    following: int = 0
    crops: dict[int, np.ndarray] = field(default_factory=lambda: defaultdict(_no_crops))
    points: dict[int, np.ndarray] = field(default_factory=dict)

    def cut(self, due: list[tuple[int, np.ndarray, Part]]) -> None:
        """Cut the crops of the parts that hold them, given as frame, anchor points and part."""
        for index, points, part in due:
            matrix = crop_matrix(points)
            if part.holds(matrix):
                self.crops[index // BLOCK][index % BLOCK], self.points[index] = part.cut(matrix), points


class CropsAhead:
    """The crops of one video's faces, most of them cut while it is read: `keep` each frame of each followed
    face, then `gather`."""

    def __init__(self) -> None:
        self._bytes = 0

    def keep(
        self,
        face: FaceParts,
        index: int,
        frame: np.ndarray,
        seen: Sequence[int],
        anchors: Sequence[np.ndarray],
        box: np.ndarray,
    ) -> None:
        """Keep what the crop of a face may need of frame number `index`, and cut those that are due.

        Args:
            face: its parts; the same for all its frames.
            seen: the frames in which the face has been seen so far, at least one, of which `anchors` are the
                anchor points (6, 2), and `box` the box (4,) in the last.
        """
        if self._bytes < MOST_KEPT:
            face.parts[index] = part = Part.about(frame, anchors[-1], box)
            self._bytes += part.pixels.nbytes
        # Before a face that comes later, another may be found to be the speaker: its first crops wait.
        start = max(face.following, seen[0] + HALF_WINDOW if seen[0] else 0)
        stop = seen[-1] - HALF_WINDOW + 2
        if stop - start < AT_ONCE:
            return
        first = max(start - HALF_WINDOW, seen[0])
        tail = next(back for back in range(1, len(seen) + 1) if seen[-back] <= first)
        wanted = np.arange(first, seen[-1] + 1)
        points = smooth(interpolate(seen[-tail:], anchors[-tail:], wanted))[start - first : stop - first]
        places = zip(range(start, stop), points, strict=True)
        due = [(k, point, face.parts.pop(k)) for k, point in places if k in face.parts]
        self._bytes -= sum(part.pixels.nbytes for *_, part in due)
        face.following = stop
        face.cut(due)

    @staticmethod
    def gather(
        points: np.ndarray,
        wanted: np.ndarray,
        faces: Sequence[FaceParts],
        frames: Iterable[np.ndarray],
        name: str,
        progress: Callable[[int], None],
    ) -> np.ndarray:
        """The crops uint8 (T, 96, 96) of a mouth whose averaged anchor points are (T, 6, 2).

        Args:
            wanted: bool (T,), the frames whose crops are needed; the others' are left undefined.
            faces: the parts that were kept of it.
            frames: those that were kept, to be read again where a part is missing; messages call them `name`.
            progress: called as progress(done).

        Raises:
            Lip2SpeechError: there are fewer frames when they are read again.
        """
        crops, missing = _no_crops(len(points)), wanted.copy()
        for face in faces:
            for number in list(face.crops):  # freed one by one: a long video's crops are never held twice
                block = face.crops.pop(number)
                for index in range(number * BLOCK, min((number + 1) * BLOCK, len(points))):
                    place = face.points.get(index)
                    if place is None or not missing[index]:
                        continue
                    if np.abs(place - points[index]).max() < SAME_PLACE:
                        crops[index], missing[index] = block[index % BLOCK], False
        matrices = {int(index): crop_matrix(points[index]) for index in np.flatnonzero(missing)}
        for index in list(matrices):
            parts = (face.parts[index] for face in faces if index in face.parts)
            part = next((part for part in parts if part.holds(matrices[index])), None)
            if part is not None:
                crops[index] = part.cut(matrices.pop(index))
        for index, frame in enumerate(frames if matrices else ()):
            if index in matrices:
                crops[index] = cut_mouth(frame, matrices.pop(index))
            if not matrices:
                break
        if matrices:
            raise Lip2SpeechError(
                f"{name} had {len(points)} frames when it was first read and has fewer now: did it change?"
            )
        for index in range(len(points)):
            progress(index + 1)
        return crops
