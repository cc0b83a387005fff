"""Read the lips of silent videos: print what is said.

One line of text for each video; with several, its name and a tab come first. The model must have a text head.
Of several videos, one that cannot be read does not stop the others; the exit status is then 1.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from .options import (
    TRANSCRIPTS,
    CommandError,
    add_device,
    add_face,
    add_model,
    add_vocabulary,
    check_model,
    check_outputs,
    check_suffix,
    in_own_words,
    load,
    read_vocabulary,
)
from .terminal import Bars, error_line, say
from .videos import Item, find_videos, refuse_nothing


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    videos = "video files, folders (with all videos below), patterns such as 'takes/*.mov', or http(s) URLs"
    add("videos", metavar="VIDEO", nargs="+", help=videos)
    add_model(parser)
    add_vocabulary(parser)
    transcript = f"also write the text and the words' times ({', '.join(TRANSCRIPTS)}); of one video"
    add("-o", "--output", metavar="OUT.srt", type=Path, help=transcript)
    add_face(parser, cropped=True)
    add_device(parser, dtype=True)


def run(args: argparse.Namespace) -> int:
    items, failures = _videos(args.videos)
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


def _videos(arguments: list[str]) -> tuple[list[Item], list[str]]:
    """Those of all arguments, and what is wrong with the rest; two of one name do not collide here."""
    found = [find_videos([argument], Path()) for argument in arguments]
    items = [item for videos, _ in found for item in videos]
    return list(dict.fromkeys(items)), [message for _, messages in found for message in messages]
