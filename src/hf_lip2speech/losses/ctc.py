"""The loss of the text head.

Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006.
"""

import torch
from torch.nn import functional as F

from ..constants import SAMPLES_PER_UNIT, SAMPLING_RATE
from ..text.alignment import ctc_states
from ..text.characters import BLANK

IMPOSSIBLE = -1e5  # the log probability of what is ruled out; finite, so that its gradient is 0 and not NaN


def ctc_loss(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, times: torch.Tensor | None = None
) -> torch.Tensor:
    """-log p(text) of each clip over its number of characters, in float32.

    Args:
        logits: (B, 2T, V + 1), class 0 the blank.
        labels: int64 (B, L), classes 1..V, -100 after the text's end; nothing else: a clip without text.
        mask: bool (B, 2T), true inside a clip; None: everywhere.
        times: (B, L, 2), from when to when, in seconds, each character may be said: paths that say it at
            another time do not count (a blank may be anywhere). Without them a CTC head spells the text, but
            late or early. None: any time. Time-restricted CTC: Sak et al., "Learning acoustic frame labeling
            for speech recognition with recurrent neural networks", ICASSP 2015.

    Returns:
        (B,), 0 for a clip without text, or with one that has more characters than the clip has room for.
    """
    if not labels.shape[1]:
        return 0 * logits.float().sum(
            dim=(1, 2)
        )  # which gives the head a gradient, for processes that wait for it
    lengths = (labels > BLANK).sum(1)
    frames = torch.full_like(lengths, logits.shape[1]) if mask is None else mask.sum(1)
    with torch.autocast(logits.device.type, enabled=False):
        log_probs, ids = F.log_softmax(logits.float(), dim=-1), labels.clamp(min=BLANK)
        if times is None:
            losses = F.ctc_loss(
                log_probs.transpose(0, 1),
                ids,
                frames,
                lengths,
                blank=BLANK,
                reduction="none",
                zero_infinity=True,
            )
        else:
            losses = _restricted(log_probs, ids, frames, lengths, times)
    return torch.where(lengths > 0, losses / lengths.clamp(min=1), 0.0)


def _restricted(
    log_probs: torch.Tensor,
    ids: torch.Tensor,
    frames: torch.Tensor,
    lengths: torch.Tensor,
    times: torch.Tensor,
) -> torch.Tensor:
    """The forward recursion of CTC over the allowed paths: (B,), 0 where there is none."""
    classes, skips = ctc_states(ids)
    middles = (torch.arange(log_probs.shape[1], device=times.device) + 0.5) * SAMPLES_PER_UNIT / SAMPLING_RATE
    said = (times[:, None, :, 0] <= middles[:, None]) & (
        middles[:, None] <= times[:, None, :, 1]
    )  # (B, N, L)
    allowed = torch.ones(*said.shape[:2], classes.shape[1], dtype=torch.bool, device=times.device)
    allowed[..., 1::2] = said
    states = log_probs.gather(2, classes[:, None].expand_as(allowed)).masked_fill(~allowed, IMPOSSIBLE)
    path = F.pad(states[:, 0, :2], (0, states.shape[2] - 2), value=IMPOSSIBLE)
    for position in range(1, states.shape[1]):
        before = F.pad(path, (2, 0), value=IMPOSSIBLE)
        skipped = before[:, :-2].masked_fill(~skips, IMPOSSIBLE)
        longer = torch.stack([path, before[:, 1:-1], skipped]).logsumexp(0) + states[:, position]
        path = torch.where((position < frames)[:, None], longer, path)
    last = 2 * lengths[:, None]
    ends = path.gather(1, torch.cat([last, (last - 1).clamp(min=0)], dim=1)).logsumexp(1)
    return torch.where(ends > IMPOSSIBLE / 2, -ends, 0.0)
