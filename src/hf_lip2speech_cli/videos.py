"""The videos that `speak` and `read` are given, and what `speak` does with each."""

import argparse
import glob
import os
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from .options import CommandError, in_own_words, is_url, load
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


@dataclass(frozen=True)
class Job:
    """A video and the files that are made of it."""

    item: Item
    sound: Path
    video: Path | None
    transcript: Path | None
    picture: Path | None
    faces: Path | None

    @property
    def outputs(self) -> list[Path]:
        made = (self.sound, self.video, self.transcript, self.picture, self.faces)
        return [path for path in made if path is not None]


class Speaking:
    """The pipeline of a process, with what it is called with for every video.

    Args:
        args: Those of the command.
        folder: The working directory, which another machine's process does not share.
        progress: Of the pipeline.
    """

    def __init__(self, args: argparse.Namespace, folder: str | None = None, progress: Callable | None = None):

        if folder is not None:
            os.chdir(folder)
        self.args = args
        self.pipeline = load(args)
        self.options = self._options() | {"progress": progress}

    def _options(self) -> dict[str, Any]:
        args, speak = self.args, self.pipeline
        options: dict[str, Any] = {
            "cropped": args.cropped,
            "face": args.face,
            "start": args.start or 0.0,
            "end": args.end,
        }
        options["on_error"] = "raise" if args.debug else "return"
        if args.speaker is not None:
            options["speaker"] = speak.resolve_speaker(args.speaker)  # once
        if args.pitch_shift is not None:
            options["pitch_shift"] = args.pitch_shift
        if args.seed is not None:
            options["seed"] = args.seed
        pictured = ("return_mouth", "return_spectrogram", "return_units")
        if args.text is not None:
            options["text"] = args.text
        reads = speak.model.config.lip2speech.text_vocabulary is not None
        if args.transcript is not None or (args.plot is not None and reads):
            options["return_text"] = True
        if args.vocabulary is not None:
            options["vocabulary"] = args.vocabulary
        return options | dict.fromkeys(pictured, args.plot is not None)

    def speak(self, jobs: Sequence[Job]) -> list[tuple[Job, str | None]]:
        """Speak a batch and write its files; each job with what kept it from being spoken."""
        from hf_lip2speech.errors import Lip2SpeechError
        from hf_lip2speech.media.sources import local_source
        from hf_lip2speech.media.video import open_video
        from hf_lip2speech.plotting import plot_faces

        found = []
        with ExitStack() as downloads:
            sources: list[Any] = []
            for job in jobs:
                try:  # a URL is downloaded once, for the speech and for the video
                    source = downloads.enter_context(local_source(job.item.source))
                    if job.faces is not None:
                        start, end = self.args.start or 0.0, self.args.end
                        with open_video(source, start=start, end=end) as video:
                            plot_faces(job.faces, video, name=video.name)
                    sources.append(source)
                except Lip2SpeechError as error:
                    sources.append(error)
            good = [source for source in sources if not isinstance(source, Lip2SpeechError)]
            results = iter(self.pipeline(good, batch_size=len(jobs), **self.options))
            for job, source in zip(jobs, sources, strict=True):
                problem = source if isinstance(source, Lip2SpeechError) else None
                speech = None if problem else next(results)
                try:
                    if isinstance(speech, Lip2SpeechError):
                        problem = speech
                    elif speech is not None:
                        _write(job, source, speech, self.args)
                except Lip2SpeechError as error:
                    problem = error
                found.append((job, None if problem is None else in_own_words(str(problem))))
        return found

    def speak_elsewhere(self, jobs: Sequence[Job]) -> tuple[list[tuple[Job, str | None]], list[str]]:
        """`speak` in a process whose terminal nobody reads: with the warnings that it gave."""
        with warnings.catch_warnings(record=True) as caught:
            return self.speak(jobs), [str(warning.message) for warning in caught]


def _write(job: Job, source: Any, speech: dict[str, Any], args: argparse.Namespace) -> None:
    import soxr

    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.media.mux import mux_speech
    from hf_lip2speech.media.transcripts import subtitle_cues, write_transcript
    from hf_lip2speech.plotting import plot_speech

    audio, rate = speech["audio"], speech["sampling_rate"]
    if args.sample_rate is not None:
        audio, rate = soxr.resample(audio, rate, args.sample_rate), args.sample_rate
    write_audio(job.sound, audio, rate)
    if job.video is not None:
        cues = () if job.transcript is None else subtitle_cues(speech["words"])
        mux_speech(source, audio, job.video, rate, args.start or 0.0, args.end, cues)
    if job.transcript is not None:
        write_transcript(job.transcript, {name: speech[name] for name in ("text", "words", "confidence")})
    if job.picture is not None:
        mouth, spectrogram, units = (speech[name] for name in ("mouth", "spectrogram", "unit_ids"))
        words = speech.get("words", ())  # of a model that reads text
        plot_speech(job.picture, mouth, spectrogram, units, title=job.item.name, words=words)
