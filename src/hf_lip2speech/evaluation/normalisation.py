"""One way of writing a sentence down, for true and recognised ones alike."""

import re
import unicodedata

NORMALISATION = (
    "lower case; letters, digits and apostrophes inside words are kept, all else parts words; "
    "each digit is a word of its own, spelled in English"
)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_WORDS = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d")


def normalise_text(text: str) -> str:
    """Write a sentence so that it can be compared word by word; what it does is said in NORMALISATION.

    "Place blue at F2, now!" -> "place blue at f two now". Numbers are read digit by digit, so "19" becomes
    "one nine" and differs from "nineteen". Applying it twice changes nothing.

    Args:
        text: in a script that parts words by spaces.

    Returns:
        Words parted by single spaces, "" where there is none.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    words = _WORDS.findall(text)
    return " ".join(_DIGITS[unicodedata.digit(word)] if word.isdigit() else word for word in words)
