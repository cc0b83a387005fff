"""video/landmarks.py: faces of GRID found, followed, told from no faces."""

import time

import numpy as np
import pytest

from hf_lip2speech.media.video import open_video
from hf_lip2speech.video.crops import INNER_LIPS, OUTER_LIPS
from hf_lip2speech.video.landmarks import BlazeFace, MeshLandmarkDetector, borrowed_detector, iou
from hf_lip2speech.video.mouth import mouth_crops
from hf_lip2speech.video.warp import apply_affine, warp_affine

NOSE, RIGHT_EYE, LEFT_EYE, CHIN = 1, 33, 263, 152


def test_iou_of_boxes():
    box = np.array([0, 0, 10, 10])
    np.testing.assert_allclose(iou(box, [[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]]), [1, 1 / 3, 0])
    assert iou(box, []).shape == (0,)


def test_every_frame_of_a_grid_clip_shows_one_face_with_its_parts_in_order(frames):
    detector = MeshLandmarkDetector()
    for frame in frames:
        (face,) = detector(frame)
        assert face.score > 0.9 and face.points.shape == (468, 2)
        assert 0.5 * 100 < face.box[2] - face.box[0] < 1.5 * 100
        mouth = face.points[OUTER_LIPS + INNER_LIPS].mean(axis=0)
        assert face.points[RIGHT_EYE, 0] < face.points[NOSE, 0] < face.points[LEFT_EYE, 0]
        assert face.points[RIGHT_EYE, 1] < face.points[NOSE, 1] < mouth[1] < face.points[CHIN, 1]


def test_following_agrees_with_searching_each_frame_anew(frames):
    following, searching = MeshLandmarkDetector(), MeshLandmarkDetector()
    for frame in frames[:25]:
        searching.reset()
        (followed,), (found,) = following(frame), searching(frame)
        assert np.abs(followed.points - found.points).mean() < 1.0  # of a face 100 pixels wide


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_head_gives_tilted_points(frames, degrees):
    angle = np.deg2rad(degrees)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([180.0, 144.0])
    matrix = np.column_stack([linear, centre - linear @ centre])
    tilted = warp_affine(frames[0], matrix, 288, 360).astype(np.uint8)
    (upright,), (face,) = MeshLandmarkDetector()(frames[0]), MeshLandmarkDetector()(tilted)
    assert np.abs(apply_affine(matrix, face.points) - upright.points).mean() < 2.5


@pytest.mark.parametrize("frame", [np.zeros((288, 360, 3)), np.full((90, 1600, 3), 128), np.zeros((4, 4, 3))])
def test_no_face_gives_an_empty_list(frame):
    assert MeshLandmarkDetector()(frame.astype(np.uint8)) == []


def test_noise_is_no_face():
    rng = np.random.default_rng(0)
    detector = MeshLandmarkDetector()
    assert all(detector(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)) == [] for _ in range(5))


@pytest.mark.parametrize("turns", [1, 2, 3], ids=["to the left", "upside down", "to the right"])
def test_a_face_is_read_whichever_way_the_camera_was_held(frames, turns):
    (upright,) = MeshLandmarkDetector()(frames[0])
    (turned,) = MeshLandmarkDetector()(np.ascontiguousarray(np.rot90(frames[0], turns)))
    points = turned.points
    height, width = frames[0].shape[:2]
    for side in (width, height, width)[3 - turns :]:  # turned back to the right, step by step
        points = np.column_stack([side - 1 - points[:, 1], points[:, 0]])
    assert np.abs(points - upright.points).mean() < 3


def test_a_small_face_in_a_wide_frame_is_found(frames):
    wide = np.full((720, 1280, 3), 90, np.uint8)
    wide[400:688, 800:1160] = frames[0]  # the face is 8 % of the width
    (face,) = MeshLandmarkDetector()(wide)
    (alone,) = MeshLandmarkDetector()(frames[0])
    assert np.abs(face.points - alone.points - [800, 400]).mean() < 1.5


