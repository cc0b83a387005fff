"""A lip-to-speech model's predictions as the vocoder's training inputs."""

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.data.augmentation import evaluation_transform
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.training.predictions import predicted_inputs

from ..tiny_model import tiny_model
from .prepared_folder import NUM_UNITS


def test_predictions_are_the_models_own_outputs_clip_by_clip():
    model = tiny_model().lip2speech.eval()
    random = np.random.default_rng(0)
    clips = [
        {
            "frames": random.integers(0, 256, (length, 96, 96), dtype=np.uint8),
            "speaker_embeddings": random.random(256, dtype=np.float32),
        }
        for length in (6, 9)
    ]
    predictions = predicted_inputs(model, AugmentedDataset(clips, None, max_frames=None), progress=False)
    for clip, prediction in zip(clips, predictions, strict=True):
        length = len(clip["frames"])
        assert prediction["mel"].shape == (4 * length, 80) and prediction["mel"].dtype == np.float32
        assert prediction["unit_ids"].shape == (2 * length,)
        with torch.no_grad():
            output = model(
                evaluation_transform(clip["frames"])[None],
                speaker_embeddings=torch.from_numpy(clip["speaker_embeddings"])[None],
            )
        assert np.array_equal(prediction["mel"], output.spectrogram[0].numpy())
        assert prediction["unit_ids"].tolist() == model.unit_ids(output.unit_logits)[0].tolist()


def test_a_vocoder_learns_from_predictions_too_and_from_what_stoi_measures(scripts, configuration, tmp_path):
    sizes = {"frontend_stem_channels": 4, "frontend_channels": [4, 4], "frontend_blocks": [1, 1]}
    encoder = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mel_head_size": 16}
    lip2speech = Lip2SpeechModel(Lip2SpeechConfig(**sizes, **encoder, num_units=NUM_UNITS, max_av_offset=2))
    lip2speech.save_pretrained(tmp_path / "lip2speech")
    changes = {"segment_units": 20, "max_steps": 2, "gradient_accumulation": 1, "tracker": "tensorboard"}
    changes |= {"lip2speech": str(tmp_path / "lip2speech"), "correlation_loss_weight": 10.0, "batch_size": 6}
    scripts["train_vocoder"].main([str(configuration("train_vocoder", **changes))])
    events = EventAccumulator(str(tmp_path / "run/logs")).Reload()
    said = {
        name: [event.value for event in events.Scalars(f"train/{name}")]
        for name in ("mel_loss", "input_mel_loss", "correlation_loss")
    }
    assert all(np.isfinite(values).all() and min(values) > 0 for values in said.values())
    assert 0.5 < said["correlation_loss"][0] < 1.5  # of noise and noise
