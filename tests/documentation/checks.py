"""Whether a command can be meant as it is written: parsed by the parser that it will meet, its files read.

For each program that the documentation calls; one that is not here fails the test.
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from accelerate.commands.launch import launch_command_parser

from hf_lip2speech.cards import KINDS, model_card, read_facts
from hf_lip2speech.training.arguments import (
    Lip2SpeechTrainingArguments,
    MelFlowTrainingArguments,
    VocoderTrainingArguments,
)
from hf_lip2speech.training.config import parse_command_line
from hf_lip2speech_cli import make_parser

from .snippets import ROOT, Command

TRAININGS = {
    "examples/train.py": Lip2SpeechTrainingArguments,
    "examples/train_vocoder.py": VocoderTrainingArguments,
    "examples/train_flow.py": MelFlowTrainingArguments,
}
PLACEHOLDER_CONFIG = re.compile(r"(?:[A-Z]+_)?[A-Z]+\.yaml")  # CONFIG.yaml, VOCODER.yaml


def check(command: Command, folder: Path) -> None:
    """Raises AssertionError, or SystemExit out of a parser, where the command would not be understood.

    Args:
        folder: An empty one, for what has to lie in a file.
    """
    program, *arguments = command.words
    assert program in CHECKS, f"{command}: no check for {program}; give it one in {Path(__file__).name}"
    if program == "cat":
        check_facts(command.written, folder)
    else:
        CHECKS[program](arguments, folder)


def check_facts(text: str, folder: Path) -> None:
    """A card.yaml."""
    path = folder / "card.yaml"
    path.write_text(text, encoding="utf-8")
    model_card(KINDS[0], read_facts(path))


def copy(arguments: Sequence[str], folder: Path) -> None:
    """Into a folder that the repository has."""
    assert arguments[0] == "-r" and (ROOT / arguments[-1]).is_dir(), arguments


def ours(arguments: Sequence[str], folder: Path) -> argparse.Namespace:
    return make_parser().parse_args(arguments)


@lru_cache
def known_options(command: str | None = None) -> set[str]:
    """The options of one of our commands, or of all, of the trainings and of `accelerate launch`."""
    (subparsers,) = (action for action in make_parser()._actions if action.dest == "command")
    parsers = [parser for name, parser in subparsers.choices.items() if command in (None, name)]
    if command is None:
        parsers += [make_parser(), launch_command_parser()]
    found = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    return found | ({"--init-from", "--resume"} if command is None else set())


def accelerate(arguments: Sequence[str], folder: Path) -> None:
    assert arguments[0] == "launch"
    launch = launch_command_parser().parse_args(arguments[1:])
    if launch.config_file is not None:
        assert (ROOT / launch.config_file).is_file(), launch.config_file
    script = [*(["-m"] if launch.module else []), launch.training_script, *launch.training_script_args]
    python(script, folder)


def python(arguments: Sequence[str], folder: Path) -> None:
    script, *rest = arguments
    if script == "-m":
        module, *rest = rest
        if module == "hf_lip2speech":
            ours(rest, folder)
            return
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{module}.__main__")
        assert spec is not None and spec.origin is not None, f"no module {module}"
        source = Path(spec.origin)
    elif script in TRAININGS:
        training(TRAININGS[script], rest, folder)
        return
    else:
        source = ROOT / script
    options_in(source.read_text(encoding="utf-8"), rest)


def training(kind: type, arguments: Sequence[str], folder: Path) -> None:
    """The script's own parser, which loads the configuration."""
    (folder / "config.yaml").write_text("data: prepared\noutput_dir: runs/x\n", encoding="utf-8")
    known = [str(folder / "config.yaml") if PLACEHOLDER_CONFIG.fullmatch(a) else a for a in arguments]
    parse_command_line(kind, "", [str(ROOT / a) if (ROOT / a).is_file() else a for a in known])


def options_in(text: str, arguments: Sequence[str]) -> None:
    for argument in arguments:
        option = argument.partition("=")[0]
        assert not option.startswith("--") or option in text, f"there is no {option}"


def pip(arguments: Sequence[str], folder: Path) -> None:
    assert arguments[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for requirement in arguments[1:]:
        if requirement == "torch" or requirement in ("--index-url", "https://download.pytorch.org/whl/cpu"):
            continue
        name, asked = re.fullmatch(r"([\w.-]+?)(?:\[([\w,]+)\])?", requirement).groups()
        assert name in (".", "hf-lip2speech"), requirement
        assert {*(asked.split(",") if asked else ())} <= {*extras}, requirement


def make(arguments: Sequence[str], folder: Path) -> None:
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def hf(arguments: Sequence[str], folder: Path) -> None:
    words = [word for word in arguments if re.fullmatch(r"[a-z]+", word)]
    options_in(hf_help(*words), arguments)


@lru_cache
def hf_help(*words: str) -> str:
    """What the Hub's own command says of a subcommand."""
    command = [sys.executable, "-m", "huggingface_hub.cli.hf", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"hf {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def sbatch(arguments: Sequence[str], folder: Path) -> None:
    at = next(place for place, word in enumerate(arguments) if not word.startswith("-"))
    script, *rest = arguments[at:]
    assert subprocess.run(["bash", "-n", ROOT / script]).returncode == 0, script
    ours(["prepare", *rest], folder)


def apt_get(arguments: Sequence[str], folder: Path) -> None:
    assert arguments[0] == "install" and all(re.fullmatch(r"[a-z0-9.+-]+", name) for name in arguments[1:])


def npm(arguments: Sequence[str], folder: Path) -> None:
    """What a folder of the repository asks for."""
    install, prefix, place = arguments
    assert (install, prefix) == ("install", "--prefix") and (ROOT / place / "package.json").is_file()


def tensorboard(arguments: Sequence[str], folder: Path) -> None:
    assert importlib.util.find_spec("tensorboard") is not None
    assert arguments[0] == "--logdir" and len(arguments) == 2


CHECKS: dict[str, Callable] = {
    "accelerate": accelerate,
    "apt-get": apt_get,
    "cat": check_facts,
    "cp": copy,
    "hf": hf,
    "hf-lip2speech": ours,
    "make": make,
    "npm": npm,
    "pip": pip,
    "python": python,
    "sbatch": sbatch,
    "tensorboard": tensorboard,
}
