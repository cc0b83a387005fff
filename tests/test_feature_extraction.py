"""Mouth clips -> the model's input."""

import json

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 96, 96), dtype=np.uint8)


def test_pixels_are_the_normalised_centre_crop(clip):
    features = Lip2SpeechFeatureExtractor()(clip)
    pixels = features["pixel_values_videos"]
    assert pixels.shape == (1, 7, 1, 88, 88) and pixels.dtype == torch.float32
    expected = (clip[:, 4:92, 4:92].astype(np.float64) / 255 - 0.421) / 0.165
    np.testing.assert_allclose(pixels[0, :, 0], expected, atol=1e-6)
    assert features["attention_mask"].tolist() == [[1] * 7]


def test_a_clip_of_88_pixels_is_the_centre_of_one_of_96(clip):
    extractor = Lip2SpeechFeatureExtractor()
    whole, centre = extractor(clip), extractor(clip[:, 4:92, 4:92])
    assert torch.equal(whole["pixel_values_videos"], centre["pixel_values_videos"])


def test_padding_frames_are_zero_and_masked_and_frames_are_as_alone(clip):
    extractor = Lip2SpeechFeatureExtractor()
    short = torch.from_numpy(clip[:3])
    batch = extractor([short, clip])
    assert batch["pixel_values_videos"].shape == (2, 7, 1, 88, 88)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0], [1] * 7]
    assert not batch["pixel_values_videos"][0, 3:].any()
    assert torch.equal(batch["pixel_values_videos"][0, :3], extractor(short)["pixel_values_videos"][0])


def test_pad_pads_time_alone(clip):
    extractor = Lip2SpeechFeatureExtractor()
    items = [{name: value[0] for name, value in extractor(part).items()} for part in (clip[:3], clip)]
    padded = extractor.pad(items, padding=True, return_tensors="pt")
    together = extractor([clip[:3], clip])
    assert torch.equal(padded["pixel_values_videos"], together["pixel_values_videos"])
    assert torch.equal(padded["attention_mask"], together["attention_mask"])


def test_numpy_arrays_on_request(clip):
    features = Lip2SpeechFeatureExtractor()(clip, return_tensors="np")
    assert isinstance(features["pixel_values_videos"], np.ndarray)
    assert features["pixel_values_videos"].dtype == np.float32


def test_settings_survive_saving(tmp_path, clip):
    extractor = Lip2SpeechFeatureExtractor(pixel_mean=0.5, pixel_std=0.25, crop_size=80)
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["feature_extractor_type"] == "Lip2SpeechFeatureExtractor"
    again = Lip2SpeechFeatureExtractor.from_pretrained(tmp_path)
    assert again.to_dict() == extractor.to_dict()
    assert torch.equal(again(clip)["pixel_values_videos"], extractor(clip)["pixel_values_videos"])


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        pytest.param([], "empty", id="an empty list"),
        pytest.param(np.zeros((96, 96), np.uint8), r"\(96, 96\).*\(T, 96, 96\)", id="a picture"),
        pytest.param(np.zeros((2, 3, 96, 96), np.uint8), "as a list", id="a batch as an array"),
        pytest.param(np.zeros((3, 90, 90), np.uint8), r"\(3, 90, 90\)", id="another size"),
        pytest.param(np.zeros((3, 96, 88), np.uint8), r"\(3, 96, 88\)", id="not square"),
        pytest.param(np.zeros((3, 96, 96), np.float32), "float32.*uint8", id="floats"),
        pytest.param(torch.zeros(3, 96, 96, dtype=torch.bfloat16), "bfloat16.*uint8", id="a bfloat16 tensor"),
        pytest.param(np.zeros((0, 96, 96), np.uint8), "no frame", id="no frame"),
        pytest.param("mouth.mp4", "str", id="a path"),
        pytest.param([np.zeros((3, 96, 96), np.uint8), None], "Clip 1.*NoneType", id="the second is missing"),
    ],
)
def test_a_wrong_clip_is_named(videos, message):
    with pytest.raises(Lip2SpeechError, match=message):
        Lip2SpeechFeatureExtractor()(videos)


def test_a_crop_larger_than_the_clip_is_refused():
    with pytest.raises(Lip2SpeechError, match="crop_size"):
        Lip2SpeechFeatureExtractor(crop_size=100)
