"""video/tracks.py: which of several faces is read, their numbers, and the picture of them."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.errors import Lip2SpeechError, NoFaceError
from hf_lip2speech.media.video import iter_frames
from hf_lip2speech.plotting import plot_faces
from hf_lip2speech.video.landmarks import MeshLandmarkDetector
from hf_lip2speech.video.mouth import follow_mouth, mouth_crops
from hf_lip2speech.video.tracks import (
    LOWER_INNER_LIP,
    RIGID_POINTS,
    SHAPE_POINTS,
    UPPER_INNER_LIP,
    Track,
    assign,
    follow_faces,
    lip_motion,
    number_faces,
)
from hf_lip2speech.video.warp import warp_affine

from .test_mouth import Script, dots, fake_face

RENDERED = Path(__file__).parents[1] / "synthetic" / "rendered"
FRAMES = 30


def talker(name: str) -> np.ndarray:
    return np.stack(list(iter_frames(next((RENDERED / name).glob("*.mp4")))))[:FRAMES]


def photo(frames: np.ndarray, seed: int = 0, moving: bool = False) -> np.ndarray:
    """One frame for the whole clip, with a camera's noise and, perhaps, motion."""
    rng = np.random.default_rng(seed)
    still = frames[12]
    pictures = []
    for k in range(len(frames)):
        picture = still
        if moving:
            angle, zoom = 0.05 * np.sin(k / 7), 1 + 0.05 * np.sin(k / 9)
            linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            centre = np.array(still.shape[1::-1]) / 2
            shift = centre - linear @ centre + [6 * np.sin(k / 5), 3 * np.cos(k / 4)]
            picture = warp_affine(still, np.column_stack([linear, shift]), *still.shape[:2])
        pictures.append(np.clip(picture + rng.normal(0, 3, still.shape) + 0.5, 0, 255).astype(np.uint8))
    return np.stack(pictures)


def side_by_side(*clips: np.ndarray) -> np.ndarray:
    height = max(clip.shape[1] for clip in clips)
    padded = [np.pad(clip, ((0, 0), (0, height - clip.shape[1]), (0, 0), (0, 0))) for clip in clips]
    return np.concatenate(padded, axis=2)


def enlarged(frames: np.ndarray, factor: int) -> np.ndarray:
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


@pytest.fixture(scope="module")
def kal() -> np.ndarray:
    return talker("kal")


@pytest.fixture(scope="module")
def slt() -> np.ndarray:
    return talker("slt")


@pytest.mark.parametrize(("order", "moving"), [("talker first", False), ("photo first", True)])
def test_a_photo_however_large_never_wins_over_moving_lips(kal, slt, order, moving):
    poster = enlarged(photo(slt, moving=moving), 2)
    both = side_by_side(*((kal, poster) if order == "talker first" else (poster, kal)))
    number = 0 if order == "talker first" else 1
    with pytest.warns(UserWarning, match=f"took face {number} of 0 to 1 .*lips move most.* face chooses"):
        crops = mouth_crops(both)
    assert np.abs(crops.astype(int) - mouth_crops(kal)).mean() < 3
    with pytest.warns(UserWarning, match=f"took face {1 - number} of 0 to 1 .*largest"):
        crops = mouth_crops(both, face="largest")
    assert np.abs(crops.astype(int) - mouth_crops(poster)).mean() < 3


