"""A trained lip-to-speech model's mel and units of prepared clips: what a vocoder will be given in use."""

import numpy as np
import torch
from tqdm import tqdm

from ..data.sampling import AugmentedDataset
from ..models.modeling_lip2speech import Lip2SpeechModel


@torch.no_grad()
def predicted_inputs(
    model: Lip2SpeechModel, clips: AugmentedDataset, *, progress: bool = True
) -> list[dict[str, np.ndarray]]:
    """Predict every clip, one by one, in its own voice.

    A model is better at the clips that it learned from than at new ones. Augmentation makes its predictions
    of them about as poor as those a vocoder will meet.

    Args:
        model: In evaluation mode, on any device.
        clips: Whole (`max_frames=None`), with the field "speaker_embeddings".
        progress: Show a progress bar.

    Returns:
        For each clip {"mel": float32 (4T, 80), "unit_ids": int64 (2T,)}: the fields of a `PreparedDataset`.
    """
    predictions = []
    for index in tqdm(range(len(clips)), "predicting clips", disable=not progress):
        item = clips[index]
        videos = item["pixel_values_videos"][None].to(model.device, model.dtype)
        speaker = item["speaker_embeddings"][None].to(model.device, model.dtype)
        output = model(videos, speaker_embeddings=speaker)
        predictions.append(
            {
                "mel": output.spectrogram[0].float().cpu().numpy(),
                "unit_ids": model.unit_ids(output.unit_logits)[0].cpu().numpy(),
            }
        )
    return predictions
