"""Rendered speakers: a detector of real faces accepts them, and its landmarks follow the drawn lips."""

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("cv2", reason="drawing needs the extra `render`")

from hf_lip2speech.synthetic.looks import SPEAKERS, look_of
from hf_lip2speech.synthetic.mouth import shape_lips
from hf_lip2speech.synthetic.scene import Scene
from hf_lip2speech.synthetic.visemes import Phone
from hf_lip2speech.video.landmarks import MeshLandmarkDetector
from hf_lip2speech.video.mouth import mouth_crops

SPOKEN = "pau l ey b l uw b ay aa r f ao r s uw n pau".split()  # "lay blue by r four soon"
UPPER_LIP, LOWER_LIP = 13, 14  # the middle of the lips' inner edges, in the mesh
EYES = [33, 263]


def scene(talker: str, seed: int = 0, frames: int = 40, size: tuple[int, int] = (360, 288)) -> Scene:
    phones = [Phone(name, 0.1 * i, 0.1 * (i + 1)) for i, name in enumerate(SPOKEN)]
    return Scene(look_of(talker, np.random.default_rng(seed)), phones, frames, size, seed)


def drawn_openings(drawn: Scene) -> np.ndarray:
    """The distance between the lips in each frame as it is drawn."""
    lips = [shape_lips(drawn.look, pose) for pose in drawn.poses]
    return np.array([lip.lower - lip.upper for lip in lips])


def seen_openings(frames: Sequence[np.ndarray]) -> np.ndarray:
    """The distance between the lips in each frame as the mesh sees it, over that between the eyes."""
    detector = MeshLandmarkDetector()
    openings = []
    for frame in frames:
        (face,) = detector(frame)
        eyes = np.linalg.norm(np.subtract(*face.points[EYES]))
        openings.append(np.linalg.norm(face.points[LOWER_LIP] - face.points[UPPER_LIP]) / eyes)
    return np.array(openings)


@pytest.mark.parametrize("talker", sorted(SPEAKERS))
def test_each_frame_shows_one_face_whose_landmarks_follow_the_drawn_lips(talker):
    drawn = scene(talker)
    assert np.corrcoef(drawn_openings(drawn), seen_openings(list(drawn)))[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_so_it_is_in_other_light_and_on_other_days(seed):
    drawn = scene(sorted(SPEAKERS)[seed % 4], seed)
    assert np.corrcoef(drawn_openings(drawn), seen_openings(list(drawn)))[0, 1] > 0.8


@pytest.mark.parametrize("size", [(288, 360), (640, 360), (160, 160)])
def test_a_face_is_found_in_frames_of_any_shape(size):
    frames = np.stack(list(scene("rms", frames=3, size=size)))
    assert frames.shape == (3, size[1], size[0], 3) and frames.dtype == np.uint8
    assert mouth_crops(frames).shape == (3, 96, 96)


def test_the_seed_alone_decides_what_is_drawn():
    first, again, other = (list(scene("slt", seed, frames=2)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    silent, next_one = (frame.astype(float) for frame in first)
    assert 0.5 < np.abs(silent - next_one).mean() < 5, "the camera's noise and slow movements"
