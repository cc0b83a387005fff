"""Commands for a model of one's own speaker: `record`, `personalise`."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hf_lip2speech_extras import require_needed

from .options import CommandError, check_folder, positive
from .terminal import Bars, print_results, say
from .videos import SUFFIXES

INTERRUPTED = 130  # the exit code of a training that Ctrl-C stopped, after its checkpoint


def record_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", metavar="PROMPTS.txt", help="text file with what to say, a line each")
    add("videos", metavar="MY_VIDEOS", help="folder to write, made if missing; its name is the speaker's")
    add("--port", type=positive, help="port to listen on (default: the first free one from 7860)")


def record(args: argparse.Namespace) -> int:
    """Film yourself for `personalise`, prompt by prompt, on a page of this machine.

    Each take is checked at once (face, light, sound), and may be repeated. Videos and transcripts that were
    kept are in MY_VIDEOS; the same command resumes at the first prompt without a video. Stop it with Ctrl-C.
    """
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


def personalise_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    videos = "folder of talking-face videos; a .txt file beside a video is its transcript"
    add("videos", metavar="MY_VIDEOS", help=videos)
    add("model", metavar="MODEL", help="folder to write; one that this command began is gone on with")
    add("--dry-run", action="store_true", help="write nothing; estimate the time")
    updates = "updates of the lip reader, three tenths of it of the vocoder (default: 2000)"
    add("--max-steps", type=positive, metavar="N", help=updates)
    add("--num-proc", type=positive, metavar="N", help="processes that prepare (default: one per CPU)")
    recogniser = (
        "for the word error rate, as in evaluate (default: grid if all sentences are GRID's, else none)"
    )
    add("--recogniser", metavar="NAME", help=recogniser)
    voice = (
        "for silent videos with transcripts: learn the speech from this voice (awb, kal, rms: men; slt: a "
        "woman), which reads them at the lips' pace"
    )
    add("--synthetic-voice", choices=("awb", "kal", "rms", "slt"), metavar="NAME", help=voice)


def personalise(args: argparse.Namespace) -> int:
    """Make a model of your own speaker from a folder of videos with sound, or of silent ones with
    transcripts.

    Prepares the videos, fine-tunes lip reader and vocoder from the bundled model, composes and evaluates. An
    interrupted run resumes. Training data, logs and the report page are in MODEL.work.
    """
    check_folder(args.videos, "your videos")
    videos, model = Path(args.videos).resolve(), Path(args.model).resolve()
    if not any(path.suffix.lower() in SUFFIXES for path in videos.rglob("*")):
        raise CommandError(f"{args.videos} holds no video: expected files ending in {', '.join(SUFFIXES)}.")
    if model.is_relative_to(videos):
        raise CommandError(f"{args.model} is inside {args.videos}: name a folder beside the videos.")
    work = model.with_name(f"{model.name}.work")
    for path in () if (work / "personalise.json").is_file() else (model, work):
        if os.path.lexists(path):
            raise CommandError(
                f"{path} exists already, and this command did not make it: name another model, or remove it."
            )
    require_needed("personalise")

    from hf_lip2speech.personalise import STAGES, Personalisation

    options = {"updates": args.max_steps, "num_proc": args.num_proc, "recogniser": args.recogniser}
    options["synthetic_voice"] = args.synthetic_voice
    job = Personalisation(args.videos, args.model, **options)
    if job.begun and not args.dry_run:
        say(f"Going on with {job.model} from {job.work}.", file=sys.stderr)
    else:
        say("Estimating how long it will take ...", file=sys.stderr)
        _print_estimate(job.estimate())
    if args.dry_run:
        return 0
    with Bars(1) as bars:
        label = ""

        def stage(number: int, text: str) -> None:
            nonlocal label
            bars.close()
            label = f"[{number}/{len(STAGES)}] {STAGES[number - 1]}"
            say(f"{label}: {text}", file=sys.stderr)

        def update(done: int, total: int) -> None:
            bars.stage(f"{label}, updates", done, total)

        try:
            results = job.run(stage, update, command=args.command_line)
        except SystemExit as stop:
            if stop.code != INTERRUPTED:
                raise
            raise KeyboardInterrupt from None

    print_results(results)
    say(f"Model:  {job.model}", file=sys.stderr)
    say(f"Report: {job.report}", file=sys.stderr)
    say(f"Speak:  hf-lip2speech speak VIDEO --model {job.model}", file=sys.stderr)
    return 0


def _print_estimate(cost: dict[str, Any]) -> None:
    (lip_updates, lip_pace), (updates, pace) = cost["lip_reader"], cost["vocoder"]
    print(
        f"About {_duration(cost['minutes_in_all'])} on this {cost['device']}, for {cost['clips']} videos of "
        f"{cost['minutes']:.1f} minutes:\n"
        f"  prepare     {_duration(cost['prepare_minutes'])}, from {cost['sample']} videos\n"
        f"  lip reader  {_duration(lip_updates * lip_pace / 60)}: {lip_updates} updates of {lip_pace:.2f} s\n"
        f"  vocoder     {_duration(updates * pace / 60)}: {updates} updates of {pace:.2f} s\n"
        "Timed just now, two updates of each kind; validation and the evaluation come on top.",
        file=sys.stderr,
    )


def _duration(minutes: float) -> str:
    return f"{minutes / 60:.1f} hours" if minutes >= 100 else f"{minutes:.1f} minutes"
