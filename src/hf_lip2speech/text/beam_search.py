"""The most probable texts of a CTC head's posteriors, all alignments of a text summed; and what they may be.

Prefix beam search: Graves, "Sequence Transduction with Recurrent Neural Networks", 2012; Hannun et al.,
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import Lip2SpeechError
from .characters import BLANK, SPACE, encode_text

BEAM_SIZE = 16  # prefixes that are kept
MOST_PLACES = 512  # of a grammar, whose best prefix is kept besides
LEAST_LOG_PROBABILITY = -12.0  # of a character that may follow where any may
EXPECTED = (
    'a list of words, ["yes", "no"], one list of words for each place in a sentence, '
    '[["turn"], ["left", "right"]], or "any"'
)


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
