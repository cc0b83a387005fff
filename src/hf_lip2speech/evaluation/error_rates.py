"""Error rates of words, characters and units; what is done to sentences before they are compared."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from hf_lip2speech_extras import require_extra

from ..errors import Lip2SpeechError, MetricError

NORMALISATION = (
    "lower case; letters, digits and apostrophes inside words are kept, everything else separates words; "
    "each digit is a word of its own, spelled in English"
)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d")

Units = Sequence[int] | np.ndarray


@dataclass(frozen=True)
class EditErrors:
    """Edits between references and hypotheses, over all sentences together.

    `rate` = (substitutions + deletions + insertions) / length; it can exceed 1.
    """

    substitutions: int
    deletions: int
    insertions: int
    length: int  # words or characters of the references

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        return self.errors / self.length


def normalise_text(text: str) -> str:
    """A sentence, in a script that separates words by spaces, as it is compared word by word; see
    NORMALISATION.

    "Place blue at F2, now!" -> "place blue at f two now". Numbers are read digit by digit, so "19" becomes
    "one nine" and differs from "nineteen". Applying it twice changes nothing.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    words = _WORDS.findall(text)
    return " ".join(_DIGITS[unicodedata.digit(word)] if word.isdigit() else word for word in words)


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> EditErrors:
    """Word errors of a corpus: the smallest numbers of substitutions, deletions and insertions (Levenshtein,
    jiwer).

    Corpus level: the errors of all sentences over the words of all references, so a long sentence weighs more
    than a short one. Words are compared as they are written: pass both through `normalise_text` first if case
    and punctuation do not count.

    Args:
        references: N true sentences, words separated by spaces, none empty.
        hypotheses: N recognised sentences; an empty one counts as deletions.

    Raises:
        MetricError: the numbers of sentences differ, there is none, a reference is empty, or one is no text.
        ImportError: jiwer is not installed; names the extra.
    """
    return _edits("process_words", references, hypotheses)


def character_errors(references: Sequence[str], hypotheses: Sequence[str]) -> EditErrors:
    """`word_errors` of characters, spaces counted as such."""
    return _edits("process_characters", references, hypotheses)


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Word error rate, corpus level: wrong, missing and added words over the true words, 0 upwards.

    See `word_errors`. It depends on the recogniser as much as on the speech.
    """
    return word_errors(references, hypotheses).rate


def cer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Character error rate, corpus level: as WER over characters, spaces included.

    See `character_errors`.
    """
    return character_errors(references, hypotheses).rate


def unit_accuracy(references: Sequence[Units], units: Sequence[Units]) -> float:
    """Share of 20 ms steps with the right speech unit, 0 to 1.

    Over all steps of all references together. Step i is compared with step i: nothing is shifted; steps
    beyond the reference's end do not count, steps missing before it are wrong. The published training selects
    by this (Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023).

    Args:
        references: N sequences (U,) of true units at 50 Hz, repeats kept, U > 0.
        units: N sequences (V,) of units to score.

    Raises:
        MetricError: the numbers of sequences differ, there is none, or one is not a sequence of integers.
    """
    right = total = 0
    for true, given in _unit_pairs(references, units):
        common = min(len(true), len(given))
        right += int((true[:common] == given[:common]).sum())
        total += len(true)
    return right / total


def unit_error_rate(references: Sequence[Units], units: Sequence[Units]) -> float:
    """Unit error rate: edits between the units, repeats collapsed, over the reference's length, 0 upwards.

    Runs of one unit are collapsed on both sides first, as in work on textless speech (Lakhotia et al., "On
    Generative Spoken Language Modeling from Raw Audio", TACL 2021), so what is said counts, not when. Over
    all references together. Arguments and errors as in `unit_accuracy`; needs jiwer (extra eval).
    """
    pairs = _unit_pairs(references, units)
    texts = [[" ".join(str(unit) for unit, _ in groupby(side.tolist())) for side in pair] for pair in pairs]
    return wer([true for true, _ in texts], [given for _, given in texts])


def _check_counts(references: Sequence, given: Sequence) -> None:
    if not len(references) or len(references) != len(given):
        raise MetricError(
            f"Got {len(references)} references and {len(given)} others; expected equally many, at least one."
        )


def _edits(process: str, references: Sequence[str], hypotheses: Sequence[str]) -> EditErrors:
    _check_counts(references, hypotheses)
    if others := {type(text).__name__ for text in (*references, *hypotheses) if not isinstance(text, str)}:
        raise MetricError(f"Sentences are texts (str), got also: {', '.join(sorted(others))}.")
    if empty := [index for index, reference in enumerate(references) if not reference.strip()]:
        raise MetricError(f"References {empty} hold no word: they have no error rate. Leave them out.")
    counts = getattr(require_extra("jiwer", "eval"), process)(list(references), list(hypotheses))
    length = counts.hits + counts.substitutions + counts.deletions
    return EditErrors(counts.substitutions, counts.deletions, counts.insertions, length)


def _unit_pairs(references: Sequence[Units], units: Sequence[Units]) -> list[tuple[np.ndarray, np.ndarray]]:
    _check_counts(references, units)
    pairs = [(np.asarray(true), np.asarray(given)) for true, given in zip(references, units, strict=True)]
    for index, (true, given) in enumerate(pairs):
        flat = true.ndim == given.ndim == 1 and len(true) > 0
        if not flat or not all(array.dtype.kind in "iu" for array in (true, given) if len(array)):
            raise MetricError(
                f"Clip {index} has units {true.dtype} {true.shape} and {given.dtype} {given.shape}; expected "
                "integers of shape (U,), U > 0, and (V,)."
            )
    return pairs


@dataclass(frozen=True)
class Normaliser:
    """A function of a sentence to its words, separated by single spaces, and what it does in words, for
    results."""

    about: str
    apply: Callable[[str], str]


OWN = Normaliser(NORMALISATION, normalise_text)


def choose_normaliser(name: str | None, spelling: Mapping[str, str] | None = None) -> Normaliser:
    """The normaliser of a name: "own" (the rules in `NORMALISATION`; default) or "whisper".

    "whisper" is the English text normaliser of Whisper (Radford et al. 2022, appendix C), as transformers has
    it. It writes numbers as digits, spells contractions out, and leaves out fillers ("um") and brackets. A
    Whisper tokenizer brings the table of British words and their American spelling.
    """
    if name in (None, "own"):
        return OWN
    if name != "whisper":
        raise Lip2SpeechError(f"There is no text normaliser {name!r}: expected own or whisper.")
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = "with" if spelling else "without"
    about = f"Whisper's English normaliser (transformers), {table} its table of British spellings"
    return Normaliser(about, EnglishTextNormalizer(dict(spelling or {})))
