"""The folder of a complete lip-to-speech system, which the pipeline loads: its one reader and one writer.

    config.json, model.safetensors    the models
    voices.safetensors                speaker embeddings by name, if the model has voices
    preprocessor_config.json          the pixels that the lip-to-speech model was trained on
    unit_extractor/                   what turned speech into the units of the training

The folders of a single lip-to-speech model or vocoder hold the same files beside their weights, as far as
the training knew them. `compose` joins two such folders.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from .constants import UNIT_EXTRACTOR
from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .files import new_folder
from .loading import file_beside, json_object, model_source
from .models.modeling_lip2speech import Lip2SpeechModel
from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from .models.modeling_mel_flow import MelFlowModel
from .models.modeling_speech_units import SpeechUnitExtractor
from .models.modeling_unit_vocoder import UnitVocoderModel
from .models.voices import Embedding, read_voices, write_voices

Source = str | Path


def compose(
    lip2speech: Source,
    vocoder: Source,
    out: Source,
    *,
    voices: Mapping[str, Embedding] | None = None,
    default_voice: str | None = None,
    units: Source | None = None,
    mel_flow: Source | None = None,
    float16: bool = False,
) -> Lip2SpeechWithVocoder:
    """Join a trained lip-to-speech model, a vocoder and perhaps a mel flow in a new folder, or write nothing.

    Args:
        lip2speech, vocoder: folder, Hub name or "bundled"; of a composite, its part is taken.
        out: a folder that does not exist.
        voices: speaker embeddings by name, see `named_voices`; None: those beside the vocoder, else beside
            the lip-to-speech model.
        default_voice: one of them; None: that of the folder with the voices, else the first.
        units: a prepared folder or model with the unit extractor; None: the one beside either model.
        mel_flow: folder, Hub name or "bundled" of a flow that was trained on the lip-to-speech model's
            predictions; None: without.
        float16: store the weights in half the size; they are still computed in float32.

    Raises:
        Lip2SpeechError: the models do not fit together or were trained on other speech units, `out` exists,
            the unit extractor is missing or damaged, or the default voice is not among the voices.
        OSError: a model does not exist.
    """
    sources = [model_source(vocoder), model_source(lip2speech)]
    with new_folder(out) as folder:
        reader = Lip2SpeechModel.from_pretrained(sources[1])
        speaker = UnitVocoderModel.from_pretrained(sources[0])
        if voices is None:
            voices, usual = _voices_beside(sources)
            default_voice = default_voice or usual
        default_voice = default_voice or next(iter(voices), None)
        flow = None if mel_flow is None else MelFlowModel.from_pretrained(model_source(mel_flow))
        model = Lip2SpeechWithVocoder.from_parts(reader, speaker, voices, default_voice, flow)
        save_composite(model, folder, feature_extractor_for(sources[1], reader), float16=float16)
        found = common_unit_extractor([units, *sources] if units else sources)
        if found is None or (units and found != units):
            where = units or f"{vocoder} or {lip2speech}"
            raise Lip2SpeechError(
                f"There is no {UNIT_EXTRACTOR} in {where}: give a prepared folder with --units."
            )
        copy_unit_extractor(found, folder)
    return model


def save_composite(
    model: Lip2SpeechWithVocoder,
    folder: Source,
    feature_extractor: Lip2SpeechFeatureExtractor | None = None,
    *,
    float16: bool = False,
) -> None:
    """Write a composite into a folder; with `float16` at half the size, and still computed in float32."""
    weights = None
    if float16:
        state = model.state_dict().items()
        weights = {name: value.half() if value.is_floating_point() else value for name, value in state}
    model.save_pretrained(folder, state_dict=weights)
    save_beside_weights(folder, feature_extractor or feature_extractor_for(None, model))


def save_beside_weights(
    folder: Source,
    feature_extractor: Lip2SpeechFeatureExtractor | None = None,
    unit_extractor: Source | None = None,
    voices: Mapping[str, Embedding] | None = None,
) -> None:
    """Write what belongs to a model beside its weights, so that `compose` finds it there: the feature
    extractor that it was trained with, the unit extractor of a prepared folder or a model, and voices by
    name."""
    if feature_extractor is not None:
        feature_extractor.save_pretrained(folder)
    if unit_extractor is not None:
        copy_unit_extractor(unit_extractor, folder)
    if voices:
        write_voices(folder, voices)


def feature_extractor_for(source: Source | None, model: PreTrainedModel) -> Lip2SpeechFeatureExtractor:
    """The feature extractor beside a model; where it has none, one of the model's crop size."""
    if source is not None and file_beside(model_source(source), "preprocessor_config.json"):
        return Lip2SpeechFeatureExtractor.from_pretrained(source)
    reader = model.lip2speech if isinstance(model, Lip2SpeechWithVocoder) else model
    return Lip2SpeechFeatureExtractor(crop_size=reader.config.crop_size)


