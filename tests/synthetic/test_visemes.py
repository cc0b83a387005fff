"""Phones to movements of the mouth: what lip readers rely on is there to be seen."""

import numpy as np
import pytest

from hf_lip2speech.synthetic.visemes import ARTICULATORS, Phone, articulate

FRAMES = (np.arange(50) + 0.5) / 25


def phones(*names: str, length: float = 0.1, start: float = 0.5) -> list[Phone]:
    return [Phone(name, start + length * i, start + length * (i + 1)) for i, name in enumerate(names)]


def at(articulator: str, spoken: list[Phone], index: int) -> float:
    """An articulator in the middle of a phone."""
    middle = np.array([(spoken[index].start + spoken[index].end) / 2])
    return float(articulate(spoken, middle)[0, ARTICULATORS.index(articulator)])


@pytest.mark.parametrize("name", ["p", "b", "m"])
@pytest.mark.parametrize("vowel", ["aa", "ae", "ow"])
def test_some_video_frame_shows_the_lips_closed_however_short_and_wherever_the_bilabial_is(name, vowel):
    for length in (0.03, 0.06, 0.12):
        for shift in np.arange(0, 0.04, 0.005):
            first = Phone(vowel, 0.5, 0.7 + shift)
            closed = Phone(name, first.end, first.end + length)
            track = articulate([first, closed, Phone(vowel, closed.end, closed.end + 0.2)], FRAMES)
            gap = track[:, ARTICULATORS.index("gap")]
            during = np.abs(FRAMES - (closed.start + closed.end) / 2) < length / 2 + 0.06
            assert gap[during].min() == 0
            assert gap[(FRAMES > 0.55) & (FRAMES < 0.65)].min() > 0.1


def test_voicing_shows_a_little_in_jaw_and_lips():
    jaw = {name: at("jaw", phones("iy", name, "iy"), 1) for name in "tdnszpbm"}
    assert jaw["t"] < jaw["d"] < jaw["n"]
    assert jaw["s"] < jaw["z"]
    press = {name: at("press", phones("iy", name, "iy"), 1) for name in "pbm"}
    assert press["p"] > press["b"] > press["m"]


def test_labiodentals_tuck_the_lip_dentals_show_the_tongue_and_sibilants_the_teeth():
    for name in ("f", "v"):
        assert at("tuck", phones("ay", name, "ay"), 1) > 0.7
    for name in ("th", "dh"):
        assert at("out", phones("ih", name, "ax"), 1) > 0.5
    for name in ("s", "z", "ch", "jh"):
        spoken = phones("eh", name, "eh")
        assert at("jaw", spoken, 1) < 0.2 < at("gap", spoken, 1)
    assert at("tip", phones("eh", "l", "eh"), 1) > 0.7 > 0.4 > at("tip", phones("eh", "k", "eh"), 1)


def test_rounding_starts_before_its_vowel():
    assert at("round", phones("s", "uw", "n"), 0) > at("round", phones("s", "iy", "n"), 0) + 0.2


def test_a_consonant_without_a_shape_of_its_own_takes_that_of_its_neighbours():
    assert at("width", phones("iy", "k", "iy"), 1) > 0.3
    assert at("width", phones("uw", "k", "uw"), 1) < -0.3


def test_a_diphthong_moves_from_one_vowel_to_another():
    spoken = phones("n", "aw", length=0.25)
    jaw, rounded = (
        articulate(spoken, np.array([0.80, 0.97]))[:, ARTICULATORS.index(name)] for name in ("jaw", "round")
    )
    assert jaw[0] > jaw[1] + 0.3
    assert rounded[1] > rounded[0] + 0.3


def test_the_mouth_is_shut_in_silence_and_effort_opens_it_wider():
    spoken = phones("aa", "r")
    gap = ARTICULATORS.index("gap")
    assert np.abs(articulate(spoken, np.array([0.0, 1.8]))[:, gap]).max() < 0.05
    quiet, loud = (articulate(spoken, np.array([0.55]), effort)[0, gap] for effort in (0.8, 1.1))
    assert loud > 1.2 * quiet
