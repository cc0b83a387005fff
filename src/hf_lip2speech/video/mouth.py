"""Frames of a talking face -> mouth clip: the 96x96 gray crop that the models of this field read.

The crop is that of the published systems (AV-HuBERT and its users): landmarks averaged over 12 frames, a
similarity transform of eye corners and nose to a mean face in a 256x256 frame, 96x96 pixels about the mean of
the mouth points.
"""

import itertools
import warnings
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import CROP_SIZE, FRAME_RATE, MOUTH_SIZE
from ..errors import EmptyVideoError, Lip2SpeechError, MouthCropError
from .crops import CropsAhead, gray, interpolate, smooth
from .landmarks import LandmarkDetector, borrowed_detector
from .tracks import LONGEST_LOSS, TALKING, Progress, Track, check_face, choose, follow_faces
from .warp import square_matrix, warp_affine

SMALLEST_FACE = 25.0  # pixels between the outer corners of the eyes: the crop is enlarged three times
MOST_TURNED = 0.3  # of that distance, by which the nose is off the middle: about 35 degrees to the side
LEAST_CONTRAST = 8.0  # standard deviation of the crops' gray values 0..255; filmed faces have 20 to 45
LOOKED_AT = 100  # frames, at most, whose contrast is measured


@dataclass(frozen=True)
class MouthClip:
    """The speaker's mouth in each frame of a video.

    Attributes:
        crops: uint8 (T, 96, 96), gray; where nobody is seen, that of the nearest frame in which somebody is.
        face_mask: bool (T,), False where nobody is seen for longer than a second.
        points: (T, 6, 2), pixels of the frames, where the crops were cut (`crops.anchor_points`); None for
            ready-made crops.
    """

    crops: np.ndarray
    face_mask: np.ndarray
    points: np.ndarray | None = None


def mouth_crops(frames: Iterable[np.ndarray], **options: Any) -> np.ndarray:
    """`follow_mouth(frames, **options).crops`: uint8 (T, 96, 96), gray."""
    return follow_mouth(frames, **options).crops


def follow_mouth(
    frames: Iterable[np.ndarray],
    *,
    name: str = "the video",
    detector: LandmarkDetector | None = None,
    progress: Progress | None = None,
    face: int | str = TALKING,
) -> MouthClip:
    """The speaker's mouth in each frame of a video, and where it is seen.

    The frames are read once, and never in memory together: of each, only what is near a face is kept, until
    its crop is cut. Those whose crop depends on what was not kept (from before the first face, or of more
    than a second without it) are read again.

    Args:
        frames: uint8 (H, W, 3) RGB frames at 25 per second that can be read twice, such as an array
            (T, H, W, 3) or `media.video.open_video`.
        name: what messages call the video.
        detector: finds the landmarks; default: a `MeshLandmarkDetector`, which is kept for the next video.
        progress: called as progress(stage, done, total), stage "landmarks" (where the total is what the
            file states, or None), then "crops".
        face: which of several faces: "talking" (default), the one whose lips move most; "largest", the one
            with the greatest area summed over its frames; or its number among those that stay for 5 frames or
            more, counted from left to right from 0 (`plotting.plot_faces` shows the numbers).

    Raises:
        NoFaceError: no frame shows a face, or there is none of this number.
        EmptyVideoError: there is no frame.

    Where several faces are seen and none was named by its number, a warning says which was taken. Where it is
    away, another of about its size may replace it (the same person after a cut, say). Landmarks of frames
    without a face are interpolated between their neighbours; before the first and after the last, the nearest
    are used. Where nobody is seen for longer than a second, the crop is held, so that what is shown there
    (another scene, say) changes nothing beside it, and one warning gives the times.
    """
    if isinstance(frames, Iterator):
        raise Lip2SpeechError(
            f"the frames of {name} come from an iterator, which can be read once: give an array, a list or "
            "open_video(...), which can be read twice"
        )
    check_face(face)
    ahead = CropsAhead()
    with nullcontext(detector) if detector else borrowed_detector() as finder:
        tracks, count = follow_faces(frames, name, finder, progress, ahead)
        tracks = choose(tracks, face, name)
        face_mask = _face_mask(tracks, count, name, getattr(frames, "start", 0.0))
        points = np.concatenate([smooth(anchors) for _, anchors in _runs(tracks, count)])

        def cut(done: int) -> None:
            if progress is not None:
                progress("crops", done, count)

        crops = ahead.gather(points, face_mask, [track.parts for track in tracks], frames, name, cut)
    if not face_mask.all():
        crops = crops[_nearest(face_mask)]
    return MouthClip(crops, face_mask, points)


