"""Real articulation on other faces: lips and jaw of a filmed speaker move a scanned head.

The face mesh is followed through the clip; each frame's lip and chin points, against the clip's closed mouth,
are expressed as a bounded sum of the head's mouth shapes (least squares), with which a person is drawn.
"""

from collections.abc import Iterable

import numpy as np

from ..constants import FRAME_RATE
from ..errors import NoFaceError
from ..video.crops import MEAN_FACE, SMOOTHING_WINDOW, STABLE_POINTS
from ..video.landmarks import LandmarkDetector
from ..video.warp import apply_affine, similarity_transform
from .scanned_head import LANDMARKS, STABLE, Person

# Points of the face mesh at landmarks 48..67 (outer, then inner lips) and 8 (chin).
MESH = [61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178, 152]
MARKS = [*range(48, 68), 8]
WEIGHTS = np.array([1.0] * 12 + [2.0] * 8 + [0.7])  # inner lips count double: they tell open from closed
UPPER, LOWER = [13, 14, 15], [19, 18, 17]  # of MESH: inner lips, pairs above each other
CLOSED = 0.2  # of the frames; those with the least opening
RIDGE = 0.3
STEPS = 300  # of the projected gradient


def mouth_motion(
    frames: Iterable[np.ndarray], detector: LandmarkDetector, name: str = "the video"
) -> np.ndarray:
    """Lip and chin points of a video's largest face against its closed mouth, float64 (T, 21, 2).

    They are at the scale of the mean face, 74 pixels from eye to eye.

    Raises:
        NoFaceError: fewer than half of the frames show a face.
    """
    detector.reset()
    found, points = [], []
    count = 0
    for index, frame in enumerate(frames):
        count = index + 1
        faces = detector(frame)
        if faces:
            face = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
            found.append(index)
            points.append(
                apply_affine(similarity_transform(face.points[STABLE_POINTS], MEAN_FACE), face.points[MESH])
            )
    if 2 * len(found) < max(count, 1):
        raise NoFaceError(f"{name} shows a face in {len(found)} of {count} frames: expected a talking face.")
    flat = np.stack(points).reshape(len(points), -1)
    places = np.stack([np.interp(np.arange(count), found, column) for column in flat.T], 1).reshape(
        count, -1, 2
    )
    opening = (places[:, LOWER] - places[:, UPPER])[..., 1].mean(1)
    closed = places[np.argsort(opening)[: max(1, round(CLOSED * count))]].mean(0)
    return places - closed


def shape_weights(motion: np.ndarray, person: Person, gain: float = 1.0) -> np.ndarray:
    """Weights (T, N) in 0..1 of `MOUTH_SHAPES` that move the person's lips as the motion (T, 21, 2) does."""
    marks = person.rest[LANDMARKS]
    scale = np.linalg.norm(similarity_transform(marks[STABLE, :2] * [1, -1], MEAN_FACE)[:, :2], axis=0).mean()
    basis = scale * person.shapes[:, LANDMARKS[MARKS], :2] * [1, -1]  # (N, 21, 2)
    basis = (basis * WEIGHTS[:, None]).reshape(len(basis), -1)
    target = gain * (motion * WEIGHTS[:, None]).reshape(len(motion), -1)
    normal = basis @ basis.T
    normal += RIDGE * np.diag(np.diag(normal)).mean() * np.eye(len(basis)) / len(basis)
    step, wanted = 1 / np.linalg.eigvalsh(normal)[-1], target @ basis.T
    weights = np.zeros((len(motion), len(basis)))
    ahead, momentum = weights, 1.0
    for _ in range(STEPS):  # accelerated projected gradient (Beck and Teboulle, 2009)
        following = np.clip(ahead - step * (ahead @ normal - wanted), 0, 1)
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / faster * (following - weights)
        weights, momentum = following, faster
    return weights


def drawn_crops(motion: np.ndarray, person: Person, gain: float = 1.0) -> np.ndarray:
    """Mouth crops uint8 (T, 96, 96) of a person who articulates as the motion (T, 21, 2) does."""
    weights, times = shape_weights(motion, person, gain), np.arange(len(motion)) / FRAME_RATE
    anchors = np.stack(
        [person.anchors(person.project(one, time)[1]) for one, time in zip(weights, times, strict=True)]
    )
    half = SMOOTHING_WINDOW // 2
    smooth = [anchors[max(0, index - half) : index + half].mean(0) for index in range(len(anchors))]
    return np.stack([person.draw(*frame) for frame in zip(weights, times, smooth, strict=True)])
