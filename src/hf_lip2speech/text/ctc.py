"""What training and reading a CTC head share: the states of a text, and the most likely characters.

Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006.
"""

import torch
from torch.nn import functional as F

from .characters import BLANK


def ctc_states(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states that a path through texts visits: a blank, the first character, a blank, ...

    Args:
        ids: int64 (B, L), classes 1..V, then 0.

    Returns:
        The states' classes (B, 2L + 1), and which states can follow the one two before (bool, the same
        shape): a character, straight after another one.
    """
    classes = F.pad(torch.stack([torch.full_like(ids, BLANK), ids], dim=-1).flatten(1), (0, 1))
    skips = F.pad((ids[:, 1:] != ids[:, :-1])[..., None], (1, 0)).flatten(1)
    return classes, F.pad(skips, (2, 1))[:, : classes.shape[1]]


def greedy_classes(logits: torch.Tensor) -> list[int]:
    """The characters of the most likely class of each position: repeats collapsed, blanks left out.

    Args:
        logits: (2T, V + 1) of one clip, without padding.

    Returns:
        Classes 1..V.
    """
    best = torch.unique_consecutive(logits.argmax(dim=-1)).tolist()
    return [index for index in best if index != BLANK]
