"""Which words of a given text the lips cannot be saying."""

from collections.abc import Sequence

import torch

from .alignment import align_text
from .characters import encode_text
from .word_graph import SPACE


def word_scores(logits: torch.Tensor, text: str, characters: Sequence[str]) -> list[tuple[str, float]]:
    """How well each word of a text fits what a CTC head reads, where it fits best.

    Args:
        logits: (2T, V + 1) of the head for one clip, without padding.
        text: What is claimed to be said.
        characters: Of classes 1..V.

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