def test_faces_are_numbered_from_left_to_right_and_a_number_is_taken_without_a_word(kal, slt):
    both = side_by_side(kal, enlarged(slt, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = (mouth_crops(both, face=number) for number in (0, 1))
    assert np.abs(first.astype(int) - mouth_crops(kal)).mean() < 3
    assert np.abs(second.astype(int) - mouth_crops(enlarged(slt, 2))).mean() < 3


def test_a_number_that_is_not_there_says_how_many_are():
    places = [[(0.5, 0, 0), (0.4, 130, 0)]] * 10
    with pytest.raises(NoFaceError, match=r"face=2, but x\.mp4 shows 2 faces.*give 0 to 1"):
        mouth_crops(dots(places), detector=Script(places), face=2, name="x.mp4")
    with pytest.raises(NoFaceError, match=r"face=1, but x\.mp4 shows one face"):
        mouth_crops(dots(places), detector=Script([place[:1] for place in places]), face=1, name="x.mp4")


@pytest.mark.parametrize("face", [-1, True, 1.0, "left", None, [0]])
def test_what_names_no_face_is_refused(face):
    with pytest.raises(Lip2SpeechError, match="expected 'talking', 'largest', or the number"):
        mouth_crops(dots([[]] * 3), detector=Script([[]] * 3), face=face)


def test_a_named_face_keeps_its_place_over_a_cut_and_others_fill_the_time_without_it():
    left, right = (0.4, 0, 0), (0.4, 130, 0)
    shots = [[left, right]] * 20 + [[(0.4, 8, 60), (0.4, 135, 70)]] * 20 + [[(0.5, 60, 20)]] * 20
    tracks, _ = follow_faces(dots(shots), "x", Script(shots))
    assert [len(face) for face in number_faces(tracks)] == [2, 3]  # the last shot shows the right one
    mouth = follow_mouth(dots(shots), detector=Script(shots), face=1)
    assert mouth.face_mask.all()
    for crop in mouth.crops:
        ys, xs = np.nonzero(crop > 128)
        assert abs(xs.mean() - 47.5) < 1.5 and abs(ys.mean() - 47.5) < 1.5


def shapes(opening: np.ndarray, place: np.ndarray, scale: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """`SHAPE_POINTS` of a face (eyes 75 pixels apart) whose lips open by these pixels."""
    face = np.random.default_rng(0).uniform(-60, 60, (len(SHAPE_POINTS), 2))
    face[[RIGID_POINTS.index(33), RIGID_POINTS.index(263)]] = [[-37.5, -30], [37.5, -30]]
    frames = np.repeat(face[None], len(opening), axis=0)
    lips = len(RIGID_POINTS)
    for column in range(len(UPPER_INNER_LIP)):
        frames[:, lips + column] = [10 * column - 10, 30]
        frames[:, lips + len(LOWER_INNER_LIP) + column, 0] = 10 * column - 10
        frames[:, lips + len(LOWER_INNER_LIP) + column, 1] = 30 + opening
    points = (frames[..., 0] + 1j * frames[..., 1]) * (scale * np.exp(1j * angle))[:, None]
    points += (place[:, 0] + 1j * place[:, 1])[:, None]
    return np.stack([points.real, points.imag], axis=-1)


def test_lip_motion_does_not_count_motion_of_head_and_camera_size_or_constant_opening():
    t = np.arange(75)
    syllables = 3 + 3 * np.sin(2 * np.pi * 4 * t / 25)
    still, one = np.zeros((75, 2)), np.ones(75)
    speech = lip_motion(shapes(syllables, still, one, 0 * one))
    assert 0.3 < speech < 1
    moved = np.column_stack([40 * np.sin(t / 5), 30 * np.cos(t / 7)])
    turning = lip_motion(shapes(syllables, moved, 1 + 0.3 * np.sin(t / 6), 0.4 * np.sin(t / 8)))
    assert turning == pytest.approx(speech, rel=0.02)
    assert lip_motion(shapes(syllables, still, 4 * one, 0.5 * one)) == pytest.approx(speech, rel=1e-6)
    assert lip_motion(shapes(6 * one, moved, 1 + 0.3 * np.sin(t / 6), one)) < 1e-6
    noise = np.random.default_rng(1).normal(0, 2, (75, len(SHAPE_POINTS), 2))
    assert lip_motion(shapes(6 * one, still, one, 0 * one) + noise) < speech / 5
    assert lip_motion(shapes(syllables, still, one, 0 * one)[:4]) == 0
    jitter = np.zeros((75, len(SHAPE_POINTS), 2))
    jitter[:, : len(RIGID_POINTS)] = np.random.default_rng(2).normal(0, 0.8, (75, len(RIGID_POINTS), 2))
    half = lip_motion(shapes(syllables, still, one, 0 * one) + jitter)  # 0.008 of the eyes' distance
    assert half == pytest.approx(speech / 2, rel=0.15)


def test_the_picture_shows_every_face_once_at_least(tmp_path):
    places = [[(0.4, 0, 0)] if k < 20 else [(0.4, 0, 0), (0.4, 130, 0)] if k < 40 else [] for k in range(60)]
    path = tmp_path / "faces.png"
    assert plot_faces(path, dots(places), detector=Script(places)) == 2
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(NoFaceError):
        plot_faces(tmp_path / "none.png", dots([[]] * 3), detector=Script([[]] * 3))
    assert [file.name for file in tmp_path.iterdir()] == ["faces.png"]


def test_a_face_of_another_size_after_a_cut_is_another():
    for factor, faces in ((1.9, 1), (2.1, 2), (1 / 1.9, 1), (1 / 2.1, 2)):
        shots = [[(0.4, 0, 0)]] * 20 + [[(0.4 * factor, 150, 150)]] * 10
        tracks, _ = follow_faces(dots(shots), "x", Script(shots))
        assert (len(tracks), len(number_faces(tracks))) == (2, faces)


def test_a_face_goes_to_the_track_that_it_overlaps_most():
    tracks: list[Track] = []
    assign(tracks, 0, [fake_face(1, 0, 0), fake_face(1, 70, 0)])
    moved = [fake_face(1, 80, 0), fake_face(1, 34, 0)]  # the second overlaps both
    assign(tracks, 1, moved)
    assert [track.box.tolist() for track in tracks] == [moved[1].box.tolist(), moved[0].box.tolist()]


@pytest.mark.parametrize(("frames", "named"), [(4, False), (5, True)])
def test_another_face_is_worth_a_warning_from_5_frames_on(frames, named):
    shots = [[(0.5, 0, 0), (0.4, 130, 0)]] * frames + [[(0.5, 0, 0)]] * 20
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        follow_mouth(dots(shots), detector=Script(shots), face="largest")
    assert [("took face 0 of 0 to 1" in str(one.message)) for one in caught] == [True] * named


def test_faces_of_a_gallery_are_all_followed(kal, slt):
    row = side_by_side(kal[:6], slt[:6], kal[:6])
    gallery = np.concatenate([row, row], axis=1)
    found = MeshLandmarkDetector()(gallery[0])
    assert len(found) == 6


def test_a_face_too_brief_to_stay_has_no_number():
    places = [[(0.4, 0, 0), (0.4, 130, 0)] if k < 4 else [(0.4, 0, 0)] for k in range(20)]
    tracks, _ = follow_faces(dots(places), "x", Script(places))
    assert len(tracks) == 2 and len(number_faces(tracks)) == 1
