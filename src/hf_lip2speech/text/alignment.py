"""Forced alignment: which character of a given text is said when, by a CTC head's posteriors (Viterbi)."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from .characters import BLANK


class Alignment(NamedTuple):
    """The most likely path of texts through clips of at most N positions.

    states (`int64 (B, N)`): 2i - 1 while character i (from 1) is said, 2i after it, before the next one; 0
        before the first. Beyond a clip's end: its last state.
    score (`float32 (B,)`): log probability of the path; -inf where the clip has too few positions.
    """

    states: torch.Tensor
    score: torch.Tensor

    @property
    def begun(self) -> torch.Tensor:
        """How many characters have begun at each position, (B, N)."""
        return (self.states + 1) // 2


@torch.no_grad()
def align_text(logits: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor | None = None) -> Alignment:
    """Align texts to clips.

    Args:
        logits: (B, N, V + 1), class 0 the blank.
        ids: int64 (B, L), classes 1..V of the characters, then padding of 0 or less.
        lengths: int64 (B,), positions of each clip; None: all have N.
    """
    (batch, positions, _), device = logits.shape, logits.device
    lengths = torch.full((batch,), positions, device=device) if lengths is None else lengths.to(device)
    ids = ids.clamp(min=BLANK)
    classes = F.pad(torch.stack([torch.full_like(ids, BLANK), ids], dim=-1).flatten(1), (0, 1))  # (B, 2L + 1)
    # from a character to the next one without a blank between, unless they are the same
    skips = F.pad((ids[:, 1:] != ids[:, :-1])[..., None], (1, 0)).flatten(1)
    skips = F.pad(skips, (2, 1))[:, : classes.shape[1]]
    log_probs = logits.float().log_softmax(-1)
    scores = log_probs.new_full(classes.shape, -torch.inf)
    scores[:, :2] = log_probs[:, 0].gather(1, classes[:, :2])
    moves = torch.zeros(positions, *classes.shape, dtype=torch.uint8, device=device)
    for position in range(1, positions):
        before = F.pad(scores, (2, 0), value=-torch.inf)
        skipped = before[:, :-2].masked_fill(~skips, -torch.inf)
        best, move = torch.stack([scores, before[:, 1:-1], skipped]).max(dim=0)
        inside = (position < lengths)[:, None]
        scores = torch.where(inside, best + log_probs[:, position].gather(1, classes), scores)
        moves[position] = move * inside
    last = 2 * (ids > BLANK).sum(1, keepdim=True)
    ends = torch.cat([last, (last - 1).clamp(min=0)], dim=1)
    score, which = scores.gather(1, ends).max(dim=1, keepdim=True)
    state = ends.gather(1, which)
    path = [state]
    for position in range(positions - 1, 0, -1):
        state = state - moves[position].gather(1, state)
        path.append(state)
    return Alignment(torch.cat(path[::-1], dim=1).clamp(min=0), score.squeeze(1))
