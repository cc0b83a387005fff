"""Face landmarks behind one small interface; the default is Google's BlazeFace and Face Mesh on LiteRT.

mediapipe would bring these two networks with its whole graph runtime, to run them in the same way.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

import numpy as np

from ..progress import without_foreign_lines
from .warp import square_matrix, warp_affine

DETECTION_SIZE, MESH_SIZE = 128, 192  # sides of the inputs of BlazeFace and Face Mesh, pixels
LEAST_SCORE = 0.5  # of both, 0..1
MESH_MARGIN = 1.5  # side of the mesh's region over the longer side of the face
CELL_CHANGE = 6.0  # gray levels by which a cell of the frame changes when something appears in it
NEAR = 0.5  # sides of a face about it in which hair, neck and shoulders move with it
MOST_SKIPPED = 10  # searches that are left out in a row
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners in the mesh: the line that levels the next region


@dataclass(frozen=True)
class Face:
    """A face in one frame.

    Attributes:
        box: float32 (4,), x0 y0 x1 y1 in pixels.
        score: how surely it is a face, 0..1.
        points: float32 (468, 2), x y in pixels, in the order of the 468-point Face Mesh.
    """

    box: np.ndarray
    score: float
    points: np.ndarray


class LandmarkDetector(Protocol):
    """Finds the faces of a video, frame by frame; may remember the frames before."""

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """The faces of the next frame, uint8 (H, W, 3) RGB."""
        ...

    def reset(self) -> None:
        """Forget all frames: another video begins."""
        ...


def iou(box: np.ndarray, others: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
    """Intersection over union of a box (4,) with boxes (N, 4) -> (N,)."""
    x0, y0, x1, y1 = np.asarray(others, dtype=np.float64).reshape(-1, 4).T
    left, top, right, bottom = box.tolist()
    width = np.minimum(right, x1) - np.maximum(left, x0)
    height = np.minimum(bottom, y1) - np.maximum(top, y0)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (x1 - x0) * (y1 - y0) + (right - left) * (bottom - top)
    return common / np.maximum(areas - common, 1e-9)


class _Network:
    """One LiteRT file with one input."""

    def __init__(self, name: str):
        from ai_edge_litert.interpreter import Interpreter

        weights = (files("hf_lip2speech") / "assets" / "face" / name).read_bytes()
        with without_foreign_lines():
            self._interpreter = Interpreter(model_content=weights, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, image: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, image[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def _anchors() -> np.ndarray:
    """Centres of BlazeFace's 896 anchors, (896, 2) in 0..1: 2 on each cell of 16 x 16, 6 on each of 8 x 8."""
    centres = []
    for cells, count in ((16, 2), (8, 6)):
        axis = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, count, axis=0))
    return np.concatenate(centres)


