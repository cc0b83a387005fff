"""video/mouth.py: the crop's place and size, gaps, several faces, errors, memory."""

import warnings
import weakref

import numpy as np
import pytest

from hf_lip2speech.errors import EmptyVideoError, Lip2SpeechError, MouthCropError, NoFaceError
from hf_lip2speech.media.video import open_video, write_video
from hf_lip2speech.video import mouth
from hf_lip2speech.video.crops import (
    INNER_LIPS,
    MEAN_FACE,
    OUTER_LIPS,
    STABLE_POINTS,
    CropsAhead,
    anchor_points,
    crop_matrix,
    cut_mouth,
    interpolate,
    smooth,
)
from hf_lip2speech.video.landmarks import Face, MeshLandmarkDetector
from hf_lip2speech.video.mouth import follow_mouth, mouth_crops, ready_made_crops
from hf_lip2speech.video.warp import apply_affine, invert_affine

from ..media.clips import encode, numbered, with_matrix

LIPS = OUTER_LIPS + INNER_LIPS


class Script:
    """A detector that is told where the faces are: a list of (scale, shift x, shift y) for each frame."""

    def __init__(self, frames):
        self.frames = frames

    def reset(self):
        self.index = -1

    def __call__(self, frame):
        self.index += 1
        return [fake_face(*place) for place in self.frames[self.index]]


def fake_face(scale=1.0, x=0.0, y=0.0) -> Face:
    """The mean face of a 256x256 frame, scaled and moved; all lip points at the mean of the mouth."""
    points = np.full((468, 2), 130.0)
    points[STABLE_POINTS] = MEAN_FACE
    points[LIPS] = [129.3, 157.8]
    points[0], points[10] = [129.3, 157.8], [130.0, 40.0]
    points = (points * scale + [x, y]).astype(np.float32)
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return Face(box, 1.0, points)


def dots(places, size=256):
    """Frames that are black but for a white blob at each place's mouth."""
    y, x = np.mgrid[:size, :size]
    frames = []
    for place in places:
        image = np.zeros((size, size))
        for scale, dx, dy in place:
            centre = np.array([129.3, 157.8]) * scale + [dx, dy]
            image += 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * (6 * scale) ** 2))
        frames.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.repeat(np.stack(frames)[..., None], 3, axis=3)


def blob(crop):
    """Centre x, y and standard deviation of the brightness of a crop."""
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    weights = crop / crop.sum()
    centre = np.array([(weights * x).sum(), (weights * y).sum()])
    return centre, np.sqrt((weights * ((x - centre[0]) ** 2 + (y - centre[1]) ** 2)).sum() / 2)


@pytest.mark.parametrize("place", [(1.0, 0, 0), (0.5, 60, 20), (0.8, -20, 40)])
def test_the_mouth_lies_in_the_middle_at_the_scale_of_the_mean_face(place):
    places = [[place]] * 15
    for crop in mouth_crops(dots(places), detector=Script(places)):
        centre, spread = blob(crop.astype(float))
        np.testing.assert_allclose(centre, [48, 48], atol=0.15)
        assert spread == pytest.approx(6, rel=0.05)


def test_landmarks_are_averaged_over_twelve_frames():
    places = [[(1.0, 0, 0)]] * 20 + [[(1.0, 24, 0)]] * 20
    still = dots([[(1.0, 0, 0)]] * 40)  # the picture stands still: what moves is the crop
    offsets = [48 - blob(crop.astype(float))[0][0] for crop in mouth_crops(still, detector=Script(places))]
    expected = [0.0] * 14 + [24 * k / 12 for k in range(13)] + [24.0] * 13
    np.testing.assert_allclose(offsets[:27], expected[:27], atol=0.2)


def test_frames_without_the_face_are_interpolated_and_the_ends_hold():
    def place(k):
        return (1.0, 1.5 * k, 0.0)

    seen = [*range(5, 15), *range(25, 35)]
    told = [[place(k)] if k in seen else [] for k in range(40)]
    true = [[place(k)] for k in range(40)]
    crops = mouth_crops(dots(true), detector=Script(told))
    assert crops.shape == (40, 96, 96)
    for k in range(11, 29):  # far from the ends, where the window is whole: half a frame behind
        assert abs(blob(crops[k].astype(float))[0][0] - 48) < 1.2
    ends = mouth_crops(
        dots([[place(5)]] * 40), detector=Script([[place(5)] if k in seen[:10] else [] for k in range(40)])
    )
    assert all(np.array_equal(crop, ends[0]) for crop in ends)


