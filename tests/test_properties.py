"""Properties that hold for every size: crop geometry, lengths, collation, the feature extractor."""

import numpy as np
import pytest
import torch

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lip2speech.constants import MEL_PER_FRAME, SAMPLES_PER_FRAME, UNITS_PER_FRAME
from hf_lip2speech.data.clip_files import common_frames, kept_frames
from hf_lip2speech.data.collation import IGNORED_LABEL, Lip2SpeechCollator
from hf_lip2speech.errors import ClipLengthError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.pipeline import LipToSpeechPipeline
from hf_lip2speech.video.crops import MEAN_FACE, crop_matrix
from hf_lip2speech.video.warp import apply_affine, invert_affine

from .tiny_model import tiny_model, tiny_pipeline

CONFIG = tiny_model().config.lip2speech
few = settings(max_examples=25, derandomize=True, deadline=None)
lengths = st.lists(st.integers(1, 12), min_size=1, max_size=4)


@few
@given(
    scale=st.floats(0.05, 20),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-4000, 4000),
    y=st.floats(-4000, 4000),
    mouth=st.tuples(st.floats(60, 200), st.floats(100, 220)),
)
def test_a_crop_is_upright_of_the_mean_faces_size_and_centred_on_the_mouth(scale, angle, x, y, mouth):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed = np.vstack([MEAN_FACE, mouth]) @ turn.T + [x, y]
    crop = apply_affine(invert_affine(crop_matrix(placed)), placed)
    np.testing.assert_allclose(crop[5], [48, 48], atol=1e-5)
    np.testing.assert_allclose(crop[:5] - crop[5], MEAN_FACE - mouth, atol=1e-5)


@few
@given(frames=st.integers(1, 2000), samples=st.integers(0, 1_300_000))
def test_a_prepared_clip_is_as_long_as_its_video_to_a_frame(frames, samples):
    try:
        common = common_frames(frames, samples)
    except ClipLengthError:
        assert abs(samples - 640 * frames) > 8000 or samples < 640
        return
    kept = kept_frames(frames, samples)
    assert 1 <= common <= kept <= frames <= kept + 1
    assert common * SAMPLES_PER_FRAME <= samples


@pytest.fixture(scope="module")
def speak() -> LipToSpeechPipeline:
    return tiny_pipeline()


def test_frames_give_twice_as_many_units_four_times_as_many_mel_frames_and_640_samples(speak):
    @settings(few, max_examples=6)
    @given(lengths=lengths, batch_size=st.integers(1, 4))
    def lengths_agree(lengths, batch_size):
        videos = [{"frames": np.zeros((count, 96, 96), np.uint8), "fps": 25.0} for count in lengths]
        spoken = speak(
            videos, cropped=True, batch_size=batch_size, return_units=True, return_spectrogram=True
        )
        assert len(spoken) == len(lengths)
        for speech, count in zip(spoken, lengths, strict=True):
            assert len(speech["unit_ids"]) == UNITS_PER_FRAME * count
            assert len(speech["spectrogram"]) == MEL_PER_FRAME * count
            assert len(speech["audio"]) == SAMPLES_PER_FRAME * count

    lengths_agree()


@few
@given(lengths=lengths, seed=st.integers(0, 9))
def test_a_batch_holds_each_item_whole_and_nothing_else(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    items = [
        {
            "pixel_values_videos": torch.randn(count, 1, 4, 4, generator=generator),
            "speaker_embeddings": torch.randn(256, generator=generator),
            "unit_labels": torch.randint(20, (2 * count,), generator=generator),
            "mel_labels": torch.randn(4 * count, 80, generator=generator),
        }
        for count in lengths
    ]
    batch = Lip2SpeechCollator(CONFIG)(items)
    for row, (item, count) in enumerate(zip(items, lengths, strict=True)):
        assert torch.equal(batch["pixel_values_videos"][row, :count], item["pixel_values_videos"])
        assert torch.equal(batch["unit_labels"][row, : 2 * count], item["unit_labels"] + CONFIG.unit_offset)
        assert torch.equal(batch["mel_labels"][row, : 4 * count], item["mel_labels"])
        assert batch["attention_mask"][row].sum() == count
        assert batch["mel_attention_mask"][row].sum() == 4 * count
        assert not batch["pixel_values_videos"][row, count:].any()
        assert (batch["unit_labels"][row, 2 * count :] == IGNORED_LABEL).all()


@few
@given(lengths=lengths, size=st.sampled_from([88, 96]), seed=st.integers(0, 9))
def test_a_clip_has_the_same_features_in_every_batch(lengths, size, seed):
    rng = np.random.default_rng(seed)
    clips = [rng.integers(0, 256, (count, size, size), dtype=np.uint8) for count in lengths]
    extractor = Lip2SpeechFeatureExtractor()
    batch = extractor(clips, return_tensors="pt")
    assert batch["pixel_values_videos"].shape == (len(lengths), max(lengths), 1, 88, 88)
    assert batch["attention_mask"].sum(dim=1).tolist() == lengths
    for row, clip in enumerate(clips):
        alone = extractor(clip, return_tensors="pt")["pixel_values_videos"][0]
        assert torch.equal(batch["pixel_values_videos"][row, : len(clip)], alone)
        assert not batch["pixel_values_videos"][row, len(clip) :].any()
