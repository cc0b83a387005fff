"""hf-lip2speech compose: a lip-to-speech model and a vocoder -> the one folder that the pipeline loads."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.layout import UNIT_EXTRACTOR, PreparedFolder
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
    voices = named_voices(args.voices, args.rename or [])
    default = args.default_voice or next(iter(voices))
    if default not in voices:
        raise Lip2SpeechError(f"The default voice {default!r} is none of the voices: {', '.join(voices)}.")
    model = Lip2SpeechWithVocoder.from_parts(
        Lip2SpeechModel.from_pretrained(args.lip2speech),
        UnitVocoderModel.from_pretrained(args.vocoder),
        voices=voices,
        default_voice=default,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        save(model, unfinished, float16=args.float16)
        shutil.copytree(PreparedFolder(args.voices[0]).unit_extractor, unfinished / UNIT_EXTRACTOR)
        unfinished.chmod(0o755)  # mkdtemp's folders are for their maker alone
        os.replace(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    print(f"{out}: voices {', '.join(voices)}; default {default}", file=sys.stderr)
    return 0


def named_voices(folders: Sequence[str], renamed: Sequence[str]) -> dict[str, np.ndarray]:
    """The speakers' voices of all prepared folders, in their order, some under a new name (SPEAKER=NAME).

    Raises:
        Lip2SpeechError: two folders have a speaker of one name, or a renamed one does not exist.
    """
    voices: dict[str, np.ndarray] = {}
    for folder in folders:
        for speaker, embedding in sorted(speaker_voices(folder).items()):
            if speaker in voices:
                raise Lip2SpeechError(f"{folder} has a speaker {speaker!r}, as a folder before it has.")
            voices[speaker] = embedding
    names = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in renamed)
    for speaker, name in names.items():
        if speaker not in voices or not name:
            raise Lip2SpeechError(
                f"--rename {speaker}={name}: expected SPEAKER=NAME with one of {', '.join(voices)}."
            )
    named = {names.get(speaker, speaker): embedding for speaker, embedding in voices.items()}
    if len(named) < len(voices):
        raise Lip2SpeechError(f"--rename {' '.join(renamed)} gives one name to two voices.")
    return named


def save(model: Lip2SpeechWithVocoder, folder: Path, *, float16: bool) -> None:
    """What the pipeline loads; with `float16` at half the size, and still computed in float32."""
    weights = None
    if float16:
        weights = {
            name: value.half() if value.is_floating_point() else value
            for name, value in model.state_dict().items()
        }
    model.save_pretrained(folder, state_dict=weights)
    Lip2SpeechFeatureExtractor().save_pretrained(folder)