class BlazeFace:
    """BlazeFace, short range (Bazarevsky et al., arXiv 1907.05047): boxes and eyes of an image's faces."""

    def __init__(self) -> None:
        self._network = _Network("face_detection_short_range.tflite")
        self._anchors = _anchors()

    def __call__(
        self, frame: np.ndarray, thorough: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """(box (4,), eyes (2, 2), score) of each face of a uint8 (H, W, 3) RGB frame, in pixels, best first.

        If `thorough`, the frame is searched again in overlapping squares as wide as its shorter side, and
        half as wide if there is no face yet: in a wide frame a face may be too small to see at 128 pixels.
        """
        height, width = frame.shape[:2]
        found = self._search(frame, (width / 2, height / 2), max(height, width))
        for tile in (min(height, width), min(height, width) / 2) if thorough else ():
            if tile < max(height, width) and (not found or tile == min(height, width)):
                for centre in _tile_centres(frame, tile):
                    found += self._search(frame, centre, tile)
        return _suppress(found)

    def small(self, frame: np.ndarray, part: int, parts: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Faces that are too small for a call, in one of `parts` equal shares of a large frame.

        The frame is searched in overlapping squares a quarter as wide as its shorter side, each `parts`-th
        from number `part` on. There are none where such a square has fewer pixels than the network reads.
        """
        tile = min(frame.shape[:2]) / 4
        centres = [] if tile < DETECTION_SIZE else _tile_centres(frame, tile)[part::parts]
        return _suppress([face for centre in centres for face in self._search(frame, centre, tile)])

    def _search(self, frame: np.ndarray, centre: tuple[float, float], side: float) -> list:
        scale = side / DETECTION_SIZE
        corner = np.array(centre) - side / 2
        matrix = square_matrix(corner[0], corner[1], side, DETECTION_SIZE)
        image = warp_affine(frame, matrix, DETECTION_SIZE, DETECTION_SIZE)
        # Black where the square reaches beyond the frame: repeated edges can look like faces.
        low = np.ceil(np.maximum(-corner / scale, 0)).astype(int)
        high = np.floor((np.array([frame.shape[1], frame.shape[0]]) - corner) / scale).astype(int).clip(min=0)
        for axis in (0, 1):
            lines = image.swapaxes(0, axis)
            lines[: low[1 - axis]] = lines[high[1 - axis] :] = 0
        raw, logits = self._network(image / np.float32(127.5) - np.float32(1))
        scores = _sigmoid(logits[0, :, 0])
        found = []
        for index in np.flatnonzero(scores >= LEAST_SCORE):
            values = raw[0, index].reshape(8, 2) / DETECTION_SIZE
            middle, points = values[0] + self._anchors[index], values[2:4] + self._anchors[index]
            box = np.concatenate([middle - values[1] / 2, middle + values[1] / 2])
            found.append((box * side + np.tile(corner, 2), points * side + corner, float(scores[index])))
        return _suppress(found)


def _tile_centres(frame: np.ndarray, tile: float) -> list[tuple[float, float]]:
    """Centres of square tiles that cover a frame with at least half overlap, line by line."""
    lines = []
    for length in frame.shape[1::-1]:
        count = int(np.ceil((length - tile) / (tile / 2))) + 1
        lines.append(np.linspace(tile / 2, length - tile / 2, count) if tile < length else [length / 2])
    return [(x, y) for y in lines[1] for x in lines[0]]


def _suppress(found: list) -> list:
    """Merge overlapping detections: score-weighted means of boxes and eyes, best first."""
    found = sorted(found, key=lambda item: -item[2])
    kept = []
    while found:
        overlap = iou(found[0][0], np.array([item[0] for item in found])) > 0.3
        overlap[0] = True
        group = [item for item, same in zip(found, overlap, strict=True) if same]
        weights = np.array([item[2] for item in group])
        weights /= weights.sum()
        box = sum(weight * item[0] for weight, item in zip(weights, group, strict=True))
        eyes = sum(weight * item[1] for weight, item in zip(weights, group, strict=True))
        kept.append((box, eyes, group[0][2]))
        found = [item for item, same in zip(found, overlap, strict=True) if not same]
    return kept


class FaceMesh:
    """Face Mesh (Kartynnik et al., arXiv 1907.06724): 468 points of the face in a region."""

    def __init__(self) -> None:
        self._network = _Network("face_landmark.tflite")

    def __call__(self, frame: np.ndarray, box: np.ndarray, eyes: np.ndarray) -> Face:
        """The face in a box (4,) with eyes (2, 2): right, left; score 0..1 says whether one is there."""
        x0, y0, x1, y1 = box.tolist()
        dx, dy = (eyes[1] - eyes[0]).tolist()
        scale = MESH_MARGIN * max(x1 - x0, y1 - y0) / MESH_SIZE / max(math.hypot(dx, dy), 1e-9)
        a, b, half = scale * dx, scale * dy, (MESH_SIZE - 1) / 2
        x, y = (x0 + x1 - 1) / 2 - half * (a - b), (y0 + y1 - 1) / 2 - half * (b + a)
        image = warp_affine(frame, np.array([[a, -b, x], [b, a, y]]), MESH_SIZE, MESH_SIZE)
        image /= 255
        mesh, logit = self._network(image)
        u, v = mesh.reshape(468, 3)[:, :2].T - 0.5
        points = np.stack([a * u - b * v + x, b * u + a * v + y]).astype(np.float32)
        box = np.concatenate([points.min(axis=1), points.max(axis=1)])
        return Face(box, float(_sigmoid(logit.ravel()[0].astype(np.float64))), points.T)


class MeshLandmarkDetector:
    """BlazeFace finds faces, Face Mesh follows each of them from frame to frame.

    A face is followed from its own last points while the mesh's score stays high. Frames are searched for
    more faces every `search_every` frames, unless nothing but the faces has moved since the last search, and
    on each frame (as a whole only) while there is no face. Meanwhile a large frame is also searched for small
    faces, by parts: the whole of it once in `search_every` frames, so that no frame takes long.

    Args:
        search_every: frames between two searches.
        max_faces: at most so many faces are followed; 9 are those of a video call of three rows.
    """

    def __init__(self, search_every: int = 12, max_faces: int = 9):
        self.search_every = search_every
        self.max_faces = max_faces
        self._detector = BlazeFace()
        self._mesh = FaceMesh()
        self.reset()

    def reset(self) -> None:
        """Forget all frames: another video begins."""
        self._followed: list[Face] = []
        self._since_search = self.search_every
        self._skipped = 0
        self._part = 0  # of a large frame, that is searched for small faces next
        self._searched: np.ndarray | None = None  # cells of the frame that was searched last

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """The faces of the next frame, uint8 (H, W, 3) RGB; largest first."""
        faces: list[Face] = []
        for face in self._followed:
            self._keep(faces, self._follow(frame, face))
        self._since_search += 1
        due = self._since_search >= self.search_every
        if due:
            self._since_search = 0
            due = self._differs(frame, faces)
        if not faces or due:
            self._add(frame, faces, self._detector(frame, thorough=due))
        if not faces:
            self._add(frame, faces, self._detector.small(frame, self._part, self.search_every))
            self._part = (self._part + 1) % self.search_every
        faces.sort(key=lambda face: -np.prod(face.box[2:] - face.box[:2]))
        self._followed = faces
        return list(faces)

    def _add(
        self, frame: np.ndarray, faces: list[Face], found: list[tuple[np.ndarray, np.ndarray, float]]
    ) -> None:
        """Add the faces that were found and are not there already."""
        for box, eyes, _ in found:
            if len(faces) < self.max_faces and not np.any(iou(box, [face.box for face in faces]) > 0.3):
                # BlazeFace takes a face that is upside down for an upright one. The mesh knows: its score is
                # higher by 10 logits or more the right way up, in the clips that were looked at.
                ways = [self._mesh(frame, box, eyes), self._mesh(frame, box, eyes[::-1])]
                face = max(ways, key=lambda way: way.score)
                if face.score >= LEAST_SCORE:  # again, framed as it will be in the frames to come
                    face = self._follow(frame, face)
                self._keep(faces, face)

    def _differs(self, frame: np.ndarray, faces: list[Face]) -> bool:
        """Whether a frame shows something new beside the faces, compared with the one searched last."""
        cells, before = _cells(frame), self._searched
        if before is not None and before.shape == cells.shape and faces and self._skipped < MOST_SKIPPED:
            moved = np.abs(cells - before) > CELL_CHANGE
            scale = np.array([cells.shape[1] / frame.shape[1], cells.shape[0] / frame.shape[0]] * 2)
            for face in faces:
                reach = NEAR * np.tile(face.box[2:] - face.box[:2], 2) * [-1, -1, 1, 1]
                x0, y0, x1, y1 = np.maximum((face.box + reach) * scale, 0).astype(int)
                moved[y0 : y1 + 1, x0 : x1 + 1] = False
            if not moved.any():
                self._skipped += 1
                return False
        self._skipped, self._searched = 0, cells
        return True

    def _follow(self, frame: np.ndarray, face: Face) -> Face:
        """A face of the frame before, in this one."""
        return self._mesh(frame, face.box, face.points[[RIGHT_EYE, LEFT_EYE]])

    def _keep(self, faces: list[Face], face: Face) -> None:
        """Add a face unless it is none or is there already."""
        if face.score >= LEAST_SCORE and not np.any(iou(face.box, [f.box for f in faces]) > 0.5):
            faces.append(face)


def _cells(frame: np.ndarray) -> np.ndarray:
    """Brightness of about 16 x 16 cells of a frame, each the mean of 16 of its pixels."""
    rows, columns = (max(side // 64, 1) for side in frame.shape[:2])
    sampled = frame[::rows, ::columns, 1].astype(np.float32)  # green is most of the brightness
    height, width = (side // 4 for side in sampled.shape)
    return sampled[: 4 * height, : 4 * width].reshape(height, 4, width, 4).mean(axis=(1, 3))


_idle: list[MeshLandmarkDetector] = []


@contextmanager
def borrowed_detector() -> Generator[MeshLandmarkDetector]:
    """A detector for one video, which no other thread has meanwhile: one that was used before, or a new one.

    Loading its networks takes as long as following ten frames.
    """
    try:
        detector = _idle.pop()
    except IndexError:
        detector = MeshLandmarkDetector()
    try:
        yield detector
    finally:
        _idle.append(detector)
