"""A trained lip-to-speech model's mel and units of prepared clips: what a vocoder will be given in use."""

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from ..data.augmentation import VideoAugmentation, evaluation_transform, sample_generator
from ..models.modeling_lip2speech import Lip2SpeechModel


@torch.no_grad()
def predicted_inputs(
    model: Lip2SpeechModel,
    clips: Dataset,
    *,
    augmentation: VideoAugmentation | None = None,
    seed: int = 0,
    progress: bool = True,
) -> list[dict[str, np.ndarray]]:
    """Predict every clip, one by one, in its own voice.

    A model is better at the clips that it learned from than at new ones. Augmentation makes its predictions
    of them about as poor as those a vocoder will meet.

    Args:
        model: In evaluation mode, on any device.
        clips: Items with "frames" uint8 (T, 96, 96) and "speaker_embedding" (256,).
        augmentation: What to do to the mouth crops first; its `speed` is not used. None: nothing.
        seed: Of the augmentation.
        progress: Show a progress bar.

    Returns:
        For each clip {"mel": float32 (4T, 80), "unit_ids": int64 (2T,)}: the fields of a `PreparedDataset`.
    """
    predictions = []
    for index in tqdm(range(len(clips)), "predicting clips", disable=not progress):
        item = clips[index]
        if augmentation is None:
            pixels = evaluation_transform(item["frames"])
        else:
            pixels = augmentation(item["frames"], sample_generator(seed, 0, index))
        videos = pixels[None].to(model.device, model.dtype)
        speaker = torch.as_tensor(item["speaker_embedding"])[None].to(model.device, model.dtype)
        output = model(videos, speaker_embeddings=speaker)
        predictions.append(
            {
                "mel": output.spectrogram[0].float().cpu().numpy(),
                "unit_ids": model.unit_ids(output.unit_logits)[0].cpu().numpy(),
            }
        )
    return predictions
