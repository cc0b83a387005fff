"""hf-lip2speech compose: a lip-to-speech model and a vocoder -> the one folder that the pipeline loads."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ..data.voices import speaker_voices
from ..errors import Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..models.modeling_unit_vocoder import UnitVocoderModel


def run(args: argparse.Namespace) -> int:
    """Join the two models and the voices of a prepared folder's speakers; write OUT whole or not at all.

    Raises:
        Lip2SpeechError: the models do not fit together, OUT exists, or the default voice is nobody's.
        OSError: a model is not there.
    """
    out = Path(args.out)
    if out.exists():
        raise Lip2SpeechError(f"{out} exists already: name a folder that does not, or remove it.")
    voices = speaker_voices(args.voices)
    default = args.default_voice or min(voices)
    if default not in voices:
        raise Lip2SpeechError(
            f"The default voice {default!r} is none of the speakers of {args.voices}: "
            f"{', '.join(sorted(voices))}."
        )
    model = Lip2SpeechWithVocoder.from_parts(
        Lip2SpeechModel.from_pretrained(args.lip2speech),
        UnitVocoderModel.from_pretrained(args.vocoder),
        voices=voices,
        default_voice=default,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        model.save_pretrained(unfinished)
        Lip2SpeechFeatureExtractor().save_pretrained(unfinished)
        unfinished.chmod(0o755)  # mkdtemp's folders are for their maker alone
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{out}: voices {', '.join(sorted(voices))}; default {default}", file=sys.stderr)
    return 0
