import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hf_lip2speech.data.augmentation import VideoAugmentation, evaluation_transform
from hf_lip2speech.data.sampling import AugmentedDataset, VocoderSegmentDataset, change_speed
from hf_lip2speech.errors import Lip2SpeechError


def clip(frames, index=0):
    """A clip whose every target value is its own place in time, counted in its own unit."""
    random = np.random.default_rng(index)
    return {
        "id": f"clip{index}",
        "text": "said",
        "word_times": np.array([[0.1, 0.3]], np.float32),
        "frames": random.integers(0, 256, (frames, 96, 96), dtype=np.uint8),
        "mel": np.repeat(np.arange(4 * frames, dtype=np.float32)[:, None], 80, axis=1),
        "unit_ids": np.arange(2 * frames),
        "speaker_embeddings": np.full(256, index, dtype=np.float32),
        "waveform": np.arange(640 * frames, dtype=np.float32) / (640 * frames - 1),
    }


@pytest.fixture
def clips():
    return [clip(frames, index) for index, frames in enumerate((20, 30, 40, 50))]


def same(first, second):
    assert first.keys() == second.keys()
    return all(
        torch.equal(torch.as_tensor(first[k]), torch.as_tensor(second[k]))
        for k in first
        if not isinstance(first[k], str)
    )


class TestAugmentedDataset:
    def test_the_epoch_changes_the_view_and_going_back_to_it_brings_the_view_back(self, clips):
        dataset = AugmentedDataset(clips, VideoAugmentation(), seed=3)
        first = [dataset[index] for index in range(4)]
        dataset.set_epoch(1)
        assert not any(same(dataset[index], first[index]) for index in range(4))
        dataset.set_epoch(0)
        assert all(same(dataset[index], first[index]) for index in (3, 1, 0, 2))

    def test_without_augmentation_it_is_the_evaluation_view(self, clips):
        item = AugmentedDataset(clips, None)[1]
        assert torch.equal(item["pixel_values_videos"], evaluation_transform(clips[1]["frames"]))
        assert "frames" not in item
        assert torch.equal(item["mel_labels"], torch.from_numpy(clips[1]["mel"]))

    def test_a_long_clip_is_cut_with_all_its_targets(self, clips):
        dataset = AugmentedDataset(clips, None, max_frames=32)
        starts = set()
        for epoch in range(20):
            dataset.set_epoch(epoch)
            item = dataset[3]
            start = int(item["unit_labels"][0]) // 2
            starts.add(start)
            expected = evaluation_transform(clips[3]["frames"][start : start + 32])
            assert torch.equal(item["pixel_values_videos"], expected)
            assert item["unit_labels"].tolist() == list(range(2 * start, 2 * start + 64))
            assert item["mel_labels"][:, 0].tolist() == list(range(4 * start, 4 * start + 128))
            assert item["waveform"].shape == (640 * 32,)
            assert len(dataset[0]["unit_labels"]) == 40
            assert (dataset[0]["text_labels"], item["text_labels"]) == ("said", "")
        assert len(starts) > 5 and max(starts) <= 18

    def test_clips_are_left_alone(self, clips):
        dataset = AugmentedDataset(clips, VideoAugmentation())
        before = clips[0]["frames"].copy()
        dataset[0]
        np.testing.assert_array_equal(clips[0]["frames"], before)
        assert set(clips[0]) == set(clip(1))

    def test_persistent_workers_see_the_epoch_and_make_what_one_process_makes(self, clips):
        dataset = AugmentedDataset(clips, VideoAugmentation())
        loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
        for epoch in (0, 1, 7):
            dataset.set_epoch(epoch)
            for index, item in enumerate(loader):
                assert same(item, dataset[index])


def test_a_segment_has_the_pitch_of_its_part_of_the_recording():
    pytest.importorskip("parselmouth")
    item, short = clip(50), clip(3)
    times = np.arange(50 * 640) / 16000
    tone = np.sin(2 * np.pi * np.where(times < 1, 100 * times, 100 + 200 * (times - 1))).astype(np.float32)
    item["waveform"], short["waveform"] = tone, tone[: 3 * 640]
    for epoch in range(4):
        dataset = VocoderSegmentDataset([item, short], segment_units=28, pitch=True)
        dataset.set_epoch(epoch)
        segment, padded = dataset[0], dataset[1]
        start = int(segment["unit_ids"][0])
        expected = torch.where((torch.arange(56) + 2 * start) < 100, 100.0, 200.0)
        inner = ((torch.arange(56) + 2 * start) - 100).abs() > 4  # not where the pitch jumps
        inner &= ((torch.arange(56) + 2 * start) > 4) & ((torch.arange(56) + 2 * start) < 195)
        torch.testing.assert_close(segment["f0"][inner], expected[inner], atol=2.0, rtol=0)
        assert padded["f0"].shape == (56,) and not padded["f0"][12:].any()
    assert "f0" not in VocoderSegmentDataset([item])[0]