@pytest.mark.parametrize(("height", "width", "face"), [(1080, 1920, 55), (2160, 3840, 105)])
def test_a_small_face_in_a_large_picture_is_found_within_the_frames_of_a_search(frames, height, width, face):
    (whole,) = MeshLandmarkDetector()(frames[0])
    scale = float(whole.box[3] - whole.box[1]) / face
    shift = scale / 2 - 0.5
    rows, columns = (int(side / scale) for side in frames[0].shape[:2])
    webcam = warp_affine(frames[0], np.array([[scale, 0, shift], [0, scale, shift]]), rows, columns)
    screen = np.full((height, width, 3), 235, np.uint8)
    screen[-10 - rows : -10, -10 - columns : -10] = webcam
    detector = MeshLandmarkDetector()
    found = [detector(screen) for _ in range(detector.search_every + 1)]
    assert not BlazeFace()(screen)  # in as fine squares as other frames are searched in
    assert len(found[-1]) == 1
    corner = np.array([width - 10 - columns, height - 10 - rows] * 2)
    assert iou(found[-1][0].box, whole.box / scale + corner) > 0.6


def test_two_faces_are_followed_the_larger_first(frames):
    detector = MeshLandmarkDetector()
    for frame in frames[:20]:
        both = np.zeros((288, 600, 3), np.uint8)
        both[100:244, :180] = frame[::2, ::2]
        both[:, 240:] = frame
        faces = detector(both)
        assert len(faces) == 2
        assert faces[0].box[0] > 240 > faces[1].box[2]


def test_a_face_that_appears_later_is_noticed(frames):
    detector = MeshLandmarkDetector(search_every=5)
    counts = []
    for index, frame in enumerate(frames[:20]):
        both = np.zeros((288, 720, 3), np.uint8)
        both[:, :360] = frame
        if index >= 7:
            both[:, 360:] = frame
        counts.append(len(detector(both)))
    assert counts[:7] == [1] * 7 and counts[12:] == [2] * 8


def test_a_still_picture_is_searched_for_more_faces_only_now_and_then(frames):
    detector, searched = MeshLandmarkDetector(search_every=2), []
    search = detector._detector
    detector._detector = lambda frame, thorough: (searched.append(index), search(frame, thorough))[1]
    for index in range(50):  # noqa: B007
        detector(frames[0])
    assert searched == [0, 22, 44]  # ten searches left out in a row
    wide = np.zeros((288, 720, 3), np.uint8)
    wide[:, :360] = frames[0]
    detector.reset()
    for index in range(6):
        wide[:, 360:] = frames[0] if index > 2 else 0
        count = len(detector(wide))
    assert count == 2


def test_reset_forgets_the_faces_of_the_last_video(frames):
    detector = MeshLandmarkDetector()
    fresh = [face.points for face in detector(frames[0])]
    detector(frames[40])
    detector.reset()
    np.testing.assert_array_equal([face.points for face in detector(frames[0])], fresh)


def test_blazeface_puts_the_eyes_inside_the_box(frames):
    ((box, eyes, score),) = BlazeFace()(frames[0])
    assert score > 0.8
    assert np.all(eyes > box[:2]) and np.all(eyes < box[2:]) and eyes[0, 0] < eyes[1, 0]


def test_a_detector_is_kept_for_the_next_video_and_lent_to_one_at_a_time():
    with borrowed_detector() as first, borrowed_detector() as other:
        assert first is not other  # each remembers the frames of one video
    with borrowed_detector() as again:
        assert again in (first, other)
    with pytest.raises(KeyError), borrowed_detector():
        raise KeyError
    with borrowed_detector() as again:
        assert again in (first, other)


@pytest.mark.slow  # a pace is a machine's: other work on it, also the other processes of a run, slows it down
def test_fifty_frames_a_second_of_two_cores(grid_dir):
    clips = sorted((grid_dir / "s1").glob("*.mp4"))[:4]
    with borrowed_detector():
        pass
    start = time.process_time()  # of all threads, so of both cores: holds on a busy machine too
    count = 0
    for clip in clips:
        with open_video(clip) as video:
            count += len(mouth_crops(video))
    assert count / ((time.process_time() - start) / 2) >= 50
