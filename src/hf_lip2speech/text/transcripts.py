"""What the posteriors of a CTC head say: text, words with their times, and how sure they are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..constants import FRAME_RATE, UNITS_PER_FRAME
from .alignment import align_text
from .beam_search import beam_search
from .characters import BLANK, decode_text, encode_text
from .word_graph import SPACE, WordGraph

SECONDS = 1 / (FRAME_RATE * UNITS_PER_FRAME)  # per position of the head


def transcribe(
    logits: torch.Tensor,
    characters: Sequence[str],
    *,
    graph: WordGraph | None = None,
    num_hypotheses: int = 1,
    return_characters: bool = False,
) -> dict[str, Any]:
    """The text of one clip.

    Args:
        logits: (2T, V + 1) of the head, class 0 the blank, without padding.
        characters: Of classes 1..V.
        graph: What the text may be, see `word_graph`; None: anything.
        num_hypotheses: How many texts to give at most. One, of any words, is read greedily; otherwise
            the most probable ones of a beam search are given.
        return_characters: Adds "characters".

    Returns:
        The most probable text, {"text": str, "words": [{"word", "start", "end", "confidence"}]}, times in
        seconds, confidence 0..1, on request with "characters": [{"character", "start", "end", "confidence"}].
        With several hypotheses also "hypotheses": a list of such, the best first. The text is "" where
        nothing is said, or no text that is allowed fits into the clip.
    """
    logits = logits.float()
    if num_hypotheses == 1 and graph is None:
        return _described(logits, *_greedy(logits), characters, return_characters)
    texts: list[str] = []
    for classes, _ in beam_search(logits, graph):
        text = " ".join(decode_text(classes, characters).split())
        if text not in texts:
            texts.append(text)
    found = [align_transcript(logits, text, characters, return_characters) for text in texts or [""]]
    best = found[0]
    return best if num_hypotheses == 1 else best | {"hypotheses": found[:num_hypotheses]}


def align_transcript(
    logits: torch.Tensor, text: str, characters: Sequence[str], return_characters: bool = False
) -> dict[str, Any]:
    """As `transcribe`, of a known text where the clip says it best. A text for which the clip is too short
    has no words."""
    classes = encode_text(text, characters)
    alignment = align_text(logits[None], torch.tensor([classes or [BLANK]], device=logits.device))
    if not math.isfinite(alignment.score.item()):
        classes = []
    return _described(logits, classes, alignment.states[0], characters, return_characters)


def _greedy(logits: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """The characters of the most likely class of each position, and when they are said, as in `Alignment`."""
    path = logits.argmax(dim=-1)
    said = path != BLANK
    begins = said.clone()
    begins[1:] &= path[1:] != path[:-1]
    return path[begins].tolist(), 2 * begins.cumsum(0) - said.long()


def _described(
    logits: torch.Tensor,
    classes: list[int],
    states: torch.Tensor,
    characters: Sequence[str],
    return_characters: bool,
) -> dict[str, Any]:
    probabilities = logits.softmax(-1).cpu().numpy()
    numbers = states.cpu().numpy()
    spelled = []
    for index, character in enumerate(classes):
        places = np.flatnonzero(numbers == 2 * index + 1)
        spelled.append(
            {
                "character": characters[character - 1],
                "start": round(int(places[0]) * SECONDS, 2),
                "end": round((int(places[-1]) + 1) * SECONDS, 2),
                "confidence": float(probabilities[places, character].max()),
            }
        )
    while spelled and spelled[0]["character"] == SPACE:
        del spelled[0]
    while spelled and spelled[-1]["character"] == SPACE:
        del spelled[-1]
    words = [_word(group) for group in _groups(spelled, SPACE in characters)]
    separator = SPACE if SPACE in characters else ""
    described: dict[str, Any] = {"text": separator.join(word["word"] for word in words), "words": words}
    return described | {"characters": spelled} if return_characters else described


def _groups(spelled: list[dict[str, Any]], spaced: bool) -> list[list[dict[str, Any]]]:
    """The characters of each word; where the model has no space, each character is one."""
    if not spaced:
        return [[character] for character in spelled]
    groups: list[list[dict[str, Any]]] = [[]]
    for character in spelled:
        if character["character"] == SPACE:
            groups.append([])
        else:
            groups[-1].append(character)
    return [group for group in groups if group]


def _word(group: list[dict[str, Any]]) -> dict[str, Any]:
    logs = [math.log(max(character["confidence"], 1e-9)) for character in group]
    return {
        "word": "".join(character["character"] for character in group),
        "start": group[0]["start"],
        "end": group[-1]["end"],
        "confidence": math.exp(sum(logs) / len(logs)),
    }
