"""The most probable texts of a CTC head's posteriors, all alignments of a text summed.

Prefix beam search: Graves, "Sequence Transduction with Recurrent Neural Networks", 2012; Hannun et al.,
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", 2014.
"""

import math

import torch

from .characters import BLANK
from .word_graph import Node, WordGraph

BEAM_SIZE = 64  # prefixes that are kept
MOST_PLACES = 512  # of a grammar, whose best prefix is kept besides
LEAST_LOG_PROBABILITY = -12.0  # of a character that may follow where any may


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
