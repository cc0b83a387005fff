"""The snippets of README.md and docs/, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "model_cards/README.md", "examples/**/README.md", "docs/**/*.md")
OPERATORS = ";&|<>()"


@dataclass(frozen=True)
class Snippet:
    """A code block; an indented one, which states no language, holds commands.

    line: of its first line of code, from 1.
    """

    page: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a shell snippet. written: the lines that a here-document gives to it."""

    place: str
    words: tuple[str, ...]
    written: str = ""

    def __str__(self) -> str:
        return f"{self.place} {' '.join(self.words)}"


def pages() -> list[str]:
    found = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def snippets(page: str) -> list[Snippet]:
    return snippets_in((ROOT / page).read_text(encoding="utf-8"), page)


def snippets_in(text: str, page: str) -> list[Snippet]:
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.map is not None and token.type in ("fence", "code_block"):
            fenced = token.type == "fence"
            language = (token.info.split() or [""])[0] if fenced else "bash"
            found.append(Snippet(page, token.map[0] + 1 + fenced, language, token.content))
    return found


def commands(snippet: Snippet) -> Iterator[Command]:
    """The simple commands of a shell snippet: pipelines, lists and `name=$(...)` taken apart, what they are
    redirected to left out."""
    lines = iter(enumerate(snippet.code.splitlines(), start=snippet.line))
    for number, line in lines:
        while line.endswith("\\"):
            line = line[:-1] + next(lines)[1]
        written = []
        if here := re.search(r"<<\s*'?(\w+)'?", line):
            for _, text in lines:
                if text == here[1]:
                    break
                written.append(text)
            line = line.replace(here[0], "")
        lexer = shlex.shlex(line, posix=True, punctuation_chars=OPERATORS)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if not set(word) <= set(OPERATORS):
                words += [] if redirected or re.fullmatch(r"\w+=\$?", word) else [word]
                redirected = False
            elif set(word) <= {"<", ">"}:
                redirected = True
            elif words:
                yield Command(f"{snippet.page}:{number}", tuple(words), "\n".join(written))
                words = []


def inline_code(page: str) -> Iterator[tuple[int, str]]:
    """(line of the paragraph, code) of the `code` in a page's text."""
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type == "code_inline":
                yield (token.map or [0])[0] + 1, child.content