def test_a_cut_to_another_place_is_not_blurred_over():
    places = [[(0.7, 0, 0)]] * 20 + [[(0.7, 75, 60)]] * 20
    for crop in mouth_crops(dots(places), detector=Script(places)):
        np.testing.assert_allclose(blob(crop.astype(float))[0], [48, 48], atol=0.2)


@pytest.mark.parametrize(
    ("missing", "times"),
    [
        (range(30, 56), "from 0:01.2 to 0:02.2"),
        (range(0, 26), "from 0:00.0 to 0:01.0"),
        ([*range(10, 40), *range(64, 100)], "from 0:00.4 to 0:01.6, from 0:02.6 to 0:04.0"),
    ],
    ids=str,
)
def test_where_nobody_is_seen_for_longer_than_a_second_the_mask_is_false_and_a_warning_gives_the_times(
    missing, times
):
    places = [[] if k in missing else [(0.5, 60, 20)] for k in range(100)]
    with pytest.warns(UserWarning, match=f"shows no face {times}: ") as warned:
        mouth = follow_mouth(dots(places), detector=Script(places))
    assert len(warned) == 1 and len(mouth.crops) == 100
    assert np.flatnonzero(~mouth.face_mask).tolist() == list(missing)


def test_where_nobody_is_seen_the_nearest_crop_is_held_whatever_the_picture_shows():
    places = [[] if k < 30 or 50 <= k < 90 else [(0.5, 60 + k, 20)] for k in range(100)]
    frames = dots([place or [(0.5, 0, 0)] for place in places])
    frames[50:90] = np.random.default_rng(0).integers(0, 256, frames[50:90].shape, dtype=np.uint8)
    with pytest.warns(UserWarning, match="shows no face"):
        crops = follow_mouth(frames, detector=Script(places)).crops
    assert all(np.array_equal(crop, crops[30]) for crop in crops[:30])
    assert all(np.array_equal(crop, crops[49]) for crop in crops[50:69])
    assert all(np.array_equal(crop, crops[90]) for crop in crops[71:90])
    assert not np.array_equal(crops[49], crops[90])


@pytest.mark.filterwarnings("error")
def test_a_second_without_a_face_is_no_gap():
    places = [[] if 30 <= k < 55 else [(0.5, 60, 20)] for k in range(100)]
    assert follow_mouth(dots(places), detector=Script(places)).face_mask.all()


def test_of_several_faces_the_largest_and_longest_is_taken_with_a_warning():
    main, small, brief = (0.7, 60, 0), (0.3, 0, 0), (0.9, 0, 20)
    places = [[small, main] if k < 30 else [main, brief] for k in range(36)]
    with pytest.warns(UserWarning, match="several faces"):
        crops = mouth_crops(dots([[main]] * 36), detector=Script(places))
    assert all(np.allclose(blob(crop.astype(float))[0], [48, 48], atol=0.2) for crop in crops)


