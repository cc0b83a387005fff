"""What the posteriors of a CTC head say: text, words with their times, and how sure they are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..constants import FRAME_RATE, UNITS_PER_FRAME
from .alignment import align_text
from .beam_search import BEAM_SIZE, SPACE, WordGraph, beam_search
from .characters import BLANK, decode_text, encode_text

SECONDS = 1 / (FRAME_RATE * UNITS_PER_FRAME)  # per position of the head
SMALLEST = (
    1e-4  # a probability is taken to be this far from 0 and 1 at least, so that its log-odds are finite
)


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
        return _described(logits, *greedy(logits), characters, return_characters)
    texts: list[str] = []
    for classes, _ in beam_search(logits, graph, BEAM_SIZE if num_hypotheses == 1 else 4 * BEAM_SIZE):
        text = " ".join(decode_text(classes, characters).split())
        if text not in texts:
            texts.append(text)
    texts = texts[:num_hypotheses] or [""]
    found = [align_transcript(logits, text, characters, return_characters) for text in texts]
    best = found[0]
    return best if num_hypotheses == 1 else best | {"hypotheses": found}


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


def greedy(logits: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """The characters (classes 1..V) of the most likely class of each position of a clip's logits (2T, V + 1),
    repeats collapsed, blanks left out; and when they are said, as in `Alignment`."""
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


def calibrated(probability: float, calibration: Sequence[float] = (1.0, 0.0)) -> float:
    """The probability whose log-odds are scale * log-odds + offset (Platt, "Probabilistic Outputs for Support
    Vector Machines", 1999); scale 1 and offset 0 change nothing but the extremes."""
    scale, offset = calibration
    if (scale, offset) == (1.0, 0.0):
        return probability
    bounded = min(max(probability, SMALLEST), 1 - SMALLEST)
    return 1 / (1 + math.exp(-(scale * math.log(bounded / (1 - bounded)) + offset)))


def clip_confidence(words: Sequence[dict[str, Any]], logits: torch.Tensor) -> float:
    """The share of the words, {"confidence": 0..1, ...}, that can be expected to be right: their mean
    confidence.

    Where no word is read, it is how sure the head is that nothing is said: the blank's mean probability in
    the clip's logits (2T, V + 1).
    """
    if words:
        return sum(word["confidence"] for word in words) / len(words)
    return float(logits.float().softmax(-1)[:, BLANK].mean())
