import numpy as np
import pytest
import torch

from hf_lip2speech.constants import PIXEL_MEAN, PIXEL_STD
from hf_lip2speech.data.augmentation import (
    VideoAugmentation,
    evaluation_transform,
    sample_generator,
)
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor

NOTHING = {"crop": False, "flip": 0, "erasing": 0, "time_mask": 0}
# Two maps whose values name the pixel they stand at: its row and its column.
ROWS, COLUMNS = np.mgrid[:96, :96].astype(np.uint8)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (60, 96, 96), dtype=np.uint8)


def views(augmentation, frames, count):
    return [augmentation(frames, sample_generator(0, 0, index))[:, 0] for index in range(count)]


def pixels(view):
    """Back from normalised values to 0..255."""
    return torch.round((view * PIXEL_STD + PIXEL_MEAN) * 255).to(int)


def test_evaluation_crops_the_centre_and_normalises(frames):
    result = evaluation_transform(frames)
    assert result.shape == (60, 1, 88, 88)
    expected = (frames[:, 4:92, 4:92] / 255 - 0.421) / 0.165
    np.testing.assert_allclose(result[:, 0], expected, atol=1e-5)


def test_the_numbers_are_those_of_the_models_feature_extractor(frames):
    extractor = Lip2SpeechFeatureExtractor(crop_size=64, pixel_mean=0.5, pixel_std=0.25)
    expected = (frames[:, 16:80, 16:80] / 255 - 0.5) / 0.25
    for transformed in (
        evaluation_transform(frames, extractor),
        VideoAugmentation(**NOTHING)(frames, sample_generator(0, 0, 0), extractor),
    ):
        np.testing.assert_allclose(transformed[:, 0], expected, atol=1e-5)
    assert VideoAugmentation()(frames, sample_generator(0, 0, 0), extractor).shape == (60, 1, 64, 64)


def test_training_with_every_step_off_is_evaluation(frames):
    result = VideoAugmentation(**NOTHING)(frames, sample_generator(0, 0, 0))
    assert torch.equal(result, evaluation_transform(frames))


def test_same_seed_epoch_and_sample_give_the_same_bits(frames):
    augmentation = VideoAugmentation()
    first = augmentation(frames, sample_generator(1, 2, 3))
    assert torch.equal(first, augmentation(frames, sample_generator(1, 2, 3)))
    for other in ((0, 2, 3), (1, 3, 2), (1, 2, 4), (3, 2, 1)):
        assert not torch.equal(first, augmentation(frames, sample_generator(*other)))


def test_crops_are_uniform_over_all_81_places():
    augmentation = VideoAugmentation(**NOTHING | {"crop": True})
    tops = [int(pixels(view)[0, 0, 0]) for view in views(augmentation, ROWS[None], 2000)]
    lefts = [int(pixels(view)[0, 0, 0]) for view in views(augmentation, COLUMNS[None], 2000)]
    for offsets in (tops, lefts):
        assert set(offsets) == set(range(9))
        np.testing.assert_allclose(np.bincount(offsets) / 2000, 1 / 9, atol=0.03)
    assert len(set(zip(tops, lefts, strict=True))) == 81


def test_a_flip_comes_half_of_the_time_and_mirrors_all_frames():
    augmentation = VideoAugmentation(**NOTHING | {"flip": 0.5})
    plain = evaluation_transform(np.stack([COLUMNS, ROWS]))[:, 0]
    flipped = 0
    for view in views(augmentation, np.stack([COLUMNS, ROWS]), 1000):
        is_flipped = torch.equal(view, plain.flip(-1))
        assert is_flipped or torch.equal(view, plain)
        flipped += is_flipped
    assert flipped / 1000 == pytest.approx(0.5, abs=0.05)


def test_erasing_sets_one_box_to_zero_in_all_frames_half_of_the_time():
    bright = np.full((3, 96, 96), 200, dtype=np.uint8)
    areas, ratios = [], []
    for view in views(VideoAugmentation(**NOTHING | {"erasing": 0.5}), bright, 1000):
        erased = view == 0
        if not erased.any():
            continue
        assert torch.equal(erased, erased[:1].expand(3, -1, -1))
        rows, columns = erased[0].any(1).nonzero(), erased[0].any(0).nonzero()
        height, width = (int(line[-1] - line[0]) + 1 for line in (rows, columns))
        assert erased[0].sum() == height * width
        areas.append(height * width / 88**2)
        ratios.append(height / width)
    assert len(areas) / 1000 == pytest.approx(0.5, abs=0.05)
    # Whole pixels: a box may miss the limits by a rounding.
    assert 0.018 < min(areas) < 0.04 and 0.29 < max(areas) < 0.335
    assert 0.28 < min(ratios) < 0.4 and 2.5 < max(ratios) < 3.6
    assert np.mean(np.log(ratios)) == pytest.approx(0, abs=0.1)


