"""What is done to sentences before their words are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..errors import Lip2SpeechError
from .error_rates import NORMALISATION, normalise_text

NAMES = ("own", "whisper")


@dataclass(frozen=True)
class Normaliser:
    """A function of a sentence, and what it does in words.

    Attributes:
        about: for results, beside every word error rate.
        apply: a sentence -> its words, separated by single spaces.
    """

    about: str
    apply: Callable[[str], str]


OWN = Normaliser(NORMALISATION, normalise_text)


def whisper_normaliser(spelling: Mapping[str, str] | None = None) -> Normaliser:
    """The English text normaliser of Whisper (Radford et al. 2022, appendix C), as transformers has it.

    It writes numbers as digits, spells contractions out, and leaves out fillers ("um") and brackets.

    Args:
        spelling: British words and their American spelling; a Whisper tokenizer brings them.
    """
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table = "with" if spelling else "without"
    about = f"Whisper's English normaliser (transformers), {table} its table of British spellings"
    return Normaliser(about, EnglishTextNormalizer(dict(spelling or {})))


def choose_normaliser(name: str | None, spelling: Mapping[str, str] | None = None) -> Normaliser:
    """The normaliser of a name: "own" (the rules in `error_rates.NORMALISATION`; default) or "whisper".

    Raises:
        Lip2SpeechError: there is no such normaliser.
    """
    if name not in (None, *NAMES):
        raise Lip2SpeechError(f"There is no text normaliser {name!r}: expected {' or '.join(NAMES)}.")
    return whisper_normaliser(spelling) if name == "whisper" else OWN
