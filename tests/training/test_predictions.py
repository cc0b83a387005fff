"""A lip-to-speech model's predictions as the vocoder's training inputs."""

import numpy as np
import torch

from hf_lip2speech.data.augmentation import evaluation_transform
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.training.predictions import predicted_inputs

from ..tiny_model import tiny_model


def test_predictions_are_the_models_own_outputs_clip_by_clip():
    model = tiny_model().lip2speech.eval()
    random = np.random.default_rng(0)
    clips = [
        {
            "frames": random.integers(0, 256, (length, 96, 96), dtype=np.uint8),
            "speaker_embedding": random.random(256, dtype=np.float32),
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
                speaker_embeddings=torch.from_numpy(clip["speaker_embedding"])[None],
            )
        assert np.array_equal(prediction["mel"], output.spectrogram[0].numpy())
        assert prediction["unit_ids"].tolist() == model.unit_ids(output.unit_logits)[0].tolist()
