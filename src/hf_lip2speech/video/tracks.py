"""Faces from frame to frame, and which of them speaks."""

import warnings
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import EmptyVideoError, Lip2SpeechError, NoFaceError
from .crops import CropsAhead, FaceParts, anchor_points
from .landmarks import Face, LandmarkDetector, iou

Progress = Callable[[str, int, int | None], None]

UPPER_INNER_LIP, LOWER_INNER_LIP = [82, 13, 312], [87, 14, 317]
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners: the measure of a face's size
# Points that speech moves little: eye corners, nose, forehead, temples.
RIGID_POINTS = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 2, 98, 327, 10, 151, 9, 8, 127, 356, 234, 454]
RIGID_POINTS += [93, 323, 129, 358]
SHAPE_POINTS = RIGID_POINTS + UPPER_INNER_LIP + LOWER_INNER_LIP
SAME_FACE_IOU = 0.3
LEAST_PRESENCE = 5  # frames; a face that is seen less often is not worth a warning
LONGEST_LOSS = 25  # frames; a face that comes back later starts another track
SYLLABLE, SECOND = 3, 25  # frames: lip motion is what is slower than the first and faster than the second
# In distances between the eyes' outer corners:
CLOSED = 0.01  # added to the mean opening, which is divided by
JITTER = 0.008  # of the rigid points, at which lip motion counts half
TALKING, LARGEST = "talking", "largest"


@dataclass(eq=False)
class Track:
    """One face over time: of its newest frame (`last`) the box, float32 (4,), and its area summed over
    frames, in pixels. By frame: its number, the points that place the crop (6, 2), the box (4,), the points
    that tell whether the lips move, float32 (32, 2). And the parts of the frames, to cut the crops from."""

    box: np.ndarray
    last: int
    area: float = 0.0
    frames: list[int] = field(default_factory=list)
    anchors: list[np.ndarray] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    shapes: list[np.ndarray] = field(default_factory=list)
    parts: FaceParts = field(default_factory=FaceParts)

    @property
    def mean_area(self) -> float:
        return self.area / len(self.frames)

    @property
    def place(self) -> float:
        """The mean of its boxes' centres, from left to right."""
        return float(np.mean([box[0] + box[2] for box in self.boxes])) / 2

    def add(self, index: int, face: Face) -> None:
        self.box, self.last = face.box, index
        self.area += float(np.prod(face.box[2:] - face.box[:2]))
        self.frames.append(index)
        self.anchors.append(anchor_points(face))
        self.boxes.append(face.box)
        self.shapes.append(face.points[SHAPE_POINTS].astype(np.float32))

    def talking_power(self) -> float:
        """Its frames times the square of its `lip_motion`."""
        return len(self.frames) * lip_motion(np.stack(self.shapes)) ** 2

    def beside(self, others: Iterable["Track"]) -> bool:
        """Whether one of the others is there at the same time."""
        return any(self.frames[0] <= other.last and other.frames[0] <= self.last for other in others)


def check_face(face: Any) -> None:
    """Raise a Lip2SpeechError unless this can say which face is meant."""
    whole = isinstance(face, (int, np.integer)) and not isinstance(face, bool) and face >= 0
    if not whole and not (isinstance(face, str) and face in (TALKING, LARGEST)):
        raise Lip2SpeechError(
            f"face={face!r}: expected {TALKING!r}, {LARGEST!r}, or the number of a face, counted from left "
            "to right from 0."
        )


def follow_faces(
    frames: Iterable[np.ndarray],
    name: str,
    detector: LandmarkDetector,
    progress: Progress | None = None,
    ahead: CropsAhead | None = None,
) -> tuple[list[Track], int]:
    """The tracks of all faces of a video, and the number of its frames; `ahead` cuts their crops meanwhile.

    Raises:
        NoFaceError: no frame shows a face.
        EmptyVideoError: there is no frame.
    """
    tracks: list[Track] = []
    count = 0
    detector.reset()
    for index, frame in enumerate(frames):
        assign(tracks, index, detector(frame))
        for track in tracks:
            if ahead is not None and index - track.last <= LONGEST_LOSS:
                ahead.keep(track.parts, index, frame, track.frames, track.anchors, track.box)
        count = index + 1
        if progress is not None:
            stated = len(frames) if isinstance(frames, Sized) else getattr(frames, "expected", None)
            progress("landmarks", count, stated)
    if not count:
        raise EmptyVideoError(f"{name} has no frame")
    if not tracks:
        raise NoFaceError(
            f"no face was found in the {count} frames of {name}: expected a talking face, turned to the "
            "camera and large enough to see the mouth. If it is small in the picture, crop the video to the "
            "person; pass cropped=True if these are ready-made mouth crops"
        )
    return tracks, count


def assign(tracks: list[Track], index: int, faces: Sequence[Face]) -> None:
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
            tracks.append(Track(face.box, index))
            tracks[-1].add(index, face)


