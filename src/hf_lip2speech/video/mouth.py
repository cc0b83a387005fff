"""Frames of a talking face -> mouth clip: the 96x96 gray crop that the models of this field read.

The crop is that of the published systems (AV-HuBERT and its users): landmarks averaged over 12 frames, a
similarity transform of eye corners and nose to a mean face in a 256x256 frame, 96x96 pixels about the mean of
the mouth points.
"""

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..constants import CROP_SIZE, FRAME_RATE, MOUTH_SIZE
from ..errors import EmptyVideoError, Lip2SpeechError, MouthCropError, NoFaceError
from .crops import CropsAhead, FaceParts, anchor_points, gray, interpolate, smooth
from .landmarks import Face, LandmarkDetector, borrowed_detector, iou
from .warp import warp_affine

Progress = Callable[[str, int, int | None], None]

SAME_FACE_IOU = 0.3
LEAST_PRESENCE = 5  # frames; a face that is seen less often is not worth a warning
LONGEST_LOSS = 25  # frames; a face that comes back later starts another track


@dataclass(frozen=True)
class MouthClip:
    """The speaker's mouth in each frame of a video.

    Attributes:
        crops: uint8 (T, 96, 96), gray.
        face_mask: bool (T,), False where nobody is seen for longer than a second.
    """

    crops: np.ndarray
    face_mask: np.ndarray


def mouth_crops(frames: Iterable[np.ndarray], **options: Any) -> np.ndarray:
    """`follow_mouth(frames, **options).crops`: uint8 (T, 96, 96), gray."""
    return follow_mouth(frames, **options).crops


def follow_mouth(
    frames: Iterable[np.ndarray],
    *,
    name: str = "the video",
    detector: LandmarkDetector | None = None,
    progress: Progress | None = None,
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

    Raises:
        NoFaceError: no frame shows a face.
        EmptyVideoError: there is no frame.

    Of several faces, the one with the greatest area summed over its frames is taken, with a warning. Where it
    is away, another of about its size may replace it (the same person after a cut, say). Landmarks of frames
    without a face are interpolated between their neighbours; before the first and after the last, the nearest
    are used. Where nobody is seen for longer than a second, one warning gives the times.
    """
    if isinstance(frames, Iterator):
        raise Lip2SpeechError(
            f"the frames of {name} come from an iterator, which can be read once: give an array, a list or "
            "open_video(...), which can be read twice"
        )
    with CropsAhead() as ahead, nullcontext(detector) if detector else borrowed_detector() as finder:
        tracks, count = _follow_speaker(frames, name, finder, progress, ahead)
        face_mask = _face_mask(tracks, count, name, getattr(frames, "start", 0.0))
        points = np.concatenate([smooth(anchors) for _, anchors in _runs(tracks, count)])

        def cut(done: int) -> None:
            if progress is not None:
                progress("crops", done, count)

        crops = ahead.gather(points, [track.parts for track in tracks], frames, name, cut)
    return MouthClip(crops, face_mask)


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
            scale = height / MOUTH_SIZE
            shift = scale / 2 - 0.5
            frame = warp_affine(
                frame, np.array([[scale, 0, shift], [0, scale, shift]]), MOUTH_SIZE, MOUTH_SIZE
            )
        crops.append(gray(frame))
    if not crops:
        raise EmptyVideoError(f"{name} has no frame")
    return np.stack(crops)


@dataclass
class _Track:
    """One face over time: per frame with it, the five stable points and the mean of the mouth's."""

    box: np.ndarray
    last: int
    area: float = 0.0
    frames: list[int] = field(default_factory=list)
    anchors: list[np.ndarray] = field(default_factory=list)
    parts: FaceParts = field(default_factory=FaceParts)

    @property
    def mean_area(self) -> float:
        return self.area / len(self.frames)

    def add(self, index: int, face: Face) -> None:
        self.box, self.last = face.box, index
        self.area += float(np.prod(face.box[2:] - face.box[:2]))
        self.frames.append(index)
        self.anchors.append(anchor_points(face))


def _follow_speaker(
    frames: Iterable[np.ndarray],
    name: str,
    detector: LandmarkDetector,
    progress: Progress | None,
    ahead: CropsAhead,
) -> tuple[list[_Track], int]:
    """The speaker's tracks in order of time, and the number of frames."""
    tracks: list[_Track] = []
    count = 0
    detector.reset()
    for index, frame in enumerate(frames):
        _assign(tracks, index, detector(frame))
        for track in tracks:
            if index - track.last <= LONGEST_LOSS:
                ahead.keep(track.parts, index, frame, track.frames, track.anchors, track.box)
        count = index + 1
        if progress is not None:
            stated = len(frames) if isinstance(frames, Sized) else getattr(frames, "expected", None)
            progress("landmarks", count, stated)
    if not count:
        raise EmptyVideoError(f"{name} has no frame")
    if not tracks:
        raise NoFaceError(
            f"no face was found in the {count} frames of {name}: expected a talking face, upright and large "
            "enough to see the mouth; pass cropped=True if these are ready-made mouth crops"
        )
    return _choose(tracks, name), count


def _assign(tracks: list[_Track], index: int, faces: list[Face]) -> None:
    """Give each face of a frame to the track that it overlaps most, or to a new one."""
    live = [track for track in tracks if index - track.last <= LONGEST_LOSS]
    pairs = [
        (overlap, number, track)
        for number, face in enumerate(faces)
        for overlap, track in zip(iou(face.box, [track.box for track in live]), live, strict=True)
        if overlap > SAME_FACE_IOU
    ]
    taken: set[int] = set()
    for _, number, track in sorted(pairs, key=lambda pair: -pair[0]):
        if number not in taken and track.last < index:
            track.add(index, faces[number])
            taken.add(number)
    for number, face in enumerate(faces):
        if number not in taken:
            tracks.append(_Track(face.box, index))
            tracks[-1].add(index, face)


def _choose(tracks: list[_Track], name: str) -> list[_Track]:
    """The speaker's tracks in order of time: the greatest, and those that fill the time without it."""
    chosen: list[_Track] = []
    others = 0
    for track in sorted(tracks, key=lambda track: -track.area):
        alone = all(track.last < other.frames[0] or other.last < track.frames[0] for other in chosen)
        if not chosen or (alone and track.mean_area >= chosen[0].mean_area / 4):
            chosen.append(track)
        elif len(track.frames) >= LEAST_PRESENCE:
            others += 1
    if others:
        warnings.warn(
            f"{name} shows several faces: took the one that is largest and present longest", stacklevel=4
        )
    return sorted(chosen, key=lambda track: track.frames[0])


def _face_mask(tracks: list[_Track], count: int, name: str, first: float) -> np.ndarray:
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


def _clock(frame: int, first: float) -> str:
    minutes, seconds = divmod(first + frame / FRAME_RATE, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def _runs(tracks: list[_Track], count: int) -> list[tuple[slice, np.ndarray]]:
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
