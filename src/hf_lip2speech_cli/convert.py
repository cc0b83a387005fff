"""Convert a published checkpoint into a folder that from_pretrained loads.

Reads multi-target models, multi-target models on AV-HuBERT, vocoders with their config.json beside them, and
AV-HuBERT's pre-training. Nothing in the file is run.
"""

import argparse
import os
import sys
from typing import Any

from hf_lip2speech_extras import require_installed

from .options import check_model, check_new


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        f"{parser.prog} SRC DST\n"
        f"       {parser.prog} --composite L2S VOCODER DST [--voices PREPARED ...] [--default-voice NAME]\n"
        f"       {parser.prog} --to-published SRC DST"
    )
    add = parser.add_argument
    paths = "what to read, then the folder to write, which must not exist"
    add("paths", metavar="PATH", nargs="+", help=paths)
    direction = parser.add_mutually_exclusive_group()
    composite = "join a lip-to-speech model and a vocoder (published files or folders) for the pipeline"
    direction.add_argument("--composite", action="store_true", help=composite)
    published = "the other direction: write the vocoder of a folder as the published code reads it"
    direction.add_argument("--to-published", action="store_true", help=published)
    voices = "with --composite: prepared folders, each of whose speakers becomes a voice"
    add("--voices", metavar="PREPARED", nargs="+", help=voices)
    add("--default-voice", metavar="NAME", help="voice to use when none is given (default: the first)")


def run(args: argparse.Namespace) -> int:
    *sources, destination = args.paths
    names = ["L2S", "VOCODER", "DST"] if args.composite else ["SRC", "DST"]
    if (count := len(args.paths)) != len(names):
        given = f"got {count}: {' '.join(args.paths)}"
        args.usage_error(f"expected {len(names)} paths, {' '.join(names)}; {given}")
    if not args.composite and (args.voices or args.default_voice):
        args.usage_error("--voices and --default-voice belong to --composite")
    check_new(destination)
    for source in sources:
        if not os.path.isfile(source):
            check_model(source)

    if args.voices:
        require_installed("pyarrow")

    from hf_lip2speech.composite import named_voices
    from hf_lip2speech.conversion.convert import convert, convert_composite, to_published

    if args.to_published:
        print(to_published(*sources, destination))
        return 0
    if args.composite:
        voices = named_voices(args.voices or [])
        conversions = convert_composite(*sources, destination, voices, args.default_voice)
        if not voices:
            advice = "Pass `--speaker recording.wav` when speaking, or add voices with `--voices PREPARED`."
            print(f"This model has no built-in voice. {advice}", file=sys.stderr)
    else:
        conversions = [convert(*sources, destination)]
    for conversion in conversions:
        if conversion.file is not None:
            _report(conversion)
    print(destination)
    return 0


def _report(conversion: Any) -> None:
    from hf_lip2speech.conversion.published import Kind

    file, dropped = conversion.file, conversion.dropped
    used = len(file.tensors) - len(dropped)
    print(f"{file.path}: {file.kind.value}, {used} of {len(file.tensors)} tensors used", file=sys.stderr)
    for name in dropped:
        print(f"  dropped, only pre-training needs it: {name}", file=sys.stderr)
    stated = {*(file.settings or {})}
    if file.kind is Kind.VOCODER and not {"upsample_rates", "resblock_dilation_sizes"} <= stated:
        absent = "there is no config.json beside it with its upsampling rates and dilations"
        print(f"  {absent}: HiFi-GAN's convention is assumed (half the kernel; 1, 3, 5)", file=sys.stderr)
