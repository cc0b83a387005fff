"""Commands about models as folders and on pages: `compose`, `convert`, `export`, `publish`, `demo`."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hf_lip2speech_extras import require_installed, require_needed

from .options import (
    BUNDLED,
    CommandError,
    add_model,
    check_folder,
    check_model,
    check_new,
    check_video,
    positive,
)


def compose_options(parser: argparse.ArgumentParser) -> None:
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


def compose(args: argparse.Namespace) -> int:
    """Compose one model that speaks from a lip-to-speech model and a vocoder.

    Preprocessing, unit extractor and voices come from the models' folders, where a training saved them, or
    from prepared folders. `speak` and the pipeline load the result.
    """
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


def convert_options(parser: argparse.ArgumentParser) -> None:
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


def convert(args: argparse.Namespace) -> int:
    """Convert a published checkpoint into a folder that from_pretrained loads.

    Reads multi-target models, multi-target models on AV-HuBERT, vocoders with their config.json beside them,
    and AV-HuBERT's pre-training. Nothing in the file is run.
    """
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


def export_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder or Hub name of a composed model, or bundled")
    add("out", metavar="DIR", help="folder to write; it must not exist")
    int8 = "also write the lip reader with matrix products in 8 bits"
    add("--int8", action="store_true", help=int8)


def export(args: argparse.Namespace) -> int:
    """Export a model as ONNX files, which run without torch and transformers.

    DIR gets the lip reader, the vocoder, the preprocessing's numbers, the voices and a README.md with names
    and shapes. Every file is run once and compared with torch.
    """
    check_new(args.out)
    check_model(args.model)
    require_needed("export")

    from hf_lip2speech.export import export_onnx

    for name, difference in export_onnx(args.model, args.out, int8=args.int8).items():
        path = os.path.join(args.out, name)
        print(f"{path}: differs from torch by at most {difference:.0e}", file=sys.stderr)
    print(args.out)
    return 0


def publish_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    checkpoint = "folder of a model or of a part, as compose, convert and the trainings write it, or bundled"
    add("checkpoint", metavar="CHECKPOINT", help=checkpoint)
    add("repo_id", metavar="user/name", help="repository; created if it does not exist")
    add("--private", action="store_true", help="make the repository visible to you only")
    facts = "facts for the card: title, license, ... (default: CHECKPOINT/card.yaml, else its README.md)"
    add("--facts", metavar="FILE.yaml", help=facts)
    evaluation = "folder that evaluate wrote (default: CHECKPOINT/results.json, if it exists)"
    add("--evaluation", metavar="DIR", help=evaluation)
    add(
        "--sample",
        metavar="VIDEO",
        help="video of a face for the sample, of which only the speech is published (default: "
        "CHECKPOINT/samples, else a rendered speaker)",
    )
    dry = "write what would be sent to a new folder, and send nothing; no login is needed"
    add("--dry-run", metavar="DIR", help=dry)


def publish(args: argparse.Namespace) -> int:
    """Publish a model on the Hub, with its card.

    One commit holds weights, configuration, feature extractor, a sample, results and a card. Log in first: hf
    auth login.
    """
    if args.checkpoint != BUNDLED:
        check_folder(args.checkpoint, "the folder of a model")
        check_model(args.checkpoint)
    if args.facts is not None and not os.path.isfile(args.facts):
        raise CommandError(f"--facts {args.facts}: there is no such file.")
    if args.evaluation is not None:
        check_folder(args.evaluation, "one that `hf-lip2speech evaluate` wrote")
    if args.sample is not None:
        check_video(args.sample)
    if args.dry_run is not None:
        check_new(args.dry_run)

    from hf_lip2speech.hub.publish import preview, publish
    from hf_lip2speech.hub.repository import CARD, FACTS
    from hf_lip2speech.loading import model_source

    checkpoint = Path(model_source(args.checkpoint))
    if args.facts is None and not any((checkpoint / name).is_file() for name in (FACTS, CARD)):
        where = f"{checkpoint / FACTS} or to a file for --facts, and publish again"
        print(f"note: the card names no data, training or licence: write them to {where}", file=sys.stderr)
    made = {"facts": args.facts, "evaluation": args.evaluation, "sample": args.sample}
    if args.dry_run is not None:
        for path in preview(checkpoint, args.repo_id, args.dry_run, **made):
            size = os.path.getsize(os.path.join(args.dry_run, path))
            print(f"{size:>12,}  {path}")
        print(f"Nothing was sent. The card: {os.path.join(args.dry_run, CARD)}", file=sys.stderr)
        return 0
    print(publish(checkpoint, args.repo_id, private=args.private, **made))
    return 0


def demo_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_model(parser)
    address = "address to listen on; 0.0.0.0: the whole network (default: 127.0.0.1, this machine only)"
    add("--host", metavar="ADDRESS", help=address)
    add("--port", type=positive, help="port to listen on (default: the first free one from 7860)")
    share = "also serve it on a public HTTPS address, through Gradio's relay server"
    add("--share", action="store_true", help=share)


def demo(args: argparse.Namespace) -> int:
    """Serve a web page on which a video is uploaded or recorded, and speaks.

    Stop it with Ctrl-C. Uploads are deleted after about an hour, and all of them when the page stops.
    """
    check_model(args.model)
    require_needed("demo")

    from hf_lip2speech.hub.demo import launch
    from hf_lip2speech.pipeline import load_pipeline

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which leaves no file behind either
    launch(load_pipeline(args.model), host=args.host, port=args.port, share=args.share)
    return 0
