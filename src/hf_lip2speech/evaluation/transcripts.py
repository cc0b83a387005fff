"""How many words and characters of the true sentences a recogniser hears in the speech."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import MetricError
from ..extras import require_extra


@dataclass(frozen=True)
class _Edits:
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class WordErrors(_Edits):
    """Word errors of a corpus, counted over all its sentences together.

    `rate` = (substitutions + deletions + insertions) / words; it can exceed 1.
    """

    words: int  # in the references

    @property
    def rate(self) -> float:
        return self.errors / self.words


@dataclass(frozen=True)
class CharacterErrors(_Edits):
    """Character errors of a corpus, spaces between words included; `rate` = errors / characters."""

    characters: int  # in the references

    @property
    def rate(self) -> float:
        return self.errors / self.characters


def _sentences(references: Sequence[str], hypotheses: Sequence[str]) -> tuple[list[str], list[str]]:
    references, hypotheses = list(references), list(hypotheses)
    if not references or len(references) != len(hypotheses):
        raise MetricError(
            f"{len(references)} references and {len(hypotheses)} hypotheses were given; as many of one as "
            "of the other, and at least one, were expected."
        )
    empty = [index for index, reference in enumerate(references) if not reference.strip()]
    if empty:
        raise MetricError(
            f"references {empty} hold no word: an error rate is not defined on them. Leave them out."
        )
    return references, hypotheses


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Word errors of a corpus: the smallest numbers of substitutions, deletions and insertions (Levenshtein,
    jiwer).

    Corpus level: the errors of all sentences over the words of all references, so a long sentence weighs more
    than a short one. The words are compared as they are written: pass both through
    `normalisation.normalise_text` beforehand if case and punctuation do not count.

    Args:
        references: N true sentences, words parted by spaces, none empty.
        hypotheses: N recognised sentences; an empty one counts as deletions.

    Raises:
        MetricError: the numbers of sentences differ, there is none, or a reference is empty.
        ImportError: jiwer is missing; names the extra that holds it.
    """
    counts = require_extra("jiwer", "eval").process_words(*_sentences(references, hypotheses))
    words = counts.hits + counts.substitutions + counts.deletions
    return WordErrors(counts.substitutions, counts.deletions, counts.insertions, words)


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus-level word error rate, 0 (every word is right) upwards. See `word_errors`."""
    return word_errors(references, hypotheses).rate


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> CharacterErrors:
    """Character errors of a corpus (Levenshtein, jiwer), spaces counted as characters.

    Arguments and errors as in `word_errors`.
    """
    counts = require_extra("jiwer", "eval").process_characters(*_sentences(references, hypotheses))
    characters = counts.hits + counts.substitutions + counts.deletions
    return CharacterErrors(counts.substitutions, counts.deletions, counts.insertions, characters)


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus-level character error rate, 0 upwards. See `character_errors`."""
    return character_errors(references, hypotheses).rate
