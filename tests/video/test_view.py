import numpy as np
import pytest

from hf_lip2speech.video.mouth import view_problems

RNG = np.random.default_rng(0)
CROPS = RNG.integers(80, 180, (10, 96, 96), dtype=np.uint8)
SEEN = np.ones(10, dtype=bool)
# nose base; right eye outer, inner; left eye inner, outer; mouth
FRONTAL = np.array([[50.0, 60], [20, 30], [40, 30], [60, 30], [80, 30], [50, 75]])


def points(scale: float = 1.0, degrees: float = 0.0, aside: float = 0.0, frames: int = 10) -> np.ndarray:
    """A face in each frame, rolled by some degrees, its nose moved along the line of the eyes."""
    turned = FRONTAL.copy()
    turned[0, 0] += aside
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.repeat((scale * turned @ rotation.T)[None], frames, axis=0)


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_a_face_from_the_front_is_no_problem_however_the_head_is_tilted(degrees):
    assert view_problems(CROPS, points(degrees=degrees), SEEN) == []
    assert view_problems(CROPS, None, SEEN) == []


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ({"points": points(scale=0.3)}, "the face is small (18 pixels between the eyes): go closer"),
        ({"points": points(aside=24)}, "the face is turned to the side"),
        ({"points": points(aside=-24, degrees=40)}, "the face is turned to the side"),
        ({"crops": CROPS // 20}, "the mouth has next to no contrast: put light on the face"),
    ],
)
def test_each_problem_is_named_with_what_can_be_done(view, problem):
    (found,) = view_problems(**({"crops": CROPS, "points": points(), "face_mask": SEEN} | view))
    assert found.startswith(problem)


def test_only_frames_with_the_face_count():
    seen = np.arange(10) < 5
    elsewhere = points()
    elsewhere[5:] = points(scale=0.1, frames=5)
    assert view_problems(CROPS, elsewhere, seen) == []
    assert view_problems(CROPS, elsewhere, ~seen) != []
    assert view_problems(CROPS, elsewhere, np.zeros(10, dtype=bool)) == []
