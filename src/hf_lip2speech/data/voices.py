"""The voice of each speaker of a prepared folder: one embedding made of those of all their training clips."""

import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..constants import SPEAKER_EMBEDDING_DIM
from ..errors import DamagedClipError
from .prepared import PreparedDataset


def speaker_voices(root: str | Path, *, most: int | None = None) -> dict[str, np.ndarray]:
    """Speaker name -> float32 (256,): the mean of the speaker's embeddings, scaled to length 1 as GE2E's are.

    Args:
        root: A prepared folder. The train split's clips count; where there is none, all do.
        most: A folder with more speakers than this has no voices; of thousands, nobody chooses one by name.

    Raises:
        DatasetError: It is not a prepared folder, or all clips of a speaker are damaged; if some are, a
            warning says so.
    """
    dataset = PreparedDataset(root, fields=("speaker_embeddings",))
    speakers, splits = dataset.column("speaker"), dataset.column("split")
    train = [index for index, split in enumerate(splits) if split == "train"] or range(len(dataset))
    if most is not None and len({speakers[index] for index in train}) > most:
        return {}
    damaged: dict[str, list[DamagedClipError]] = defaultdict(list)
    sums: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(SPEAKER_EMBEDDING_DIM))
    for index in train:
        try:
            item = dataset[index]
        except DamagedClipError as error:
            damaged[speakers[index]].append(error)
            continue
        sums[speakers[index]] += item["speaker_embeddings"]
    for speaker, errors in damaged.items():
        if speaker not in sums:
            raise errors[0]
        warnings.warn(
            f"The voice of {speaker} is made without {len(errors)} clip(s): {errors[0]}", stacklevel=2
        )
    return {speaker: (total / np.linalg.norm(total)).astype(np.float32) for speaker, total in sums.items()}
