"""What the posteriors of a CTC head say: the most probable texts, all alignments of a text summed, and what
they may be; words with their times, and how sure they are.

Prefix beam search: Graves, "Sequence Transduction with Recurrent Neural Networks", 2012; Hannun et al.,
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..constants import FRAME_RATE, UNITS_PER_FRAME
from ..errors import Lip2SpeechError
from .alignment import align_text
from .characters import BLANK, SPACE, decode_text, encode_text

BEAM_SIZE = 16  # prefixes that are kept
MOST_PLACES = 512  # of a grammar, whose best prefix is kept besides
LEAST_LOG_PROBABILITY = -12.0  # of a character that may follow where any may
EXPECTED = (
    'a list of words, ["yes", "no"], one list of words for each place in a sentence, '
    '[["turn"], ["left", "right"]], or "any"'
)
SECONDS = 1 / (FRAME_RATE * UNITS_PER_FRAME)  # per position of the head
SMALLEST = 1e-4  # a probability is taken to be so far from 0 and 1 at least, so that its log-odds are finite


@dataclass(eq=False)
class Node:
    """A place in a text: the classes of the characters that may come next, and whether the text may end."""

    following: dict[int, "Node"] = field(default_factory=dict)
    final: bool = False


@dataclass(frozen=True)
class WordGraph:
    """The texts that `vocabulary` allows.

    start: before the first character.
    complete: a text has a word for each slot, so that a search must keep every place in the sentence.
    """

    start: Node
    complete: bool


def word_graph(vocabulary: Any, characters: Sequence[str]) -> WordGraph:
    """The graph of a word list (words in any number and order, with a space between) or of a grammar.

    Args:
        vocabulary: Words, or for each slot of a sentence its words.
        characters: Those of the model, `Lip2SpeechConfig.text_vocabulary`.

    Raises:
        Lip2SpeechError: It is neither, a word is empty or holds a space, or the model's characters lack the
            space or one of a word's.
    """
    try:
        entries = [] if isinstance(vocabulary, (str, bytes, dict)) else list(vocabulary)
        grammar = bool(entries) and not any(isinstance(entry, str) for entry in entries)
        slots = [list(slot) for slot in entries] if grammar else [entries]
    except TypeError:  # something has no items
        entries, slots = [], []
    if not slots or not all(slot and all(isinstance(word, str) for word in slot) for slot in slots):
        raise Lip2SpeechError(f"vocabulary is {_shortened(entries or vocabulary)}: expected {EXPECTED}.")
    if SPACE not in characters:
        raise Lip2SpeechError("vocabulary needs a model whose text_vocabulary has the space between words.")
    space = list(characters).index(SPACE) + 1
    starts = [Node() for _ in slots]
    starts[0].final = not grammar  # nothing may be said
    for index, slot in enumerate(slots):
        last = index + 1 == len(slots)
        for word in slot:
            spelled = encode_text(word, characters)
            if not spelled or space in spelled:
                raise Lip2SpeechError(f"vocabulary has {word!r}: each entry must be one word.")
            node = starts[index]
            for character in spelled:
                node = node.following.setdefault(character, Node())
            node.final = last
            if not (grammar and last):
                node.following[space] = starts[index + 1] if grammar else starts[0]
    return WordGraph(starts[0], complete=grammar)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Prefix:
    """The beginning of a text. Equal ones are the same object, so that they need no comparison."""

    __slots__ = ("before", "last", "longer", "node")

    def __init__(self, before: "_Prefix | None", last: int, node: Node | None):
        self.before, self.last, self.node = before, last, node
        self.longer: dict[int, _Prefix] = {}

    def extended(self, character: int) -> "_Prefix":
        if character not in self.longer:
            node = None if self.node is None else self.node.following[character]
            self.longer[character] = _Prefix(self, character, node)
        return self.longer[character]

    def classes(self) -> list[int]:
        found, prefix = [], self
        while prefix.before is not None:
            found.append(prefix.last)
            prefix = prefix.before
        return found[::-1]


def beam_search(
    logits: torch.Tensor, graph: WordGraph | None = None, beam_size: int = BEAM_SIZE
) -> list[tuple[list[int], float]]:
    """The most probable texts of a clip, best first.

    Args:
        logits: (N, V + 1) of one clip, without padding.
        graph: What the texts may be; None: any characters.
        beam_size: Prefixes kept at each position. With a grammar, the best one of each place in the sentence
            is kept besides, so that a complete sentence is found wherever the clip has room for one.

    Returns:
        Classes 1..V of each text's characters, and its log probability; at most `beam_size` texts. None for a
        clip that has no room for any sentence of the grammar.
    """
    start = _Prefix(None, BLANK, None if graph is None else graph.start)
    beam: dict[_Prefix, tuple[float, float]] = {start: (0.0, -math.inf)}  # ending with a blank, or not
    for scores in logits.float().log_softmax(-1).tolist():
        likely = [c for c, score in enumerate(scores) if c != BLANK and score > LEAST_LOG_PROBABILITY]
        grown: dict[_Prefix, tuple[float, float]] = {}
        for prefix, (blank, character) in beam.items():
            either = _add(blank, character)
            before = grown.get(prefix, (-math.inf, -math.inf))
            repeated = character + scores[prefix.last] if prefix.last != BLANK else -math.inf
            grown[prefix] = (_add(before[0], either + scores[BLANK]), _add(before[1], repeated))
            for following in likely if prefix.node is None else prefix.node.following:
                score = (blank if following == prefix.last else either) + scores[following]
                if score > -math.inf:
                    longer = prefix.extended(following)
                    before = grown.get(longer, (-math.inf, -math.inf))
                    grown[longer] = (before[0], _add(before[1], score))
        beam = _best(grown, beam_size, graph)
    return [
        (prefix.classes(), _add(*scores))
        for prefix, scores in beam.items()
        if prefix.node is None or prefix.node.final
    ][:beam_size]


def _best(
    grown: dict[_Prefix, tuple[float, float]], beam_size: int, graph: WordGraph | None
) -> dict[_Prefix, tuple[float, float]]:
    """Those to keep, best first."""
    ranked = sorted(grown, key=lambda prefix: _add(*grown[prefix]), reverse=True)
    kept = ranked[:beam_size]
    if graph is not None and graph.complete and len(ranked) > beam_size:
        places = {prefix.node for prefix in kept}
        for prefix in ranked[beam_size:]:
            if prefix.node not in places and len(places) < MOST_PLACES:
                places.add(prefix.node)
                kept.append(prefix)
    return {prefix: grown[prefix] for prefix in kept}


def _add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))"""
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


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
