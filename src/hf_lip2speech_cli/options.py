"""What several commands share: options, and checks of arguments that need no library."""

import argparse
import difflib
import os
import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

LONGEST_NAME = 240  # bytes; what most file systems take, less what an unfinished file's name has
BUNDLED = "bundled"  # the name of the model in the package


class CommandError(Exception):
    """An argument that cannot be used, told before any library is imported."""


class Parser(argparse.ArgumentParser):
    """A parser whose subcommands show their own usage when an argument of theirs is unknown, with the name
    that was probably meant (argparse does so from Python 3.14 on, for commands and choices)."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [name for action in self._actions for name in action.option_strings]
            meant = _did_you_mean(unknown[0].partition("=")[0], options)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        if wrong := re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message):
            message += _did_you_mean(wrong[1], re.findall(r"[\w-]+", wrong[2]))
        super().error(message)


def _did_you_mean(given: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(given, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def positive(text: str, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
    return number


def natural(text: str) -> int:
    return positive(text, 0)


def _face(text: str) -> int | str:
    if text.isdecimal():
        return int(text)
    if text not in ("talking", "largest"):
        raise argparse.ArgumentTypeError(f"expected talking, largest or a number from 0, got {text!r}")
    return text


def add_model(parser: argparse.ArgumentParser) -> None:
    folder = "folder or Hub name of a composed model (default: bundled)"
    parser.add_argument("-m", "--model", default=BUNDLED, help=folder)


def add_device(parser: argparse.ArgumentParser, *, dtype: bool = False) -> None:
    """--device, and --dtype on request: both, where `load` is called."""
    device = "cpu, cuda, cuda:1, mps, ... (default: the first accelerator, else cpu)"
    parser.add_argument("--device", help=device)
    if dtype:
        about = "of the model (default: auto, bfloat16 on a CPU that has units for it, else as it was saved)"
        dtypes = ("auto", "float32", "float16", "bfloat16")
        parser.add_argument("--dtype", choices=dtypes, default="auto", help=about)


def add_face(parser: argparse.ArgumentParser, *, cropped: bool = False) -> None:
    """--face, and --cropped on request."""
    if cropped:
        mouths = "the videos already show only the mouth (96x96 gray)"
        parser.add_argument("--cropped", action="store_true", help=mouths)
    which = (
        "of several faces: talking, the one whose lips move most (default); largest; or its number, counted "
        "from left to right from 0"
    )
    parser.add_argument("--face", type=_face, default="talking", metavar="FACE", help=which)


def load(args: argparse.Namespace) -> Any:
    """The pipeline of --model, on --device and in --dtype."""
    from hf_lip2speech.machine import fast_dtype
    from hf_lip2speech.pipeline import load_pipeline

    dtype = fast_dtype(args.device) if args.dtype == "auto" else args.dtype
    return load_pipeline(args.model, args.device, dtype)


def check_default_voice(model: str, others: str = "") -> None:
    """Refuse a model without default voice before its weights are loaded, where --speaker is not given.

    `others` are ways of a command to name one. What is no composed model passes: loading it says so.
    """
    from hf_lip2speech.errors import WrongKindError
    from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig

    with suppress(WrongKindError):
        config = Lip2SpeechWithVocoderConfig.from_pretrained(model)
        if config.default_voice is None:
            voices = f"one of its voices ({', '.join(config.voices)}) or " if config.voices else ""
            ways = f"{others}{voices}a recording, as in --speaker recording.wav"
            raise CommandError(f"The model has no default voice: give {ways}.")


def is_url(name: str) -> bool:
    """As media.sources has it, without its imports."""
    return re.match("https?://", name, re.IGNORECASE) is not None


def check_model(name: str) -> None:
    """Refuse a local path that holds no model; what may be a name on the Hub passes."""
    if os.path.isfile(name):
        convert = "A published checkpoint becomes such a folder with `hf-lip2speech convert`."
        raise CommandError(f"{name} is a file: name the folder or Hub repository of a model. {convert}")
    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, "config.json")):
        raise CommandError(f"{name} holds no config.json: it is not the folder of a model.")


def check_video(name: str) -> None:
    if not is_url(name) and not os.path.isfile(name):
        raise CommandError(f"{name!r} is not a file: give a video file or an http(s) URL.")


def check_folder(path: str, what: str) -> None:
    if not os.path.isdir(path):
        raise CommandError(f"{path} is not a folder: expected {what}.")


def check_new(path: str) -> None:
    if os.path.lexists(path):
        raise CommandError(f"{path} exists already: name a folder that does not, or remove it.")


def check_outputs(
    outputs: Sequence[Path], inputs: Iterable[str | None], *, new_folders: bool = False
) -> None:
    """Refuse output files that cannot be written, or that would overwrite an input or each other.

    Folders that are missing are refused, too, unless `new_folders` says that they will be made.
    """
    given = {_identity(name) for name in inputs if name is not None and os.path.isfile(name)}
    seen: set[Path] = set()
    writable: set[Path] = set()
    for output in outputs:
        if len(os.fsencode(output.name)) > LONGEST_NAME or "\0" in str(output):
            raise CommandError(f"{str(output)[:80]!r} is no name for a file: give a shorter one.")
        folder = output.parent
        while new_folders and not os.path.lexists(folder) and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir() and new_folders:
            raise CommandError(f"{folder} is not a folder: {output} cannot be made in it.")
        if not folder.is_dir():
            raise CommandError(f"The folder of {output} does not exist: make {output.parent} first.")
        try:
            if folder not in writable:
                tempfile.TemporaryFile(dir=folder).close()
                writable.add(folder)
        except OSError as error:
            reason = error.strerror or error
            raise CommandError(f"Nothing can be written to the folder of {output} ({reason}).") from error
        if output.is_dir():
            raise CommandError(f"{output} is a folder: give the name of a file in it.")
        if output.exists() and _identity(output) in given:
            raise CommandError(f"{output} is an input and would be overwritten: give another name.")
        if output.resolve() in seen:
            raise CommandError(f"{output} is named for two outputs: give each its own name.")
        seen.add(output.resolve())


def _identity(path: str | Path) -> tuple[int, int]:
    """The same for two names of one file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


# What arguments in Python are called on the command line, for messages of the package.
OWN_WORDS = {
    "cropped=True": "--cropped",
    "face=": "--face ",
    "the option face ": "--face ",
    "pitch_shift=": "--pitch-shift ",
    "return_text=True": "the text of the lips",
    "text= needs": "--text needs",
    "seed was given": "--seed was given",
    "pitch_shift is": "--pitch-shift is",
    "The speaker ": "--speaker ",
    "speaker='face'": "--speaker face",
    "A recording of the speaker or an embedding works as well.": "A recording of the speaker works as well.",
    "expected a start before its end, not": "expected a --start before its end, not",
}


def in_own_words(message: str) -> str:
    """A message of the package with options in place of Python's arguments."""
    for python, option in OWN_WORDS.items():
        message = message.replace(python, option)
    return message


def check_suffix(path: Path, suffixes: Sequence[str], what: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise CommandError(f"{what} must end in {' or '.join(suffixes)}, got {path.name!r}.")
