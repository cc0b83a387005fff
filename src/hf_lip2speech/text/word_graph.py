"""Which texts a search may give: words of a list in any order, or the sentences of a grammar of slots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Lip2SpeechError
from .characters import encode_text

SPACE = " "
EXPECTED = (
    'a list of words, ["yes", "no"], or one list of words for each place in a sentence, '
    '[["turn"], ["left", "right"]]'
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
