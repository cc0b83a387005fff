"""The paths of a text through a CTC head's posteriors: its states, and which character is said when
(Viterbi).

Graves, Fernández, Gomez, Schmidhuber, "Connectionist Temporal Classification: Labelling Unsegmented Sequence
Data with Recurrent Neural Networks", ICML 2006.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional as F

from .characters import BLANK, SPACE, encode_text

TOLERANCE = 0.1  # seconds by which a character may lie outside of its word's time


def ctc_states(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states that a path through texts visits: a blank, the first character, a blank, ...

    From int64 (B, L), classes 1..V, then 0: the states' classes (B, 2L + 1), and which states can follow the
    one two before (bool, the same shape): a character, straight after another one.
    """
    classes = F.pad(torch.stack([torch.full_like(ids, BLANK), ids], dim=-1).flatten(1), (0, 1))
    skips = F.pad((ids[:, 1:] != ids[:, :-1])[..., None], (1, 0)).flatten(1)
    return classes, F.pad(skips, (2, 1))[:, : classes.shape[1]]


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


def word_scores(logits: torch.Tensor, text: str, characters: Sequence[str]) -> list[tuple[str, float]]:
    """How well each word of a text, which is claimed to be said, fits what a CTC head reads, where it fits
    best.

    Args:
        logits: (2T, V + 1) of the head for one clip, without padding; classes 1..V are the `characters`.

    Returns:
        Each word, and the mean over its characters of log(its probability / that of the head's own choice),
        at the position of the character where this is greatest: 0 where the head reads the same, -7 where it
        takes each character to be 1000 times less likely than another or none. -inf for all words of a text
        that the clip is too short for.
    """
    logits = logits.float()
    ids = encode_text(text, characters)
    alignment = align_text(logits[None], torch.tensor([ids], device=logits.device))
    possible = bool(alignment.score.isfinite())
    behind = logits - logits.max(dim=-1, keepdim=True).values
    words: list[tuple[str, list[float]]] = [("", [])]
    for index, character in enumerate(ids):
        spelled = characters[character - 1]
        if spelled == SPACE:
            words.append(("", []))
            continue
        there = alignment.states[0] == 2 * index + 1
        score = float(behind[there, character].max()) if possible else -torch.inf
        words[-1] = (words[-1][0] + spelled, [*words[-1][1], score])
    return [(word, sum(scores) / len(scores)) for word, scores in words if scores]
