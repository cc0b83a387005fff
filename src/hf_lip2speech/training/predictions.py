"""A trained lip-to-speech model's mel and units of prepared clips: what a vocoder will be given in use."""

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ..data.augmentation import evaluation_transform
from ..models.modeling_lip2speech import Lip2SpeechModel


@torch.no_grad()
def predicted_inputs(
    model: Lip2SpeechModel, clips: Dataset, *, progress: bool = True
) -> list[dict[str, np.ndarray]]:
    """Predict every clip, one by one, in its own voice.

    Args:
        model: In evaluation mode, on any device.
        clips: Items with "frames" uint8 (T, 96, 96) and "speaker_embedding" (256,).
        progress: Show a progress bar.

    Returns:
        For each clip {"mel": float32 (4T, 80), "unit_ids": int64 (2T,)}: the fields of a `PreparedDataset`.
    """
    predictions = []
    for index in tqdm(range(len(clips)), "predicting clips", disable=not progress):
        item = clips[index]
        videos = evaluation_transform(item["frames"])[None].to(model.device, model.dtype)
        speaker = torch.as_tensor(item["speaker_embedding"])[None].to(model.device, model.dtype)
        output = model(videos, speaker_embeddings=speaker)
        predictions.append(
            {
                "mel": output.spectrogram[0].float().cpu().numpy(),
                "unit_ids": model.unit_ids(output.unit_logits)[0].cpu().numpy(),
            }
        )
    return predictions
