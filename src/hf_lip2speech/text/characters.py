"""Text as the classes of a CTC head: class 0 is the blank, class i + 1 the vocabulary's character i."""

import unicodedata
from collections.abc import Sequence

from ..errors import Lip2SpeechError

BLANK = 0
SPACE = " "
ENGLISH = " 'abcdefghijklmnopqrstuvwxyz"


class UnknownCharacterError(Lip2SpeechError):
    """A text has a letter or digit that the vocabulary lacks."""


def encode_text(text: str, vocabulary: Sequence[str]) -> list[int]:
    """The classes of a text's characters, 1 .. len(vocabulary).

    Upper or lower case is changed to the one that the vocabulary has. Punctuation that it lacks separates
    words, apostrophes that it lacks are left out, and between words there is one space (none where the
    vocabulary has no space).

    Args:
        text: Any; "" gives [].
        vocabulary: The characters, `Lip2SpeechConfig.text_vocabulary`.

    Raises:
        UnknownCharacterError: A letter or digit is not in the vocabulary.
    """
    ids = {character: index for index, character in enumerate(vocabulary, start=1)}
    spelled = []
    for character in unicodedata.normalize("NFKC", text).replace("\u2019", "'"):
        known = next((c for c in (character, character.lower(), character.upper()) if c in ids), None)
        if known is None and character.isalnum():
            raise UnknownCharacterError(
                f"The text {text!r} has {character!r}, which is not in the model's text_vocabulary "
                f"{''.join(vocabulary)!r}. Write the text with its characters (numbers as words), or train a "
                "model whose vocabulary has it."
            )
        spelled.append(known or ("" if character == "'" else " "))
    words = "".join(spelled).split()
    return [ids[character] for character in " ".join(words) if character in ids]


def decode_text(ids: Sequence[int], vocabulary: Sequence[str]) -> str:
    """The text of classes, blanks left out."""
    return "".join(vocabulary[index - 1] for index in ids if index != BLANK)
