"""Compose one model that speaks from a lip-to-speech model and a vocoder.

The unit extractor of a prepared folder is copied into it, and with --voices each of the folder's speakers
becomes a voice. `speak` and the pipeline load the result.
"""

import argparse
import os
import sys

from .options import CommandError, check_model, check_new


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "lip2speech",
        metavar="LIP2SPEECH",
        help="folder or Hub repository of the lip-to-speech model, or bundled",
    )
    add("vocoder", metavar="VOCODER", help="folder or Hub repository of the vocoder, or bundled")
    add("out", metavar="OUT", help="folder to write; it must not exist")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--voices",
        metavar="PREPARED",
        nargs="+",
        help="prepared folders: each of their speakers becomes a voice; the first one's unit extractor is "
        "copied",
    )
    source.add_argument(
        "--units",
        metavar="PREPARED",
        help="a prepared folder whose unit extractor is copied, without voices: for corpora of thousands of "
        "speakers",
    )
    add("--rename", metavar="SPEAKER=NAME", nargs="+", help="rename a speaker's voice")
    add("--default-voice", metavar="NAME", help="voice to use when none is given (default: the first)")
    add("--float16", action="store_true", help="store the weights in half the size; computed in float32")


def run(args: argparse.Namespace) -> int:
    if args.units and (args.rename or args.default_voice):
        raise CommandError(
            "--units brings no voices: leave out --rename and --default-voice, or give --voices in its place."
        )
    units = args.units or args.voices[0]
    for folder in args.voices or [units]:
        if not os.path.isdir(os.path.join(folder, "unit_extractor")):
            raise CommandError(
                f"{folder} has no unit_extractor: give a folder that `hf-lip2speech prepare` wrote."
            )
    check_new(args.out)
    check_model(args.lip2speech)
    check_model(args.vocoder)

    import shutil

    from hf_lip2speech.data.layout import UNIT_EXTRACTOR
    from hf_lip2speech.files import new_folder
    from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
    from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

    from .composing import joined, named_voices, save

    with new_folder(args.out) as folder:
        model = joined(
            Lip2SpeechModel.from_pretrained(args.lip2speech),
            UnitVocoderModel.from_pretrained(args.vocoder),
            named_voices(args.voices or [], args.rename or []),
            args.default_voice,
        )
        save(model, folder, float16=args.float16)
        shutil.copytree(os.path.join(units, UNIT_EXTRACTOR), folder / UNIT_EXTRACTOR)
    voices = model.config.voices
    said = f"voices {', '.join(voices)}; default {model.config.default_voice}"
    print(
        f"{args.out}: {said if voices else 'no voices; speak with --speaker recording.wav'}", file=sys.stderr
    )
    return 0