def common_unit_extractor(sources: Iterable[Source]) -> Source | None:
    """Of prepared folders and models the first with a unit extractor; None if none has one.

    Raises:
        Lip2SpeechError: one is damaged, or has other units than the first: units of one number would then
            mean two sounds.
    """
    first: tuple[Source, SpeechUnitExtractor] | None = None
    for source in sources:
        place = model_source(source)
        if file_beside(place, f"{UNIT_EXTRACTOR}/config.json") is None:
            continue
        extractor = SpeechUnitExtractor.from_pretrained(place, subfolder=UNIT_EXTRACTOR)
        if first is None:
            first = source, extractor
        elif not extractor.same_units(first[1]):
            raise Lip2SpeechError(
                f"{first[0]} and {source} have different speech units. Prepare all data with the same units: "
                f"`hf-lip2speech prepare ... --units {first[0]}`."
            )
    return first and first[0]


def copy_unit_extractor(source: Source, folder: Source) -> None:
    """Copy the unit extractor of a prepared folder or a model, if it has one."""
    for name in ("config.json", "model.safetensors"):
        if path := file_beside(model_source(source), f"{UNIT_EXTRACTOR}/{name}"):
            (Path(folder) / UNIT_EXTRACTOR).mkdir(exist_ok=True)
            shutil.copyfile(path, Path(folder) / UNIT_EXTRACTOR / path.name)


def named_voices(folders: Sequence[Source], renamed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The voices of the speakers of prepared folders, in their order, some under a new name (SPEAKER=NAME).

    Raises:
        Lip2SpeechError: two folders have a speaker of one name, or a renamed one does not exist.
    """
    voices: dict[str, np.ndarray] = {}
    for folder in folders:
        from .data.prepared import speaker_voices  # needs the extra "train", for the manifest

        for speaker, embedding in sorted(speaker_voices(folder).items()):
            if speaker in voices:
                raise Lip2SpeechError(f"{folder} has a speaker {speaker!r}, as an earlier folder has.")
            voices[speaker] = embedding
    names = {speaker: name for speaker, _, name in (pair.partition("=") for pair in renamed)}
    for speaker, name in names.items():
        if speaker not in voices or not name:
            raise Lip2SpeechError(
                f"Cannot rename {speaker}={name}: expected SPEAKER=NAME with one of {', '.join(voices)}."
            )
    named = {names.get(speaker, speaker): embedding for speaker, embedding in voices.items()}
    if len(named) < len(voices):
        raise Lip2SpeechError(f"Renaming {' '.join(renamed)} gives one name to two voices.")
    return named


def _voices_beside(sources: Sequence[Source]) -> tuple[dict[str, torch.Tensor], str | None]:
    """The voices of the first source that has any, and its default voice."""
    for source in sources:
        if voices := read_voices(source):
            config = file_beside(source, "config.json")
            default = json_object(config).get("default_voice") if config else None
            return voices, default if default in voices else None
    return {}, None
