"""LSE-D and LSE-C: whether speech and lips move together, by SyncNet, whose weights the user brings."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import SAMPLES_PER_FRAME
from ..errors import MetricError, NoFaceError, UndefinedMetricError
from .alignment import check_signal
from .syncnet import FACE_SIZE, SyncNet, best_offset, sync_mfcc

REACH = 15  # video frames: the shifts that are tried, as published
SHORTEST = 2 * REACH  # video frames; below it most of what is compared lies beyond the ends
MARGIN = 0.4  # of half the face's longer side: added left and right, twice as much below, nothing above
SMOOTHING = 13  # frames of the median filter over the face's place and size


@dataclass(frozen=True)
class LipSync:
    """Lip-sync scores of one clip.

    Attributes:
        distance: LSE-D, lower is better: the mean distance between lips and sound at the best shift.
        confidence: LSE-C, higher is better: by how much the best shift is better than the median shift.
        offset: the best shift: video frames by which the sound comes too early (negative: too late). Both
            scores are taken there, so a constant delay costs nothing: show this number beside them.
    """

    distance: float
    confidence: float
    offset: int


def lip_sync(faces: np.ndarray, speech: np.ndarray, syncnet: SyncNet) -> LipSync:
    """LSE-D, LSE-C and the offset at which they were taken.

    Prajwal, Mukhopadhyay, Namboodiri, Jawahar, "A Lip Sync Expert Is All You Need for Speech to Lip
    Generation In the Wild", ACM MM 2020, with the network of Chung, Zisserman (2016).

    Args:
        faces: uint8 (T, 224, 224, 3) RGB at 25 frames a second (`face_crops`), T >= 30.
        speech: (N,) 16 kHz mono in [-1, 1] that starts with the first frame. The video sets the length:
            longer speech loses its end, shorter speech is silent from there on.
        syncnet: SyncNet.from_file("syncnet_v2.model").

    Raises:
        MetricError: faces of another shape or type, or a signal that is not finite and mono.
        UndefinedMetricError: fewer than 30 frames.
    """
    faces = np.asarray(faces)
    if faces.ndim != 4 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE, 3) or faces.dtype != np.uint8:
        raise MetricError(
            f"faces are {faces.dtype} {faces.shape}; uint8 (T, {FACE_SIZE}, {FACE_SIZE}, 3) was expected. "
            "face_crops makes them from a video."
        )
    if len(faces) < SHORTEST:
        raise UndefinedMetricError(
            f"{len(faces)} frames were given; lip-sync scores need {SHORTEST}. Leave the clip out."
        )
    length = len(faces) * SAMPLES_PER_FRAME
    speech = check_signal("speech", speech)[:length]
    seen = syncnet.embed_faces(faces)
    heard = syncnet.embed_sound(sync_mfcc(np.pad(speech, (0, length - len(speech)))))
    windows = len(faces) - 5  # the published count; the last whole window stays unused
    distance, confidence, offset = best_offset(seen[:windows], heard[:windows], REACH)
    return LipSync(distance, confidence, offset)


def face_crops(source: Any) -> np.ndarray:
    """The face of a video's speaker, framed as SyncNet's training videos were.

    A square of 1.4 times the face's longer side that begins at the face's top and has its middle; place and
    size are medians over 13 frames. The face comes from this package's detector and not from S3FD as in the
    published pipeline, so scores are close to published ones, not equal.

    Args:
        source: a video, as `media.video.open_video` takes it. Mouth crops will not do.

    Returns:
        uint8 (T, 224, 224, 3) RGB at 25 frames a second.

    Raises:
        NoFaceError: no frame shows a face.
        UnreadableVideoError, NoVideoStreamError, EmptyVideoError: see `media.video.open_video`.
    """
    from ..media.video import open_video
    from ..video.landmarks import MeshLandmarkDetector
    from ..video.warp import warp_affine

    detector = MeshLandmarkDetector(max_faces=1)
    with open_video(source) as video:
        boxes: list[np.ndarray | None] = []
        for frame in video:
            faces = detector(frame)
            boxes.append(faces[0].box if faces else None)
        squares = _squares(boxes)
        crops = np.empty((len(boxes), FACE_SIZE, FACE_SIZE, 3), dtype=np.uint8)
        for index, (frame, (x, y, side)) in enumerate(zip(video, squares, strict=True)):
            scale = side / FACE_SIZE
            matrix = np.array([[scale, 0, x + scale / 2 - 0.5], [0, scale, y + scale / 2 - 0.5]])
            crops[index] = np.clip(warp_affine(frame, matrix, FACE_SIZE, FACE_SIZE) + 0.5, 0, 255)
    return crops


def _squares(boxes: list[np.ndarray | None]) -> np.ndarray:
    """(T, 3): left, top and side of the square around each frame's face, in pixels."""
    found = [index for index, box in enumerate(boxes) if box is not None]
    if not found:
        raise NoFaceError(
            f"none of the video's {len(boxes)} frames shows a face, so lips cannot be compared."
        )
    known = np.stack([box for box in boxes if box is not None]).astype(np.float64)  # x0 y0 x1 y1
    centres, halves = (known[:, :2] + known[:, 2:]) / 2, (known[:, 2:] - known[:, :2]).max(axis=1) / 2
    tracks = np.column_stack([centres, halves])
    filled = np.stack([np.interp(np.arange(len(boxes)), found, track) for track in tracks.T], axis=1)
    edged = np.pad(filled, ((SMOOTHING // 2, SMOOTHING // 2), (0, 0)), mode="edge")
    x, y, half = np.median(np.lib.stride_tricks.sliding_window_view(edged, SMOOTHING, axis=0), axis=-1).T
    return np.column_stack([x - half * (1 + MARGIN), y - half, 2 * half * (1 + MARGIN)])
