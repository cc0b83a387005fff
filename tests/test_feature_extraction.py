"""Mouth clips -> the model's input."""

import json

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.windows import GrayVideos

CLIP = np.random.default_rng(0).integers(0, 256, (7, 96, 96), dtype=np.uint8)
EXTRACTOR = Lip2SpeechFeatureExtractor()


def pixels(videos, **arguments) -> torch.Tensor:
    return EXTRACTOR(videos, return_tensors="pt", **arguments)["pixel_values_videos"]


def test_pixels_are_the_normalised_centre_crop():
    features = EXTRACTOR(CLIP, return_tensors="pt")
    expected = (CLIP[:, 4:92, 4:92].astype(np.float64) / 255 - 0.421) / 0.165
    assert features["pixel_values_videos"].dtype == torch.float32
    np.testing.assert_allclose(features["pixel_values_videos"][0, :, 0], expected, atol=1e-6)
    assert features["attention_mask"].tolist() == [[1] * 7]
    assert torch.equal(pixels(CLIP[:, 4:92, 4:92]), pixels(CLIP))


def test_padding_frames_are_zero_and_masked_and_frames_are_as_alone():
    short = torch.from_numpy(CLIP[:3])
    batch = EXTRACTOR([short, CLIP], return_tensors="pt")
    assert batch["pixel_values_videos"].shape == (2, 7, 1, 88, 88)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0], [1] * 7]
    assert not batch["pixel_values_videos"][0, 3:].any()
    assert torch.equal(batch["pixel_values_videos"][0, :3], pixels(short)[0])