def number_faces(tracks: Iterable[Track]) -> list[list[Track]]:
    """The tracks of each face, in order of the faces from left to right.

    Faces that stay for less than 5 frames are left out, unless there is no other.

    Faces are told apart by their place and size: after a cut, a track belongs to the face that is nearest to
    its place, not seen beside it, and has at least a fourth and at most four times its area.
    """
    faces: list[list[Track]] = []
    lasting = [track for track in tracks if len(track.frames) >= LEAST_PRESENCE] or list(tracks)
    for track in sorted(lasting, key=lambda track: -len(track.frames)):
        free = [
            face
            for face in faces
            if not track.beside(face) and 1 / 4 <= track.mean_area / face[0].mean_area <= 4
        ]
        if free:
            min(free, key=lambda face: abs(_place(face) - track.place)).append(track)
        else:
            faces.append([track])
    return sorted(faces, key=_place)


def _place(face: list[Track]) -> float:
    return float(np.average([track.place for track in face], weights=[len(track.frames) for track in face]))


def choose(tracks: list[Track], face: int | str, name: str) -> list[Track]:
    """The tracks to read, in order of time: those of the face that is meant, and those that fill the time
    without it (the same person after a cut, say).

    Raises:
        NoFaceError: there is no face of this number.
    """
    faces = number_faces(tracks)
    if isinstance(face, str):
        lasting = {track for parts in faces for track in parts}
        by_lips = face == TALKING and len(tracks) > 1
        power = {track: track.talking_power() if by_lips else 0.0 for track in tracks}
        order = sorted(tracks, key=lambda track: (track not in lasting, -power[track], -track.area))
        chosen: list[Track] = []
    else:
        if face >= (count := len(faces)):
            shown, advice = "one face", "leave the option face out, or give 0"
            if count > 1:
                shown = f"{count} faces, counted from left to right from 0"
                advice = f'give 0 to {count - 1}, "talking" or "largest"'
            raise NoFaceError(f"face={face}, but {name} shows {shown}: {advice}")
        chosen = list(faces[face])
        order = sorted(tracks, key=lambda track: -track.area)
    others = 0
    for track in order:
        if track in chosen:
            continue
        alone = not track.beside(chosen)
        if not chosen or (alone and track.mean_area >= chosen[0].mean_area / 4):
            chosen.append(track)
        elif len(track.frames) >= LEAST_PRESENCE:
            others += 1
    if others and len(faces) > 1 and isinstance(face, str):
        number = next(number for number, parts in enumerate(faces) if chosen[0] in parts)
        reason = "whose lips move most" if face == TALKING else "the largest and present longest"
        warnings.warn(
            f"{name} shows several faces: took face {number} of 0 to {len(faces) - 1} (from left to right), "
            f"{reason}; the option face chooses another",
            stacklevel=3,
        )
    return sorted(chosen, key=lambda track: track.frames[0])


def lip_motion(shapes: np.ndarray) -> float:
    """How much the lips of a face move, apart from the head: 0 of a photo, 0.1 to 1 of a speaker.

    The standard deviation of the inner lips' opening over its mean, at the pace of speech. A photo with an
    open mouth, of which noise changes the opening by a part of it, is therefore told from lips that open and
    close. Measured in the face's own frame of reference (a similarity transform of the rigid points to their
    mean), so that motion of head and camera does not count; where these points jitter, as those of a small
    or blurred face do, it counts less.

    Args:
        shapes: (T, 32, 2), `SHAPE_POINTS` of successive frames, in pixels.
    """
    if len(shapes) < LEAST_PRESENCE:
        return 0.0
    points = shapes[..., 0].astype(np.float64) + 1j * shapes[..., 1]  # a similarity is one complex factor
    rigid = slice(len(RIGID_POINTS))
    points -= points[:, rigid].mean(axis=1, keepdims=True)
    mean = points[0]
    for _ in range(2):
        turn = (np.conj(points[:, rigid]) * mean[rigid]).sum(axis=1)
        turn /= np.maximum((np.abs(points[:, rigid]) ** 2).sum(axis=1), 1e-9)
        aligned = points * turn[:, None]
        mean = aligned.mean(axis=0)
    eyes = mean[RIGID_POINTS.index(LEFT_EYE)] - mean[RIGID_POINTS.index(RIGHT_EYE)]
    aligned = aligned / (eyes if eyes else 1)  # upright, too
    upper, lower = np.split(aligned[:, len(RIGID_POINTS) :], 2, axis=1)
    opening = (lower - upper).imag.mean(axis=1)
    jitter = np.sqrt((np.abs(_at_pace_of_speech(aligned[:, rigid])) ** 2).mean())
    motion = _at_pace_of_speech(opening[:, None]).std() / (np.abs(opening).mean() + CLOSED)
    return float(motion / (1 + (jitter / JITTER) ** 2))


def _at_pace_of_speech(values: np.ndarray) -> np.ndarray:
    """(T, N) without what changes within 3 frames, or over more than a second."""
    return _smooth(values, SYLLABLE) - _smooth(values, SECOND)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Means over `width` frames about each, (T, N); the ends are repeated."""
    padded = np.pad(values, ((width // 2 + 1, width // 2), (0, 0)), mode="edge")
    total = np.cumsum(padded, axis=0)
    return (total[width:] - total[:-width]) / width