def ready_made_crops(frames: Iterable[np.ndarray], *, name: str = "the video") -> np.ndarray:
    """Mouth crops from frames that show mouths already.

    Frames of 96x96 are taken as they are; 88x88 (the model's input) are padded by repeated edges, so that the
    model's centre crop restores them; other squares are resized.

    Args:
        frames: uint8 (H, W, 3) RGB frames at 25 per second.
        name: what messages call the video.

    Returns:
        uint8 (T, 96, 96), gray.

    Raises:
        MouthCropError: the frames are not square.
        EmptyVideoError: there is no frame.
    """
    crops = []
    for frame in frames:
        height, width = frame.shape[:2]
        if height != width:
            raise MouthCropError(
                f"{name} has frames of {width}x{height} pixels: expected square mouth crops, "
                f"best {MOUTH_SIZE}x{MOUTH_SIZE}; leave cropped=True out if the video shows a whole face"
            )
        if height == CROP_SIZE:
            margin = (MOUTH_SIZE - CROP_SIZE) // 2
            frame = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        elif height != MOUTH_SIZE:
            frame = warp_affine(frame, square_matrix(0, 0, height, MOUTH_SIZE), MOUTH_SIZE, MOUTH_SIZE)
        crops.append(gray(frame))
    if not crops:
        raise EmptyVideoError(f"{name} has no frame")
    return np.stack(crops)


def _face_mask(tracks: list[Track], count: int, name: str, first: float) -> np.ndarray:
    """bool (count,): False in gaps of more than LONGEST_LOSS frames between those in which a face is seen.

    The warning's times are those of the video, whose part begins `first` seconds after its start.
    """
    mask = np.ones(count, dtype=bool)
    seen = [-1, *sorted(index for track in tracks for index in track.frames), count]
    gaps = [(a + 1, b) for a, b in itertools.pairwise(seen) if b - a - 1 > LONGEST_LOSS]
    for start, stop in gaps:
        mask[start:stop] = False
    if gaps:
        times = ", ".join(f"from {_clock(start, first)} to {_clock(stop, first)}" for start, stop in gaps)
        warnings.warn(f"{name} shows no face {times}: there are no lips to read there", stacklevel=3)
    return mask


def _nearest(mask: np.ndarray) -> np.ndarray:
    """Of each place in a bool mask (T,), the nearest one that is True, (T,)."""
    places, seen = np.arange(len(mask)), np.flatnonzero(mask)
    after = np.searchsorted(seen, places).clip(max=len(seen) - 1)
    before = (after - 1).clip(min=0)
    closer = np.abs(places - seen[before]) < np.abs(places - seen[after])
    return seen[np.where(closer, before, after)]


def _clock(frame: int, first: float) -> str:
    minutes, seconds = divmod(first + frame / FRAME_RATE, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def _runs(tracks: list[Track], count: int) -> list[tuple[slice, np.ndarray]]:
    """Fill gaps; a jump to another place (a cut) starts another run, half-way through the gap."""
    groups: list[tuple[list[int], list[np.ndarray]]] = []
    for track in tracks:
        if groups:
            before, after = groups[-1][1][-1], track.anchors[0]
            size = np.linalg.norm(before[1] - before[4])
            if np.linalg.norm(before - after, axis=1).max() < size:
                groups[-1][0].extend(track.frames)
                groups[-1][1].extend(track.anchors)
                continue
        groups.append((list(track.frames), list(track.anchors)))
    ends = [(left[0][-1] + right[0][0] + 1) // 2 for left, right in zip(groups, groups[1:], strict=False)]
    runs = []
    for start, stop, (frames, anchors) in zip([0, *ends], [*ends, count], groups, strict=True):
        runs.append((slice(start, stop), interpolate(frames, anchors, np.arange(start, stop))))
    return runs


def view_problems(crops: np.ndarray, points: np.ndarray | None, face_mask: np.ndarray) -> list[str]:
    """What makes a clip of `follow_mouth`, whose parts the arguments are, hard to read, each with what can be
    done; [] where it is as usual."""
    problems = []
    if points is not None and face_mask.any():
        nose, right, left = (points[face_mask, index] for index in (0, 1, 4))
        between = left - right
        distance = np.linalg.norm(between, axis=1).clip(min=1e-6)
        size = float(np.median(distance))
        if size < SMALLEST_FACE:
            problems.append(
                f"the face is small ({size:.0f} pixels between the eyes): go closer, or crop the video"
            )
        aside = ((nose - (right + left) / 2) * between).sum(axis=1) / distance**2
        if float(np.median(np.abs(aside))) > MOST_TURNED:
            problems.append("the face is turned to the side: film it from the front")
    shown = np.flatnonzero(face_mask)
    looked_at = crops[shown[:: len(shown) // LOOKED_AT + 1]]  # numpy's std takes eight times the memory
    if len(shown) and float(looked_at.std()) < LEAST_CONTRAST:
        problems.append("the mouth has next to no contrast: put light on the face, from the front")
    return problems
