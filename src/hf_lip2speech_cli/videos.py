"""The videos that `speak` is given, and the files that it makes of each."""

import argparse
import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from .options import CommandError, is_url
from .terminal import error_line

# as data.corpora has it, without its imports
SUFFIXES = (".mp4", ".mpg", ".mpeg", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ogv", ".mts", ".3gp")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".heic")
HUB = "hf://datasets/"
MADE = ".speech"  # ends the stem of every file that is made, so that none is taken for a recording


@dataclass(frozen=True)
class Item:
    """One video of the command.

    Attributes:
        source: path or URL.
        stem: what its files are called, with folders, without suffix.
    """

    source: str
    stem: Path

    @property
    def name(self) -> str:
        return Path(self.source).name

    def made(self, suffix: str) -> Path:
        """The file that is made of it unless another name is given."""
        return self.stem.with_name(self.stem.name + MADE + suffix)


def refuse_nothing(items: Sequence[Item], failures: Sequence[str]) -> None:
    """End where no argument has a video, and say of each why."""
    if not items:
        *others, last = failures
        for message in others:
            error_line(message)
        raise CommandError(last)


def find_videos(arguments: Sequence[str], folder: Path) -> tuple[list[Item], list[str]]:
    """Files, URLs, folders (with those below) and patterns -> their videos, and what is wrong with the rest.

    Args:
        arguments: of the command line.
        folder: for the files that are made; those of a folder's videos keep their folders below it.

    Raises:
        CommandError: two videos would be spoken into the same file.
    """
    items, failures = [], []
    for argument in arguments:
        found = _videos(argument)
        items += [Item(source, folder / stem) for source, stem in found]
        if not found:
            failures.append(_nothing(argument))
    stems: dict[str, str] = {}
    for item in items:
        other = stems.setdefault(str(item.stem), item.source)
        if other != item.source:
            raise CommandError(
                f"{other} and {item.source} would both be spoken into {item.made('.wav')}: speak them in two "
                "calls, each with its own --output-dir."
            )
    return list(dict.fromkeys(items)), failures


def _videos(argument: str) -> list[tuple[str, Path]]:
    if argument.startswith(HUB):
        argument = _downloaded(argument.removeprefix(HUB))
    if is_url(argument):
        try:
            name = PurePosixPath(unquote(urlsplit(argument).path)).stem
        except ValueError as error:  # an unclosed bracket, say
            raise CommandError(f"{argument!r} is not a URL: {error}.") from error
        return [(argument, Path(name or "speech"))]
    if os.path.isdir(argument):
        below = [path.relative_to(argument) for path in sorted(Path(argument).rglob("*")) if path.is_file()]
        visible = [path for path in below if not any(part.startswith(".") for part in path.parts)]
        videos = [
            path for path in visible if path.suffix.lower() in SUFFIXES and not path.stem.endswith(MADE)
        ]
        return [(str(Path(argument, path)), path.with_suffix("")) for path in videos]
    names = [argument] if os.path.isfile(argument) else sorted(glob.glob(argument, recursive=True))
    videos = [name for name in names if os.path.isfile(name) and not name.lower().endswith(PICTURES)]
    return [(name, Path(Path(name).stem)) for name in videos]


def _downloaded(name: str) -> str:
    """The local folder with the videos of a data set on the Hub."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(name, repo_type="dataset", allow_patterns=[f"*{end}" for end in SUFFIXES])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise CommandError(f"{HUB}{name} cannot be downloaded: {str(error).splitlines()[0]}") from error


def _nothing(argument: str) -> str:
    if os.path.isdir(argument):
        return f"{argument} holds no video: expected files ending in {', '.join(SUFFIXES)}."
    if os.path.isfile(argument):
        return f"{argument} is a still picture: expected a video of a talking face."
    if glob.has_magic(argument):
        return f"{argument!r} matches no video: expected video files."
    return f"{argument!r} is not a file: give a video file, a folder or an http(s) URL."


def seconds(text: str) -> float:
    """ "90", "1:30" or "0:01:30.5" as seconds, for argparse."""
    if not re.fullmatch(r"(\d+:)?(\d+:)?\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"expected seconds or h:mm:ss, such as 90 or 1:30.5, got {text!r}")
    total = 0.0
    for number in text.split(":"):
        total = 60 * total + float(number)
    return total