class TestChangeSpeed:
    @pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.1, 1.25])
    def test_frames_and_targets_stay_at_the_same_place_in_time(self, factor):
        item = clip(40)
        item["frames"] = np.broadcast_to(
            np.arange(40, dtype=np.uint8)[:, None, None] * 5, (40, 96, 96)
        ).copy()
        played = change_speed(item, factor)
        frames = round(40 / factor)
        assert played["frames"].shape == (frames, 96, 96) and played["frames"].dtype == torch.uint8
        assert played["mel"].shape == (4 * frames, 80) and played["unit_ids"].shape == (2 * frames,)
        # each value is its own place in time: middles of frames (5 a frame), of units, starts of mel frames
        scale = 40 / frames
        inside = slice(2, frames - 2)
        middles = (played["frames"][:, 0, 0].float() / 5 + 0.5)[inside]
        expected = ((torch.arange(frames) + 0.5) * scale)[inside]
        assert (middles - expected).abs().max() < 0.11, "to the rounding of a gray level"
        expected = (torch.arange(2 * frames) + 0.5) * scale
        assert (played["unit_ids"] + 0.5 - expected).abs().max() <= 0.5001
        expected = (torch.arange(4 * frames) * scale).clamp(max=159)
        torch.testing.assert_close(played["mel"][:, 7], expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(played["word_times"], torch.tensor([[0.1, 0.3]]) / scale)

    def test_the_usual_speed_changes_nothing(self):
        item = clip(12)
        played = change_speed(item, 1.0)
        for name in ("frames", "mel", "unit_ids"):
            assert np.array_equal(np.asarray(played[name]), item[name]), name

    def test_an_augmented_clip_keeps_its_proportions_and_is_drawn_from_the_epoch(self, clips):
        dataset = AugmentedDataset(clips, VideoAugmentation(speed=0.2))
        lengths = set()
        for epoch in range(12):
            dataset.set_epoch(epoch)
            item = dataset[3]
            frames = len(item["pixel_values_videos"])
            lengths.add(frames)
            assert item["mel_labels"].shape == (4 * frames, 80) and item["unit_labels"].shape == (2 * frames,)
        assert len(lengths) > 4 and 41 <= min(lengths) and max(lengths) <= 63
        assert same(item, dataset[3])

    @pytest.mark.parametrize("speed", [-0.1, 1.0])
    def test_impossible_speeds_are_refused(self, speed):
        with pytest.raises(ValueError, match="speed"):
            VideoAugmentation(speed=speed)


class TestVocoderSegmentDataset:
    def test_units_mel_and_sound_are_of_one_place(self, clips):
        dataset = VocoderSegmentDataset(clips)
        starts = set()
        for epoch in range(30):
            dataset.set_epoch(epoch)
            item = dataset[2]
            start = int(item["unit_ids"][0])
            starts.add(start)
            assert item["unit_ids"].tolist() == list(range(start, start + 28))
            assert item["spectrogram"][:, 5].tolist() == list(range(2 * start, 2 * start + 56))
            place = item["waveform"] / 0.95 * (640 * 40 - 1)
            np.testing.assert_allclose(place, np.arange(320 * start, 320 * start + 8960), atol=0.1)
        assert len(starts) > 10 and max(starts) <= 80 - 28

    def test_the_whole_clip_peaks_at_095(self, clips):
        clips[0]["waveform"] = clips[0]["waveform"] * 0.01
        item = VocoderSegmentDataset(clips, segment_units=40)[0]
        assert float(item["waveform"].max()) == pytest.approx(0.95)

    def test_silence_stays_silence(self, clips):
        clips[0]["waveform"] = np.zeros_like(clips[0]["waveform"])
        assert VocoderSegmentDataset(clips)[0]["waveform"].abs().max() == 0

    def test_a_short_clip_is_followed_by_silence(self):
        item = VocoderSegmentDataset([clip(10)])[0]
        assert item["unit_ids"].tolist() == [*range(20), *[19] * 8]
        assert item["spectrogram"].shape == (56, 80)
        assert item["spectrogram"][40:].unique().tolist() == pytest.approx([np.log(1e-5)])
        assert item["waveform"].shape == (8960,) and item["waveform"][6400:].abs().max() == 0

    def test_augmentation_touches_the_mel_alone_and_is_drawn_from_the_epoch(self, clips):
        def noise(mel, generator):
            return mel + torch.randn(mel.shape, generator=generator)

        plain, noisy = VocoderSegmentDataset(clips), VocoderSegmentDataset(clips, augmentation=noise)
        for name in ("unit_ids", "speaker_embeddings", "waveform"):
            assert torch.equal(plain[1][name], noisy[1][name])
        assert not torch.equal(plain[1]["spectrogram"], noisy[1]["spectrogram"])
        assert same(noisy[1], noisy[1])

    def test_an_empty_segment_is_refused_and_none_is_the_whole_clip(self, clips):
        with pytest.raises(Lip2SpeechError, match="segment_units=0"):
            VocoderSegmentDataset(clips, segment_units=0)
        whole = VocoderSegmentDataset(clips, segment_units=None)
        for item, true in zip((whole[index] for index in range(len(clips))), clips, strict=True):
            assert np.array_equal(item["unit_ids"], true["unit_ids"])
            assert np.array_equal(item["spectrogram"], true["mel"])
            assert len(item["waveform"]) == len(true["waveform"])

    def test_predictions_of_other_clips_are_refused(self, clips):
        with pytest.raises(Lip2SpeechError, match="0 predictions for 4"):
            VocoderSegmentDataset(clips, predictions=[])

    def test_predictions_stand_in_for_true_inputs_in_half_of_the_items(self, clips):
        predictions = [
            {"mel": np.full_like(clip["mel"], -1), "unit_ids": np.full_like(clip["unit_ids"], 7)}
            for clip in clips
        ]
        dataset = VocoderSegmentDataset(clips, segment_units=8, predictions=predictions)
        found = []
        for epoch in range(50):
            dataset.set_epoch(epoch)
            for index in range(4):
                item = dataset[index]
                predicted = bool((item["unit_ids"] == 7).all())
                assert predicted == bool((item["spectrogram"] == -1).all()), "mel and units go together"
                assert predicted == bool(item["predicted"])
                assert item["waveform"].unique().numel() > 1, "the target stays the true sound"
                found.append(predicted)
        assert 0.35 < np.mean(found) < 0.65
