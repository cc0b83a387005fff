"""hf-lip2speech convert: published checkpoints -> what from_pretrained and the pipeline load, and back."""

import argparse
import sys
from pathlib import Path
from typing import TypeVar

from ..conversion.card import Part, composite_card
from ..conversion.convert import Conversion, convert, load_published, to_published
from ..conversion.recognise import Kind
from ..errors import CheckpointError
from ..files import new_folder
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .compose import joined, named_voices, save

M = TypeVar("M", Lip2SpeechModel, UnitVocoderModel)


def run(args: argparse.Namespace) -> int:
    """Convert as the flags say; DST is written whole or not at all.

    Raises:
        Lip2SpeechError: a file cannot be converted (the message names what is wrong in it), or DST exists.
        OSError: a file or model is not there.
    """
    expected = 3 if args.composite else 2
    if len(args.paths) != expected:
        names = "L2S VOCODER DST" if args.composite else "SRC DST"
        args.usage_error(f"expected {expected} paths, {names}; got {len(args.paths)}: {' '.join(args.paths)}")
    if not args.composite and (args.voices or args.default_voice):
        args.usage_error("--voices and --default-voice belong to --composite")
    if args.to_published:
        source, destination = args.paths
        print(to_published(source, destination))
    elif args.composite:
        lip2speech, vocoder, destination = args.paths
        _compose(lip2speech, vocoder, destination, args)
    else:
        source, destination = args.paths
        _tell(convert(source, destination))
        print(destination)
    return 0


def _compose(lip2speech: str, vocoder: str, destination: str, args: argparse.Namespace) -> None:
    with new_folder(destination) as folder:
        voices = named_voices(args.voices or [], [])
        reader, reader_part = _part(lip2speech, Lip2SpeechModel)
        speaker, speaker_part = _part(vocoder, UnitVocoderModel)
        save(joined(reader, speaker, voices, args.default_voice), folder, float16=False)
        card = composite_card([reader_part, speaker_part], has_voice=bool(voices))
        (folder / "README.md").write_text(card, encoding="utf-8")
    if not voices:
        print(
            "It has no voice of its own: name a recording of one with speaker=, or --voices here.",
            file=sys.stderr,
        )
    print(destination)


def _part(source: str, model_class: type[M]) -> tuple[M, Part]:
    """The model of a published file, or of a folder or repository that holds one already; and its story."""
    if not Path(source).is_file():
        model = model_class.from_pretrained(source)  # ty: ignore[invalid-argument-type]
        kind = Kind.VOCODER
        if isinstance(model, Lip2SpeechModel):
            kind = Kind.LIP2SPEECH if model.config.encoder is None else Kind.LIP2SPEECH_AVHUBERT
        return model, Part.of_folder(source, kind)
    conversion = load_published(source)
    if not isinstance(conversion.model, model_class):
        raise CheckpointError(
            f"{source} holds a {conversion.file.kind.value}; expected, in this order, a "
            f"{Kind.LIP2SPEECH.value} and a {Kind.VOCODER.value}."
        )
    _tell(conversion)
    return conversion.model, conversion.part


def _tell(conversion: Conversion) -> None:
    file, dropped = conversion.file, conversion.dropped
    used = len(file.tensors) - len(dropped)
    print(f"{file.path}: {file.kind.value}, {used} of {len(file.tensors)} tensors used", file=sys.stderr)
    for name in dropped:
        print(f"  dropped, only pre-training needs it: {name}", file=sys.stderr)
    if file.kind is Kind.VOCODER and not {"upsample_rates", "resblock_dilation_sizes"} <= {
        *(file.settings or {})
    }:
        print(
            "  no config.json beside it says its upsampling rates and dilations: what is missing is taken to "
            "follow HiFi-GAN's convention (half the kernel; 1, 3, 5)",
            file=sys.stderr,
        )
