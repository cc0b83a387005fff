"""Every snippet of README.md and docs/ is understood by what it is meant for.

Commands are parsed by the parsers that they will meet, and their configurations loaded; test_commands.py
runs those that can be run, test_python.py the Python, test_walk_through.py docs/own_talker.md from top to
bottom. A snippet that is neither run nor checked fails here.
"""

import re

import pytest
from markdown_it import MarkdownIt

from hf_lip2speech_cli import make_parser

from .checks import CHECKS, check, check_facts, known_options
from .snippets import ROOT, Snippet, commands, inline_code, pages, snippets, snippets_in

ALL = [snippet for page in pages() for snippet in snippets(page)]
SHELL = [command for snippet in ALL if snippet.language == "bash" for command in commands(snippet)]
OTHERS = [snippet for snippet in ALL if snippet.language not in ("bash", "python")]


@pytest.mark.parametrize("command", SHELL, ids=str)
def test_a_command_is_understood_by_its_program(command, tmp_path):
    check(command, tmp_path)


def refuse_unchecked(snippet: Snippet, folder) -> None:
    if snippet.language == "yaml":
        check_facts(snippet.code, folder)
        return
    assert snippet.language == "text", (
        f"{snippet.place}: ```{snippet.language} is neither run nor checked; write ```bash (or indent), "
        "```python, ```yaml (what a card states), or ```text for what is no code"
    )
    called = re.search(rf"^({'|'.join(map(re.escape, CHECKS))}) ", snippet.code, re.MULTILINE)
    assert not called, f"{snippet.place}: ```text that calls {called[1]}: write ```bash"


@pytest.mark.parametrize("snippet", OTHERS, ids=lambda snippet: snippet.place)
def test_a_snippet_that_is_no_code_says_so(snippet, tmp_path):
    refuse_unchecked(snippet, tmp_path)


@pytest.mark.parametrize("page", pages())
def test_options_and_commands_that_the_text_names_exist(page, tmp_path):
    for line, code in inline_code(page):
        named = re.match(r"(--[a-z][a-z-]+)\b", code)
        assert not named or named[1] in known_options(), f"{page}:{line}: {code}"
        if "..." not in code and code.startswith("hf-lip2speech ") and " -" in code:
            command, options = code.split()[1], re.findall(r"--[a-z-]+", code)
            assert {*options} <= known_options(None if command.startswith("-") else command), (
                f"{page}:{line}: {code}"
            )


@pytest.mark.parametrize("page", pages())
def test_every_row_belongs_to_a_table(page):
    parsed = MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text(encoding="utf-8"))
    assert not [
        token.content for token in parsed if token.type == "inline" and token.content.startswith("| ")
    ]


WRONG = {
    "an option that is not there": "hf-lip2speech speak silent.mp4 --louder",
    "a command that is not there": "hf-lip2speech sing silent.mp4",
    "a program without a check": "ffmpeg -i silent.mp4 speech.wav",
    "a setting that is not there": "accelerate launch examples/train.py examples/configs/lrs3.yaml warmup=3",
    "a configuration that is not there": "accelerate launch examples/train.py examples/configs/none.yaml",
    "an option of accelerate's that is not there": "accelerate launch --soon examples/train.py CONFIG.yaml",
    "an extra that is not there": 'pip install ".[everything]"',
    "a target that is not there": "make coffee",
    "a script's option that is not there": "python scripts/measure_loader.py PREPARED --fast",
    "the second of two commands": "make test; hf-lip2speech speak",
    "one in a substitution": "job=$(hf-lip2speech speak)",
    "a fact that is not there": "cat > card.yaml <<'END'\ntitle: A\ncolour: blue\nEND",
}


@pytest.mark.parametrize("code", WRONG.values(), ids=WRONG.keys())
def test_the_check_finds(code, tmp_path):
    (snippet,) = snippets_in(f"```bash\n{code}\n```\n", "page.md")
    with pytest.raises((AssertionError, SystemExit, ValueError)):
        for command in commands(snippet):
            check(command, tmp_path)


@pytest.mark.parametrize("block", ["```console\n$ ls\n```", "```\nx = 1\n```", "```text\nmake test\n```"])
def test_the_check_finds_a_block_that_would_be_passed_over(block, tmp_path):
    (snippet,) = snippets_in(block, "page.md")
    with pytest.raises(AssertionError, match="page.md:2"):
        refuse_unchecked(snippet, tmp_path)


def test_commands_are_taken_apart_as_a_shell_would():
    code = ["a b  # of c", 'x=$(d --e f) ; g "h i" > j | k', "cat > l <<'END'", "m: n", "END"]
    (snippet,) = snippets_in("Text.\n\n    " + "\n    ".join(code), "page.md")
    found = [(command.place, command.words, command.written) for command in commands(snippet)]
    assert found == [
        ("page.md:3", ("a", "b"), ""),
        ("page.md:4", ("d", "--e", "f"), ""),
        ("page.md:4", ("g", "h i"), ""),
        ("page.md:4", ("k",), ""),
        ("page.md:5", ("cat",), "m: n"),
    ]


def test_every_command_is_on_some_page():
    shown = {command.words[1] for command in SHELL if command.words[0] == "hf-lip2speech"}
    (subparsers,) = (action for action in make_parser()._actions if action.dest == "command")
    assert shown == {*subparsers.choices}