@pytest.mark.parametrize("light", [{}, {"clip_mean": 0.4, "clip_std": 0.15}])
def test_gray_videos_have_the_pixels_of_a_call_window_by_window(light):
    extractor, clips = Lip2SpeechFeatureExtractor(**light), [CLIP, CLIP[::-1] // 2]
    frames, light = (np.stack(both) for both in zip(*map(extractor.gray, clips), strict=True))
    videos = GrayVideos(torch.from_numpy(frames), *torch.from_numpy(light).T)
    whole = extractor(clips, return_tensors="pt")["pixel_values_videos"]
    assert frames.dtype == np.uint8 and videos.shape == whole.shape
    for rows in (torch.tensor([1]), slice(None)):
        assert torch.equal(videos[rows, 2:5], whole[rows, 2:5])


def test_it_takes_the_arguments_of_every_feature_extractor_of_transformers():
    clips = [CLIP[:3], CLIP]
    lists = EXTRACTOR(clips, padding=False)
    assert [len(one) for one in lists["pixel_values_videos"]] == [3, 7]
    assert [one.tolist() for one in lists["attention_mask"]] == [[1] * 3, [1] * 7]
    fixed = EXTRACTOR(clips, padding="max_length", max_length=5, truncation=True, return_tensors="np")
    assert isinstance(fixed["pixel_values_videos"], np.ndarray)
    assert fixed["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert pixels(clips, pad_to_multiple_of=4, sampling_rate=25).shape[1] == 8
    assert "attention_mask" not in EXTRACTOR(CLIP, return_attention_mask=False)
    assert all(isinstance(one, np.ndarray) for one in EXTRACTOR(clips)["pixel_values_videos"])


def test_pad_gives_the_batch_of_a_call():
    items = [{name: value[0] for name, value in EXTRACTOR(one).items()} for one in (CLIP[:3], CLIP)]
    together = EXTRACTOR([CLIP[:3], CLIP], return_tensors="pt")
    for features in (items, {name: [item[name] for item in items] for name in items[0]}):
        padded = EXTRACTOR.pad(features, padding=True, return_tensors="pt")
        assert all(torch.equal(padded[name], together[name]) for name in together)


def test_settings_survive_saving(tmp_path):
    extractor = Lip2SpeechFeatureExtractor(pixel_mean=0.5, pixel_std=0.25, crop_size=80)
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["feature_extractor_type"] == "Lip2SpeechFeatureExtractor"
    again = Lip2SpeechFeatureExtractor.from_pretrained(tmp_path)
    assert again.to_dict() == extractor.to_dict()
    one, other = (made(CLIP, return_tensors="pt")["pixel_values_videos"] for made in (again, extractor))
    assert torch.equal(one, other) and one.shape[-1] == 80


@pytest.mark.parametrize(
    ("videos", "arguments", "message"),
    [
        pytest.param([], {}, "empty", id="an empty list"),
        pytest.param(CLIP[0], {}, r"\(96, 96\).*\(T, 96, 96\)", id="a picture"),
        pytest.param(np.zeros((2, 3, 96, 96), np.uint8), {}, "as a list", id="a batch as an array"),
        pytest.param(np.zeros((3, 90, 90), np.uint8), {}, r"\(3, 90, 90\)", id="another size"),
        pytest.param(np.zeros((3, 96, 88), np.uint8), {}, r"\(3, 96, 88\)", id="not square"),
        pytest.param(CLIP.astype(np.float32), {}, "float32.*uint8", id="floats"),
        pytest.param(torch.zeros(3, 96, 96, dtype=torch.bfloat16), {}, "bfloat16.*uint8", id="bfloat16"),
        pytest.param(CLIP[:0], {}, "no frame", id="no frame"),
        pytest.param("mouth.mp4", {}, "str", id="a path"),
        pytest.param([CLIP, None], {}, "Clip 1.*NoneType", id="the second is missing"),
        pytest.param(CLIP, {"sampling_rate": 30}, "30 frames per second; expected 25", id="another rate"),
        pytest.param(CLIP, {"truncation": True}, "max_length=", id="truncated to what"),
    ],
)
def test_a_wrong_clip_or_argument_is_named(videos, arguments, message):
    with pytest.raises(Lip2SpeechError, match=message):
        EXTRACTOR(videos, **arguments)


def test_a_crop_larger_than_the_clip_is_refused():
    with pytest.raises(Lip2SpeechError, match="crop_size"):
        Lip2SpeechFeatureExtractor(crop_size=100)


def test_padding_that_a_mask_tells_stays_padding_when_a_batch_is_padded_again():
    batch = EXTRACTOR([CLIP[:5], CLIP], return_tensors="pt")
    again = EXTRACTOR.pad(batch, return_tensors="pt", pad_to_multiple_of=4)
    assert again["attention_mask"].sum(1).tolist() == [5, 7] and again["attention_mask"].shape[1] == 8


@pytest.mark.parametrize(
    "fields",
    [{"pixel_std": 0}, {"crop_size": 88.0}, {"padding_side": "left"}, {"pixel_mean": "0.4"}],
    ids=str,
)
def test_a_field_that_no_clip_could_be_read_with_is_refused(fields):
    with pytest.raises(Lip2SpeechError, match=next(iter(fields))):
        Lip2SpeechFeatureExtractor(**fields)


def test_with_a_clip_mean_light_and_contrast_of_a_clip_do_not_count():
    lit = Lip2SpeechFeatureExtractor(clip_mean=0.579, clip_std=0.111)
    base = np.random.default_rng(0).integers(90, 170, (300, 96, 96), dtype=np.uint8)
    bright = (base * 0.5 + 20).round().astype(np.uint8)
    videos = lit([base, bright], return_tensors="pt")["pixel_values_videos"]
    grays = videos * 0.165 + 0.421
    torch.testing.assert_close(grays.mean((1, 2, 3, 4)), torch.full((2,), 0.579), atol=1e-4, rtol=0)
    torch.testing.assert_close(grays.std((1, 2, 3, 4)), torch.full((2,), 0.111), atol=1e-4, rtol=0)
    assert (videos[0] - videos[1]).abs().max() < 0.03  # rounding to grays
    alone = lit([base], return_tensors="pt")["pixel_values_videos"]
    assert torch.equal(alone[0], videos[0])


def test_a_clip_of_one_gray_stays_finite_and_the_light_is_saved(tmp_path):
    lit = Lip2SpeechFeatureExtractor(clip_mean=0.579, clip_std=0.111)
    black = lit(np.zeros((3, 96, 96), np.uint8), return_tensors="pt")["pixel_values_videos"]
    torch.testing.assert_close(black, torch.full_like(black, (0.579 - 0.421) / 0.165))
    lit.save_pretrained(tmp_path)
    loaded = Lip2SpeechFeatureExtractor.from_pretrained(tmp_path)
    assert (loaded.clip_mean, loaded.clip_std) == (0.579, 0.111)


@pytest.mark.parametrize("light", [{"clip_mean": 0.5}, {"clip_mean": 0.5, "clip_std": 0.0}, {"clip_std": 30}])
def test_a_clips_mean_and_deviation_come_together(light):
    with pytest.raises(Lip2SpeechError, match="clip_mean and clip_std"):
        Lip2SpeechFeatureExtractor(**light)