def test_one_face_gives_no_warning_nor_does_a_flicker_of_another():
    places = [[(0.7, 60, 0)] + ([(0.3, 0, 0)] if k == 9 else []) for k in range(30)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mouth_crops(dots(places), detector=Script(places))


def test_no_face_raises_and_mentions_ready_made_crops():
    with pytest.raises(NoFaceError, match="cropped=True"):
        mouth_crops(numbered(5))


def test_frames_that_can_be_read_only_once_are_refused():
    with pytest.raises(Lip2SpeechError, match="an iterator, which can be read once"):
        mouth_crops(iter(numbered(5)))


@pytest.mark.parametrize("function", [mouth_crops, ready_made_crops])
def test_no_frames_at_all_are_an_error_with_the_name(function):
    with pytest.raises(EmptyVideoError, match="x.mp4 has no frame"):
        function([], name="x.mp4")


def assert_same(crops, expected):
    """Equal but for the rounding of single pixels, whose places are counted from another corner."""
    difference = np.abs(crops.astype(int) - np.stack(expected))
    assert difference.max() <= 1 and difference.mean() < 1e-3


class Counted:
    """Frames that count how often they are read, and which."""

    def __init__(self, frames, *lengths):
        self.frames = frames
        self.lengths = list(lengths)
        self.read = []

    def __iter__(self):
        length = self.lengths.pop(0) if self.lengths else len(self.frames)
        self.read.append(0)
        for frame in self.frames[:length]:
            self.read[-1] += 1
            yield frame


SEEN = {  # frames in which the face is seen, and how many are read again
    "all of them": (range(100), 0),
    "gaps of up to a second": ([0, *range(20, 60), *range(84, 90)], 0),
    "from the tenth on": (range(10, 100), 10),
    "not at the end": (range(80), 0),
    "a gap of more than a second": ([*range(20), *range(50, 100)], 0),
}


@pytest.mark.parametrize("seen", SEEN, ids=str)
@pytest.mark.filterwarnings("ignore:the video shows no face")
def test_frames_are_read_once_unless_a_crop_depends_on_what_came_later(seen):
    seen, again = SEEN[seen]
    places = [(0.5 + 0.0005 * k, 40 + 0.2 * k, 20 - 0.1 * k) for k in range(100)]
    told = [[place] if k in seen else [] for k, place in enumerate(places)]
    images = Counted(dots([[place] for place in places]))
    mouth = follow_mouth(images, detector=Script(told))
    assert images.read == [100, again][: 1 + bool(again)]
    anchors = np.stack([anchor_points(fake_face(*places[k])) for k in seen])
    held = interpolate(list(seen), anchors, np.arange(100))
    expected = [cut_mouth(f, crop_matrix(p)) for f, p in zip(images.frames, smooth(held), strict=True)]
    assert_same(mouth.crops[mouth.face_mask], np.stack(expected)[mouth.face_mask])


def test_a_face_that_moves_fast_is_read_again_and_cropped_all_the_same():
    places = [[(0.4, 40 + 8 * abs(k % 20 - 10), 40)] for k in range(60)]
    images = Counted(dots(places, size=300))
    crops = mouth_crops(images, detector=Script(places))
    anchors = np.stack([anchor_points(fake_face(*place)) for (place,) in places])
    expected = [cut_mouth(f, crop_matrix(p)) for f, p in zip(images.frames, smooth(anchors), strict=True)]
    assert_same(crops, expected)


def test_a_second_reading_of_fewer_frames_never_becomes_crops():
    told = [[] if k < 20 else [(1.0, 0, 0)] for k in range(40)]
    with pytest.raises(Lip2SpeechError, match="had 40 frames when it was first read and has fewer"):
        mouth_crops(Counted(dots([[(1.0, 0, 0)]] * 40), 40, 10), detector=Script(told))


def test_parts_of_frames_that_are_kept_stay_small(monkeypatch):
    most = 0

    class Watch(CropsAhead):
        def keep(self, *args):
            nonlocal most
            super().keep(*args)
            most = max(most, self._bytes)

    monkeypatch.setattr(mouth, "CropsAhead", Watch)
    places = [[(0.5, 60, 20)]] * 300
    mouth_crops(Counted([dots(places[:1], 512)[0]] * 300), detector=Script(places))
    assert 0 < most < 16 * 100 * 100 * 3  # 16 parts; a frame has 512 x 512 pixels


def test_progress_tells_both_stages():
    calls = []
    places = [[(1.0, 0, 0)]] * 4
    mouth_crops(dots(places), detector=Script(places), progress=lambda *call: calls.append(call))
    assert calls == [(stage, k, 4) for stage in ("landmarks", "crops") for k in range(1, 5)]


def test_frames_do_not_pile_up_in_memory():
    alive = weakref.WeakSet()
    most = 0

    class Watch(Script):
        def __call__(self, frame):
            nonlocal most
            alive.add(_Held(frame))
            most = max(most, len(alive))
            return super().__call__(frame)

    class _Held:
        def __init__(self, frame):
            weakref.finalize(frame, alive.discard, self)

    places = [[(1.0, 0, 0)]] * 100
    with open_video(encode(np.zeros((100, 64, 64, 3), np.uint8))) as video:
        mouth_crops(video, detector=Watch(places))
    assert most <= 3


@pytest.mark.parametrize("name", ["s1/bbaf3s.mp4", "s1/lwaf1a.mp4", "original/pbwx3a.mpg"])
def test_grid_mouths_are_centred_and_of_the_mean_face_size(grid_frames, name):
    frames, detector = grid_frames(name), MeshLandmarkDetector()
    crops = mouth_crops(frames)
    assert crops.shape == (75, 96, 96) and crops.dtype == np.uint8
    # seen by the mesh again, in the frame that the crop was cut from
    assert crops[0].mean() == pytest.approx(float(frames[0][180:240, 120:200].mean()), rel=0.3)
    faces = [detector(frame)[0] for frame in frames]
    places = smooth(np.stack([anchor_points(face) for face in faces]))
    for face, place in zip(faces, places, strict=True):
        lips = apply_affine(invert_affine(crop_matrix(place)), face.points[LIPS])
        np.testing.assert_allclose(
            lips.mean(axis=0), [48, 48], atol=3
        )  # it opens and shuts about the window's mean
        assert 30 < np.ptp(lips[:, 0]) < 60


def test_the_crop_does_not_depend_on_the_size_of_the_video(frames):
    frames = frames[:20]
    large = frames.repeat(3, axis=1).repeat(3, axis=2)
    crops = mouth_crops(frames).astype(int)
    from_large = mouth_crops(large).astype(int)
    assert np.abs(crops - from_large).mean() < 3


def test_a_video_filmed_on_its_side_gives_the_upright_mouth(frames):
    frames = frames[:10]
    lying = np.ascontiguousarray(np.rot90(frames, 1, axes=(1, 2)))
    with open_video(with_matrix(encode(lying), (0, 1, -1, 0))) as video:
        turned = mouth_crops(video).astype(int)
    assert np.abs(turned - mouth_crops(frames)).mean() < 6


def test_two_real_faces_give_the_larger_with_a_warning(frames):
    frames = frames[:30]
    both = np.zeros((30, 288, 560, 3), np.uint8)
    both[:, 100:244, :180] = frames[::-1, ::2, ::2]
    both[:, :, 200:] = frames
    with pytest.warns(UserWarning, match="several faces"):
        crops = mouth_crops(both)
    alone = mouth_crops(frames)
    assert np.abs(crops.astype(int) - alone).mean() < 2


def test_dropped_frames_move_the_crop_little(frames):
    holes = frames.copy()
    holes[20:30] = 0
    crops, whole = mouth_crops(holes), mouth_crops(frames)
    kept = np.r_[0:20, 30:75]
    assert crops.shape == (75, 96, 96)
    assert np.abs(crops[kept].astype(int) - whole[kept]).mean() < 2
    assert crops[20:30].max() == 0


def test_ready_made_crops_come_back_as_they_are(tmp_path, frames):
    crops = mouth_crops(frames)
    np.testing.assert_array_equal(ready_made_crops(np.repeat(crops[..., None], 3, axis=3)), crops)
    write_video(tmp_path / "mouth.mp4", crops)
    with open_video(tmp_path / "mouth.mp4") as video:
        assert np.abs(ready_made_crops(video).astype(int) - crops).mean() < 1.0


def test_ready_made_crops_of_the_model_size_are_framed_and_others_resized():
    small = np.random.default_rng(0).integers(0, 256, (3, 88, 88), dtype=np.uint8)
    small_rgb = np.repeat(small[..., None], 3, axis=3)
    np.testing.assert_array_equal(ready_made_crops(small_rgb)[:, 4:92, 4:92], small)
    large = np.full((3, 192, 192, 3), 77, np.uint8)
    np.testing.assert_array_equal(ready_made_crops(large), np.full((3, 96, 96), 77))


def test_a_whole_picture_is_no_ready_made_crop(frames):
    with pytest.raises(MouthCropError, match="x.mp4 has frames of 360x288"):
        ready_made_crops(frames, name="x.mp4")


def test_published_crops_are_read_at_their_own_length(lrs3_sample_dir):
    rows = (lrs3_sample_dir / "label" / "train.tsv").read_text().splitlines()[1:]
    _, video, _, count, _ = rows[0].split("\t")
    with open_video(lrs3_sample_dir / video) as opened:
        crops = ready_made_crops(opened)
    assert crops.shape == (int(count), 96, 96)
