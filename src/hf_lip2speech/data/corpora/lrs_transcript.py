"""Transcripts of LRS2 and LRS3: the text, and for the pretrain clips when each word is said."""

import re
from pathlib import Path

from ...errors import DatasetError
from .clip import Word, read_text

TEXT = "Text:"
WORD_TABLE = ["WORD", "START", "END", "ASDSCORE"]
WORD_LINE = re.compile(r"(\S+)\s+(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)(?:\s+\S+)?")


def read_lrs_transcript(path: Path) -> tuple[str, tuple[Word, ...]]:
    """What is said in a clip of LRS2 or LRS3, as its .txt file has it.

    The file's first line is "Text:" and the sentence in capitals; "Conf:" and "Ref:" follow, in LRS3 a table
    of face boxes ("FRAME X Y W H"), and for pretrain clips the table of words: a line "WORD START END
    ASDSCORE", then one line a word, times in seconds from the clip's start. Tables end at an empty line.

    Returns:
        The text; the words with their times, none where the file has no table of them.

    Raises:
        DatasetError: The file is missing or not of that form, or the words are not in the order of time.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing, which should hold the clip's text.")
    lines = read_text(path).splitlines()
    if not lines or not lines[0].startswith(TEXT):
        raise DatasetError(f"{path} begins with {lines[0][:40] if lines else ''!r}; expected '{TEXT} ...'.")
    text = " ".join(lines[0].removeprefix(TEXT).split())
    first = next((n for n, line in enumerate(lines, start=1) if line.split() == WORD_TABLE), len(lines))
    words: list[Word] = []
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.strip():
            break
        match = WORD_LINE.fullmatch(line.strip())
        if match is None:
            raise DatasetError(f"{path}, line {number} is {line[:60]!r}; expected '{' '.join(WORD_TABLE)}'.")
        word = Word(match[1], float(match[2]), float(match[3]))
        if word.end < word.start or (words and word.start < words[-1].start):
            raise DatasetError(f"{path}, line {number}: {line!r} is not after the words before it.")
        words.append(word)
    return text, tuple(words)
