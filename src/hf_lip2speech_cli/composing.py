"""Joining models: what `compose` and `convert --composite` share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_lip2speech.data.voices import speaker_voices
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel


def joined(
    lip2speech: Lip2SpeechModel,
    vocoder: UnitVocoderModel,
    voices: dict[str, np.ndarray],
    default_voice: str | None,
) -> Lip2SpeechWithVocoder:
    """The composite; its default voice is the named one, else the first of the voices, if there are any.

    Raises:
        Lip2SpeechError: the default voice is none of the voices.
    """
    default_voice = default_voice or next(iter(voices), None)
    if default_voice is not None and default_voice not in voices:
        raise Lip2SpeechError(
            f"The default voice {default_voice!r} is none of the voices: {', '.join(voices) or 'no voices'}."
        )
    return Lip2SpeechWithVocoder.from_parts(lip2speech, vocoder, voices=voices, default_voice=default_voice)


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
    names = {speaker: name for speaker, _, name in (pair.partition("=") for pair in renamed)}
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
