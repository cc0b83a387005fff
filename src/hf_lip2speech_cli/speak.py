"""Commands that read lips in videos: `speak` and `read`."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from hf_lip2speech_extras import require_installed

from .options import (
    BUNDLED,
    CommandError,
    add_device,
    add_face,
    add_model,
    check_default_voice,
    check_model,
    check_outputs,
    check_suffix,
    in_own_words,
    load,
    natural,
    positive,
)
from .terminal import Bars, error_line, say
from .videos import Item, Job, Speaking, find_videos, refuse_nothing, seconds

SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
MANIFEST = "manifest.jsonl"
OF_THE_ITEM = ""  # --video, --transcript and --plot without a name
NOTE = (
    'note: the bundled model knows only the 51 words of the GRID corpus ("bin red at g four please"): any '
    "other speech comes out as those words."
)
TRANSCRIPTS = (".srt", ".vtt", ".txt", ".json")


def speak_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    videos = (
        "video files, folders (with all videos below), patterns such as 'takes/*.mov', http(s) URLs, or the "
        "videos of a data set on the Hub, hf://datasets/USER/NAME"
    )
    add("videos", metavar="VIDEO", nargs="+", help=videos + "; any container, codec and frame rate")
    add_model(parser)
    where = parser.add_mutually_exclusive_group()
    sound = "sound file, .wav or .flac (default: VIDEO's name with .speech.wav, in this folder)"
    where.add_argument("-o", "--output", metavar="OUT.wav", type=Path, help=sound)
    folder = "folder for all files, made if it is missing (default: this folder)"
    where.add_argument("--output-dir", metavar="DIR", type=Path, default=Path(), help=folder)
    video = "also write the video with its speech (.mp4, .mov or .mkv; default: VIDEO.speech.mp4)"
    add("--video", dest="video_output", metavar="OUT.mp4", nargs="?", const=OF_THE_ITEM, help=video)
    transcript = (
        f"also write what is said ({', '.join(TRANSCRIPTS)}; default: VIDEO.speech.srt), and put it into the "
        "video of --video as subtitles; needs a model with a text head"
    )
    add("--transcript", metavar="OUT.srt", nargs="?", const=OF_THE_ITEM, help=transcript)
    add_vocabulary(parser)
    text = "what is to be said, with the timing of the lips; needs a model that takes texts"
    add("--text", metavar="WORDS", help=text)
    picture = "also write a picture of mouth frames, mel spectrogram and units (.png, .pdf or .svg)"
    add("--plot", metavar="OUT.png", nargs="?", const=OF_THE_ITEM, help=picture)
    add("--start", metavar="TIME", type=seconds, help="begin there: seconds, m:ss or h:mm:ss (default: 0)")
    add("--end", metavar="TIME", type=seconds, help="stop there (default: the end of the video)")
    voice = (
        "a voice of the model, a recording, or face: predicted from the face, by a model that was trained "
        "for it (default: the model's default voice)"
    )
    add("--speaker", metavar="VOICE", help=voice)
    pitch = "semitones by which the voice is raised, such as -3 (default: 0)"
    add("--pitch-shift", type=float, metavar="SEMITONES", help=pitch)
    seed = "of the noise of a model with a mel flow; another one gives another sample (default: 0)"
    add("--seed", type=natural, metavar="N", help=seed)
    rate = "samples per second of the files (default: the model's, 16000)"
    add("--sample-rate", type=int, choices=SAMPLE_RATES, metavar="HZ", help=rate)
    add_face(parser, cropped=True)
    numbered = "also write a picture of the faces with their numbers (.png, .pdf or .svg)"
    add("--faces-picture", metavar="OUT.png", nargs="?", const=OF_THE_ITEM, help=numbered)
    engines = "this process, or the CPUs of a running Ray cluster (default: local)"
    add("--engine", choices=("local", "ray"), default="local", help=engines)
    add("--resume", action="store_true", help="leave out videos whose files are all there")
    add("--batch-size", type=positive, default=1, metavar="N", help="videos spoken at once (default: 1)")
    add_device(parser, dtype=True)


def speak(args: argparse.Namespace) -> int:
    """Turn silent videos of a face into speech.

    Writes a sound file for each video, VIDEO.speech.wav; --video, --transcript and --plot also write the
    video with its speech, what is said as text or subtitles, and a picture of what the model saw and said. Of
    several videos, one that cannot be spoken does not stop the others; the exit status is then 1.
    """
    jobs, failures = _jobs(args)
    if args.vocabulary is not None and args.transcript is None:
        raise CommandError("--vocabulary is about the text: give --transcript with it.")
    if args.vocabulary is not None and args.text is not None:
        raise CommandError("--text says what is said: leave --vocabulary out.")
    if args.vocabulary is not None:
        args.vocabulary = read_vocabulary(args.vocabulary)
    check_model(args.model)
    for message in failures:
        error_line(message)

    if args.plot is not None or args.faces_picture is not None:
        require_installed("matplotlib")
    if args.engine == "ray":
        require_installed("ray")
    done = [job for job in jobs if args.resume and all(path.exists() for path in job.outputs)]
    results: dict[Job, str | None] = dict.fromkeys(done)
    waiting = [job for job in jobs if job not in results]
    if done:
        say(f"{len(done)} of {len(jobs)} videos are spoken already", file=sys.stderr)
    if waiting:
        results |= _speak(waiting, args)
    if args.output_dir != Path() and len(jobs) > 1:
        _write_manifest(args.output_dir / MANIFEST, {job: results[job] for job in jobs})
    return int(bool(failures) or any(results.values()))


def _speak(jobs: list[Job], args: argparse.Namespace) -> dict[Job, str | None]:
    """Speak them, and say of each what was written, or what kept it from being spoken, which is returned."""
    say(f"loading {args.model}", file=sys.stderr)
    if args.model == BUNDLED:
        say(NOTE, file=sys.stderr)
    if args.speaker is None:
        check_default_voice(args.model)
    batches = [jobs[first : first + args.batch_size] for first in range(0, len(jobs), args.batch_size)]
    results: dict[Job, str | None] = {}
    with Bars(len(jobs)) as bars, _pool(args, bars.stage) as speak:
        for job, problem in chain.from_iterable(speak(batches)):
            bars.video_done()
            results[job] = problem
            if problem is None:
                say("\n".join(map(str, job.outputs)))
            else:
                error_line(problem)
    return results


@contextmanager
def _pool(args: argparse.Namespace, progress: Callable) -> Generator[Callable]:
    """What speaks batches of jobs: this process, or those of a Ray cluster."""
    if args.engine == "local":
        yield partial(map, Speaking(args, progress=progress).speak)
        return

    from hf_lip2speech.data.workers import ray_pool

    with ray_pool(partial(Speaking, args, os.getcwd()), os.cpu_count() or 1, "speaking") as run_calls:

        def speak(batches: Iterable[list[Job]]) -> Iterator[list[tuple[Job, str | None]]]:
            for found, said in run_calls("speak_elsewhere", zip(batches)):
                for message in said:
                    warnings.warn(message, stacklevel=1)
                yield found

        yield speak


def _write_manifest(path: Path, results: dict[Job, str | None]) -> None:
    """One JSON line per video: "video", its "files", and the "error" that kept it from being spoken."""
    from hf_lip2speech.files import write_text

    lines = [
        {"video": job.item.source, "files": [] if error else list(map(str, job.outputs)), "error": error}
        for job, error in results.items()
    ]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _jobs(args: argparse.Namespace) -> tuple[list[Job], list[str]]:
    """The checked work, and what is wrong with arguments beside others that can be spoken."""
    items, failures = find_videos(args.videos, args.output_dir)
    single = len(args.videos) == 1 and len(items) == 1
    refuse_nothing(items, failures)
    if args.end is not None and args.end <= (args.start or 0.0):
        raise CommandError(f"--end {args.end:g} is not after --start {args.start or 0.0:g}.")
    if args.cropped and (args.faces_picture is not None or args.face != "talking"):
        raise CommandError("A --cropped video shows no faces: leave --face and --faces-picture out.")
    of_one = {"-o": args.output, "--video": args.video_output}
    of_one |= {"--transcript": args.transcript, "--plot": args.plot, "--faces-picture": args.faces_picture}
    for option, given in of_one.items():
        if given and not single:
            raise CommandError(
                f"{option} {given} names one file, but there are several videos: leave the name out"
                + (" and give --output-dir." if option == "-o" else ".")
            )

    def named(given: str | None, item: Item, suffix: str) -> Path | None:
        return None if given is None else Path(given) if given else item.made(suffix)

    jobs = [
        Job(
            item,
            args.output or item.made(".wav"),
            named(args.video_output, item, ".mp4"),
            named(args.transcript, item, ".srt"),
            named(args.plot, item, ".png"),
            named(args.faces_picture, item, ".faces.png"),
        )
        for item in items
    ]
    check_outputs(
        [path for job in jobs for path in job.outputs],
        inputs=[*(item.source for item in items), args.speaker, args.vocabulary],
        new_folders=True,
    )
    for job in jobs:
        check_suffix(job.sound, (".wav", ".flac"), "The sound file")
        if job.video is not None:
            check_suffix(job.video, (".mp4", ".mov", ".mkv"), "The video with its speech")
        if job.transcript is not None:
            check_suffix(job.transcript, TRANSCRIPTS, "The transcript")
        for picture in (job.picture, job.faces):
            if picture is not None:
                check_suffix(picture, (".png", ".pdf", ".svg"), "The picture")
    return jobs, failures


def read_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    videos = "video files, folders (with all videos below), patterns such as 'takes/*.mov', or http(s) URLs"
    add("videos", metavar="VIDEO", nargs="+", help=videos)
    add_model(parser)
    add_vocabulary(parser)
    transcript = f"also write the text and the words' times ({', '.join(TRANSCRIPTS)}); of one video"
    add("-o", "--output", metavar="OUT.srt", type=Path, help=transcript)
    add_face(parser, cropped=True)
    add_device(parser, dtype=True)


def read(args: argparse.Namespace) -> int:
    """Read the lips of silent videos: print what is said.

    One line of text for each video; with several, its name and a tab come first. The model must have a text
    head. Of several videos, one that cannot be read does not stop the others; the exit status is then 1.
    """
    items, failures = _read_videos(args.videos)
    single = len(items) + len(failures) == 1
    refuse_nothing(items, failures)
    if args.output is not None:
        if not single:
            raise CommandError(f"{args.output} holds the text of one video: name one, or leave -o out.")
        check_outputs([args.output], inputs=[*(item.source for item in items), args.vocabulary])
        check_suffix(args.output, TRANSCRIPTS, "The transcript")
    if args.cropped and args.face != "talking":
        raise CommandError("A --cropped video shows no faces: leave --face out.")
    options: dict[str, Any] = {"cropped": args.cropped, "face": args.face}
    options |= {"return_text": True, "return_audio": False}
    if args.vocabulary is not None:
        options["vocabulary"] = read_vocabulary(args.vocabulary)
    check_model(args.model)
    for message in failures:
        error_line(message)

    from hf_lip2speech.errors import Lip2SpeechError
    from hf_lip2speech.media.transcripts import write_transcript
    from hf_lip2speech.pipeline_text import check_reads_text

    say(f"loading {args.model}", file=sys.stderr)
    read = load(args)
    check_reads_text(read.model.config.lip2speech, "read")
    failed = len(failures)
    with Bars(len(items)) as bars:
        for item in items:
            try:
                said = read(item.source, progress=bars.stage, **options)
            except Lip2SpeechError as error:
                if single or args.debug:
                    raise
                failed += 1
                error_line(in_own_words(str(error)))
                continue
            finally:
                bars.video_done()
            say(said["text"] if single else f"{item.source}\t{said['text']}")
            if args.output is not None:
                write_transcript(args.output, said)
    return int(failed > 0)


def _read_videos(arguments: list[str]) -> tuple[list[Item], list[str]]:
    """Those of all arguments, and what is wrong with the rest; two of one name do not collide here."""
    found = [find_videos([argument], Path()) for argument in arguments]
    items = [item for videos, _ in found for item in videos]
    return list(dict.fromkeys(items)), [message for _, messages in found for message in messages]


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    words = (
        "the words that may be said, one on each line; or, for sentences of one form, for each place in the "
        "sentence a line with its words; or 'any' (default: the words that the model knows, else any)"
    )
    parser.add_argument("--vocabulary", metavar="WORDS.txt|any", help=words)


def read_vocabulary(path: str) -> list[str] | list[list[str]] | str:
    """The words of a file with one on each line; lists of words, where a line has several. `any` stays."""
    if path == "any":
        return path
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise CommandError(f"{path!r} cannot be read as a list of words: {reason}.") from error
    lines = [words for words in map(str.split, text.splitlines()) if words]
    if not lines:
        raise CommandError(f"{path!r} has no words: write one on each line.")
    return lines if any(len(words) > 1 for words in lines) else [word for words in lines for word in words]
