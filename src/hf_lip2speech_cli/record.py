"""Film yourself for `personalise`, prompt by prompt, on a page of this machine.

Each take is checked at once (face, light, sound), and may be repeated. Videos and transcripts that were kept
are in MY_VIDEOS; the same command resumes at the first prompt without a video. Stop it with Ctrl-C.
"""

import argparse
import os
import signal

from hf_lip2speech_extras import require_needed

from .options import CommandError, positive


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", metavar="PROMPTS.txt", help="text file with what to say, a line each")
    add("videos", metavar="MY_VIDEOS", help="folder to write, made if missing; its name is the speaker's")
    add("--port", type=positive, help="port to listen on (default: the first free one from 7860)")


def run(args: argparse.Namespace) -> int:
    if not os.path.isfile(args.prompts):
        raise CommandError(
            f"{args.prompts} is not a file; expected a text file with what to say, a line each."
        )
    if os.path.exists(args.videos) and not os.path.isdir(args.videos):
        raise CommandError(f"{args.videos} is not a folder; expected the one for the videos.")
    require_needed("record")

    from hf_lip2speech.recording import record

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    record(args.prompts, args.videos, port=args.port)
    return 0
