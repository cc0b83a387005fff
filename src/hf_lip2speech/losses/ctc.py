"""The loss of the text head.

Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006.
"""

import torch
from torch.nn import functional as F

from ..text.characters import BLANK


def ctc_loss(logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """-log p(text) of each clip over its number of characters, in float32.

    Args:
        logits: (B, 2T, V + 1), class 0 the blank.
        labels: int64 (B, L), classes 1..V, -100 after the text's end; nothing else: a clip without text.
        mask: bool (B, 2T), true inside a clip; None: everywhere.

    Returns:
        (B,), 0 for a clip without text, or with one that has more characters than the clip has room for.
    """
    lengths = (labels > BLANK).sum(1)
    frames = torch.full_like(lengths, logits.shape[1]) if mask is None else mask.sum(1)
    with torch.autocast(logits.device.type, enabled=False):
        losses = F.ctc_loss(
            F.log_softmax(logits.float(), dim=-1).transpose(0, 1),
            labels.clamp(min=BLANK),
            frames,
            lengths,
            blank=BLANK,
            reduction="none",
            zero_infinity=True,
        )
    return torch.where(lengths > 0, losses / lengths.clamp(min=1), 0.0)
