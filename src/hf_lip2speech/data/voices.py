"""The voice of each speaker of a prepared folder: one embedding made of those of all their training clips."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from .prepared import PreparedDataset


def speaker_voices(root: str | Path) -> dict[str, np.ndarray]:
    """Speaker name -> float32 (256,): the mean of the speaker's embeddings, scaled to length 1 as GE2E's are.

    Args:
        root: A prepared folder. The train split's clips count; where there is none, all do.

    Raises:
        DatasetError: It is not a prepared folder.
    """
    dataset = PreparedDataset(root, fields=("speaker_embedding",))
    train = [index for index, row in enumerate(dataset.rows) if row["split"] == "train"]
    embeddings: dict[str, list[np.ndarray]] = defaultdict(list)
    for index in train or range(len(dataset)):
        embeddings[dataset.rows[index]["speaker"]].append(dataset[index]["speaker_embedding"])
    means = {speaker: np.mean(found, axis=0) for speaker, found in embeddings.items()}
    return {speaker: (mean / np.linalg.norm(mean)).astype(np.float32) for speaker, mean in means.items()}
