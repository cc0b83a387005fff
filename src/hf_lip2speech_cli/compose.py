"""Compose one model that speaks from a lip-to-speech model and a vocoder.

Preprocessing, unit extractor and voices come from the models' folders, where a training saved them, or from
prepared folders. `speak` and the pipeline load the result.
"""

import argparse
import os
import sys

from hf_lip2speech_extras import require_installed

from .options import CommandError, check_model, check_new


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("lip2speech", metavar="LIP2SPEECH", help="folder or Hub name of a lip-to-speech model, or bundled")
    add("vocoder", metavar="VOCODER", help="folder or Hub name of a vocoder, or bundled")
    add("out", metavar="OUT", help="folder to write; it must not exist")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--voices",
        metavar="PREPARED",
        nargs="+",
        help="prepared folders: each of their speakers becomes a voice; where the models have no unit "
        "extractor beside them, the first folder's is copied (default: the voices beside the models)",
    )
    units = "a prepared folder whose unit extractor is copied, without voices (for thousands of speakers)"
    source.add_argument("--units", metavar="PREPARED", help=units)
    add("--rename", metavar="SPEAKER=NAME", nargs="+", help="rename a speaker's voice")
    add("--default-voice", metavar="NAME", help="voice to use when none is given (default: the first)")
    flow = "folder or Hub name of a mel flow that was trained on LIP2SPEECH's predictions (default: without)"
    add("--mel-flow", metavar="FLOW", help=flow)
    add("--float16", action="store_true", help="store the weights in half the size; computed in float32")


def run(args: argparse.Namespace) -> int:
    if args.units and (args.rename or args.default_voice):
        raise CommandError(
            "--units brings no voices: leave out --rename and --default-voice, or give --voices in its place."
        )
    if args.rename and not args.voices:
        raise CommandError("--rename renames speakers of prepared folders: give these with --voices.")
    for folder in args.voices or ([args.units] if args.units else []):
        if not os.path.isdir(os.path.join(folder, "unit_extractor")):
            raise CommandError(
                f"{folder} has no unit_extractor: give a folder that `hf-lip2speech prepare` wrote."
            )
    check_new(args.out)
    check_model(args.lip2speech)
    check_model(args.vocoder)
    if args.mel_flow is not None:
        check_model(args.mel_flow)

    if args.voices:
        require_installed("pyarrow")

    from hf_lip2speech.composite import common_unit_extractor, compose, named_voices

    units = args.units
    if args.voices and common_unit_extractor([args.lip2speech, args.vocoder]) is None:
        units = args.voices[0]
    model = compose(
        args.lip2speech,
        args.vocoder,
        args.out,
        voices=named_voices(args.voices or [], args.rename or []) if args.voices or units else None,
        default_voice=args.default_voice,
        units=units,
        mel_flow=args.mel_flow,
        float16=args.float16,
    )
    said = f"voices {', '.join(model.voices)}; default {model.config.default_voice}"
    voiceless = "no voices; speak with --speaker recording.wav"
    print(f"{args.out}: {said if model.voices else voiceless}", file=sys.stderr)
    return 0
