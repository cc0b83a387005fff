"""Forced alignment: which character of a given text is said when, by a CTC head's posteriors (Viterbi)."""

from typing import NamedTuple

import torch
from torch.nn import functional as F

from .characters import BLANK
from .ctc import ctc_states

TOLERANCE = 0.1  # seconds by which a character may lie outside of its word's time


def character_times(spaces: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """From when to when each character of a text may be said: its word's time and `TOLERANCE` around it; a
    space, from the end of the word before it to the start of the next one, with the same tolerance.

    Args:
        spaces: bool (L,), which characters are spaces.
        words: (W, 2), start and end of each word in seconds.

    Returns:
        float32 (L, 2), seconds; -inf to inf everywhere where the text has another number of words than W.
    """
    number = spaces.cumsum(0)  # of the word that a character is in; at a space, of the next one
    if not len(spaces) or int(number[-1]) + 1 != len(words):
        return torch.tensor([-torch.inf, torch.inf]).expand(len(spaces), 2)
    words = words.float()
    starts = torch.where(spaces, words[(number - 1).clamp(min=0), 1], words[number, 0])
    ends = torch.where(spaces, words[number, 0], words[number, 1])
    return torch.stack(
        [torch.minimum(starts, ends) - TOLERANCE, torch.maximum(starts, ends) + TOLERANCE], dim=1
    )


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
    classes, skips = ctc_states(ids)
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
