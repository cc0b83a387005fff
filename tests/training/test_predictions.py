"""A lip-to-speech model's predictions as the vocoder's training inputs."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.data.augmentation import evaluation_transform
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.errors import DamagedClipError
from hf_lip2speech.training.predictions import StoredPredictions, predict

from .conftest import STAGES


class Share:
    """One of several processes, as far as `predict` asks."""

    def __init__(self, index: int, count: int):
        self.process_index, self.num_processes = index, count
        self.is_main_process = self.is_local_main_process = index == 0

    def wait_for_everyone(self):
        pass


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Lip2SpeechModel(Lip2SpeechConfig(**STAGES["train"]["model"], max_av_offset=2)).eval()


def test_processes_share_the_clips_and_write_the_models_own_outputs(model, prepared, tmp_path):
    clips = PreparedDataset(prepared, "train", fields=("frames", "speaker_embeddings"))
    dataset = AugmentedDataset(clips, None, max_frames=None)
    for index in (0, 1):
        assert len(list(tmp_path.glob("*.npz"))) == 3 * index
        stored = predict(model, dataset, tmp_path, Share(index, 2), batch_frames=25)
    assert len(stored) == len(clips) == 6
    for clip, prediction in zip(clips, stored, strict=True):
        with torch.no_grad():
            output = model(
                evaluation_transform(clip["frames"])[None],
                speaker_embeddings=torch.from_numpy(clip["speaker_embeddings"])[None],
            )
        assert prediction["mel"].dtype == np.float32 and prediction["unit_ids"].dtype == np.int64
        np.testing.assert_allclose(prediction["mel"], output.spectrogram[0].numpy(), atol=1e-4)
        assert prediction["unit_ids"].tolist() == model.unit_ids(output.unit_logits)[0].tolist()


def test_what_is_there_is_kept_unless_another_model_made_it(model, prepared, tmp_path):
    dataset = AugmentedDataset(
        PreparedDataset(prepared, "train", fields=("frames", "speaker_embeddings")), None
    )
    stored = predict(model, dataset, tmp_path, Accelerator())
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    stored.path(3).unlink()  # killed before it was made
    predict(model, dataset, tmp_path, Accelerator())
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert [path for path in times if times[path] != again[path]] == [stored.path(3)]
    torch.nn.init.ones_(model.unit_head.bias)
    predict(model, dataset, tmp_path, Accelerator())
    assert all(times[path] != path.stat().st_mtime_ns for path in times)


@pytest.mark.parametrize(
    ("place", "value"),
    [(10, 1), (8, 1), (20, 200), (42, 255)],
    ids=["another compression", "encrypted", "another length", "a place before the file"],
)
def test_a_damaged_prediction_is_named(tmp_path, place, value):
    """Bytes of the directory of a zip file, which is what an npz file is."""
    stored = StoredPredictions(tmp_path, 1)
    np.savez(stored.path(0), mel=np.zeros((8, 80), np.float32), unit_ids=np.arange(4))
    content = bytearray(stored.path(0).read_bytes())
    assert {*stored[0]} == {"mel", "unit_ids"}
    content[content.index(b"PK\x01\x02") + place] ^= value
    stored.path(0).write_bytes(content)
    with pytest.raises(DamagedClipError, match=r"0000000\.npz is missing or damaged"):
        stored[0]


def test_a_missing_prediction_and_one_without_units_are_named(tmp_path):
    stored = StoredPredictions(tmp_path, 1)
    for _ in range(2):
        with pytest.raises(DamagedClipError, match=r"0000000\.npz is missing or damaged"):
            stored[0]
        np.savez(stored.path(0), mel=np.zeros((8, 80), np.float32))


def test_a_vocoder_learns_from_predictions_too_and_from_what_stoi_measures(model, train, tmp_path):
    model.save_pretrained(tmp_path / "lip2speech")
    changes = {
        "segment_units": 20,
        "max_steps": 2,
        "gradient_accumulation_steps": 1,
        "report_to": "tensorboard",
    }
    changes |= {"correlation_loss_weight": 10.0, "per_device_train_batch_size": 6}
    trainer = train("train_vocoder", lip2speech=str(tmp_path / "lip2speech"), **changes)
    assert trainer.max_av_offset == 2 and len(list((tmp_path / "run/predictions").glob("*.npz"))) == 6
    events = EventAccumulator(str(tmp_path / "run/logs")).Reload()
    said = {
        name: [event.value for event in events.Scalars(f"train/{name}")]
        for name in ("mel_loss", "input_mel_loss", "correlation_loss")
    }
    assert all(np.isfinite(values).all() and min(values) > 0 for values in said.values())
    assert 0.5 < said["correlation_loss"][0] < 1.5  # of noise and noise