def test_time_masking_blanks_one_span_of_up_to_ten_frames_in_each_second():
    bright = np.full((60, 96, 96), 200, dtype=np.uint8)
    lengths = [[], [], []]
    for view in views(VideoAugmentation(**NOTHING | {"time_mask": 10}), bright, 500):
        masked = (view == 0).all(dim=(1, 2))
        assert torch.equal(masked, (view == 0).any(dim=(1, 2)))
        for second, part in enumerate(masked.split(25)):
            where = part.nonzero().flatten()
            lengths[second].append(len(where))
            assert not len(where) or where[-1] - where[0] + 1 == len(where)
    for second in (0, 1):
        assert set(lengths[second]) == set(range(11))
        assert np.mean(lengths[second]) == pytest.approx(5, abs=0.5)
    assert max(lengths[2]) == 4  # ten frames of the last 0.4 seconds would be all of them


def test_switching_one_step_off_leaves_the_others_as_they_were(frames):
    with_flip = VideoAugmentation(flip=1)(frames, sample_generator(0, 0, 5))
    without = VideoAugmentation(flip=0)(frames, sample_generator(0, 0, 5))
    erased = (with_flip == 0).all(dim=0)
    assert torch.equal(erased, (without == 0).all(dim=0))
    intact = ~erased & ~erased.flip(-1)
    assert torch.equal(with_flip.flip(-1)[..., intact[0]], without[..., intact[0]])


def test_one_frame_is_enough():
    result = VideoAugmentation()(ROWS[None], sample_generator(0, 0, 0))
    assert result.shape == (1, 1, 88, 88)
    assert result.abs().sum() > 0


def test_the_stored_frames_are_left_alone(frames):
    before = frames.copy()
    VideoAugmentation(erasing=1)(frames, sample_generator(0, 0, 0))
    evaluation_transform(frames)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"flip": 1.5},
        {"erasing": -0.1},
        {"time_mask": 26},
        {"speed": 1.0},
        {"erasing_area": (0.5, 0.2)},
        {"erasing_area": (0, 2)},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(Lip2SpeechError, match=f"{next(iter(arguments))}="):
        VideoAugmentation(**arguments)


STRONG = {"geometry": 1.0, "light": 1.0, "camera": 2.0}


@pytest.mark.parametrize("name", STRONG)
def test_pictures_change_in_every_way_that_is_switched_on_and_by_the_sample_alone(frames, name):
    augmentation = VideoAugmentation(**NOTHING, **{name: STRONG[name]})
    plain = evaluation_transform(frames)
    changed = [not torch.equal(view, plain[:, 0]) for view in views(augmentation, frames, 8)]
    assert sum(changed) >= 6
    assert all(
        torch.equal(a, b) for a, b in zip(*(views(augmentation, frames, 2) for _ in range(2)), strict=True)
    )


def test_a_moved_picture_shows_the_same_place_within_the_documented_reach():
    clip = np.stack([COLUMNS, ROWS])
    for view in views(VideoAugmentation(**NOTHING, geometry=1.0), clip, 20):
        columns, rows = pixels(view)[:, 40:48, 40:48].float().mean((1, 2))
        assert (columns - 47.5).abs() < 9 and (rows - 47.5).abs() < 9  # shift 4.4, warp 3.1, and the rest


def test_frames_of_another_rate_are_frames_of_the_clip_in_their_order():
    clip = np.tile(np.arange(60, dtype=np.uint8)[:, None, None], (1, 96, 96))
    orders = [pixels(view)[:, 0, 0] for view in views(VideoAugmentation(**NOTHING, camera=1.0), clip, 60)]
    exact = [order for order in orders if order.max() <= 59 and (order.diff() >= 0).all()]
    assert any((order.diff() == 0).sum() > 15 for order in exact)  # 15 per second
    assert all((order - torch.arange(60)).abs().max() <= 2 for order in exact)
