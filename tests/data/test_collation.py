import pytest
import torch

from hf_lip2speech.data.collation import Lip2SpeechCollator, VocoderSegmentCollator
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig


def item(frames, value):
    return {
        "id": "x",
        "pixel_values_videos": torch.full((frames, 1, 88, 88), value),
        "unit_labels": torch.full((2 * frames,), 7),
        "mel_labels": torch.full((4 * frames, 80), -value),
        "speaker_embeddings": torch.full((256,), value),
    }


def test_uneven_clips_are_padded_and_masked():
    batch = Lip2SpeechCollator(Lip2SpeechConfig())([item(3, 1.0), item(5, 2.0)])
    shapes = {name: tuple(value.shape) for name, value in batch.items()}
    assert shapes == {
        "pixel_values_videos": (2, 5, 1, 88, 88),
        "attention_mask": (2, 5),
        "speaker_embeddings": (2, 256),
        "unit_labels": (2, 10),
        "mel_labels": (2, 20, 80),
        "mel_attention_mask": (2, 20),
    }
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["mel_attention_mask"].sum(1).tolist() == [12, 20]
    assert batch["pixel_values_videos"][0, :, 0, 0, 0].tolist() == [1, 1, 1, 0, 0]
    assert batch["unit_labels"][0].tolist() == [11] * 6 + [-100] * 4
    assert batch["mel_labels"][0, :, 0].tolist() == [-1] * 12 + [0] * 8
    assert batch["speaker_embeddings"][:, 0].tolist() == [1, 2]


def test_labels_are_the_models_class_ids():
    config = Lip2SpeechConfig(num_units=50)
    labels = Lip2SpeechCollator(config)([item(2, 0.0)])["unit_labels"]
    assert labels.unique().tolist() == [7 + config.unit_offset]


def test_units_that_the_model_does_not_have_are_refused():
    with pytest.raises(DatasetError, match="hold unit 7, but the model's config has num_units=7"):
        Lip2SpeechCollator(Lip2SpeechConfig(num_units=7))([item(2, 0.0)])


def test_texts_become_classes_of_the_text_head_and_clips_without_text_stay_in_the_batch():
    collate = Lip2SpeechCollator(Lip2SpeechConfig(text_vocabulary="abc "))
    items = [item(2, 0.0) | {"text_labels": "Cab, a"}, item(2, 0.0) | {"text_labels": ""}, item(2, 0.0)]
    labels = collate(items)["text_labels"]
    assert labels.tolist() == [[3, 1, 2, 4, 1], [-100] * 5, [-100] * 5]
    times = collate([items[0] | {"word_times": torch.tensor([[0.2, 0.4], [0.5, 0.6]])}, items[1]])[
        "text_times"
    ]
    in_cab, between, in_a = [0.1, 0.5], [0.3, 0.6], [0.4, 0.7]
    torch.testing.assert_close(times[0], torch.tensor([in_cab, in_cab, in_cab, between, in_a]))
    assert collate(items)["text_times"][0].isinf().all()
    with pytest.raises(DatasetError, match="Clip x: The text 'abd' has 'd'"):
        collate([item(2, 0.0) | {"text_labels": "abd"}])


def test_segments_are_stacked():
    segment = {
        "id": "x",
        "unit_ids": torch.arange(28),
        "spectrogram": torch.zeros(56, 80),
        "speaker_embeddings": torch.ones(256),
        "waveform": torch.zeros(8960),
        "predicted": torch.tensor(True),
    }
    batch = VocoderSegmentCollator(28)([segment] * 3)
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "unit_ids": (3, 28),
        "spectrogram": (3, 56, 80),
        "speaker_embeddings": (3, 256),
        "waveform": (3, 8960),
        "predicted": (3,),
    }
    with pytest.raises(DatasetError, match="hold unit 27, but the model's config has num_units=27"):
        VocoderSegmentCollator(27)([segment])
