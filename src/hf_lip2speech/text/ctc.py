"""Reading the posteriors of a CTC head: the most likely characters.

Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006.
"""

import torch

from .characters import BLANK


def greedy_classes(logits: torch.Tensor) -> list[int]:
    """The characters of the most likely class of each position: repeats collapsed, blanks left out.

    Args:
        logits: (2T, V + 1) of one clip, without padding.

    Returns:
        Classes 1..V.
    """
    best = torch.unique_consecutive(logits.argmax(dim=-1)).tolist()
    return [index for index in best if index != BLANK]
