"""The models that a training starts from, and what is saved beside them."""

import inspect
import warnings
from pathlib import Path
from typing import Any, TypeVar

from accelerate.utils import set_seed
from transformers import PreTrainedConfig, PreTrainedModel

from ..composite import common_unit_extractor, feature_extractor_for
from ..constants import CLIP_MEAN, CLIP_STD
from ..data.prepared import speaker_voices
from ..errors import ConfigError, Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import model_source, states_type
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.modeling_avhubert import AVHubertModel
from ..models.modeling_lip2speech import Lip2SpeechModel
from .arguments import Lip2SpeechTrainingArguments
from .config import check_keys, readable_values

# modules that a setting adds to a saved model
ADDED = {
    "text_vocabulary": "text_head.",
    "text_conditioner_size": "text_conditioner.",
    "voice_from_face": "face_voice_head.",
}
Model = TypeVar("Model", bound=PreTrainedModel)


def known_fields(model_config: type[PreTrainedConfig]) -> set[str]:
    """The fields that a model's config adds to those of every config of transformers."""
    package = __name__.partition(".")[0]
    own = [parent for parent in model_config.__mro__ if parent.__module__.partition(".")[0] == package]
    return {name for parent in own for name in inspect.get_annotations(parent)} - {"model_type"}


def build_model(kind: type[Model], fields: dict, init_from: str | Path | None) -> Model:
    """A new model with these config fields, or a saved model with its fields changed by them. Parts that it
    lacks and they add have new weights: a text head (`text_vocabulary`), text conditioning, a head for voices
    (`voice_from_face`), another front end (`num_visual_units`).

    Args:
        init_from: `bundled`, a folder or a Hub repository; a composite gives the part of this kind.

    Raises:
        ConfigError: an unknown field, or init_from holds no such model.
    """
    config_class = kind.config_class
    check_keys(fields, known_fields(config_class), prefix="model.")
    if init_from is None:
        with readable_values("model."):
            return kind(config_class(**fields))
    source = model_source(str(init_from))
    try:
        found, _ = PreTrainedConfig.get_config_dict(source)
    except OSError as error:
        raise ConfigError(f"init_from {init_from} cannot be loaded: {error}") from error
    part = found.get(kind.base_model_prefix, found)
    if not states_type(part, config_class):
        raise ConfigError(
            f"init_from {init_from} holds {found.get('model_type') or 'no config.json'}; expected a "
            f"{config_class.model_type} or a composite with one, such as RUN/best or `bundled`."
        )
    with readable_values("model."):
        forgotten = dict.fromkeys({"vocabulary"} & known_fields(config_class))  # it is to learn other words
        config = config_class.from_dict(part | forgotten | fields)
    added = tuple(module for field, module in ADDED.items() if fields.get(field) and not part.get(field))
    if getattr(config, "num_visual_units", None) != part.get("num_visual_units"):
        added += ("frontend.",)  # pictures in place of visual units, or the other way round
    if not added:
        return kind.from_pretrained(source, config=config)
    loaded: Any = kind.from_pretrained(source, config=config, output_loading_info=True)
    model, report = loaded
    if lost := sorted(name for name in report["missing_keys"] if not name.startswith(added)):
        raise ConfigError(f"The weights in init_from {init_from} are incomplete: {lost[0]} is missing.")
    return model


def lip2speech_to_train(
    args: Lip2SpeechTrainingArguments, checkpoint: Path | None = None
) -> tuple[Lip2SpeechModel, Lip2SpeechFeatureExtractor]:
    """The model of stage 1, with the AV-HuBERT in args.encoder if one is given, and its feature extractor:
    that of `init_from`; for a new model one that brings every clip to the same light.

    Args:
        checkpoint: Take sizes from this checkpoint of the run, which is to be resumed.

    Raises:
        ConfigError: see `build_model`; or args.encoder holds no AV-HuBERT.
    """
    set_seed(args.seed)
    source = checkpoint or args.init_from
    if source is not None or args.encoder is None:
        model = build_model(Lip2SpeechModel, args.model, source)
    else:
        check_keys(args.model, known_fields(Lip2SpeechConfig) - {"encoder"}, prefix="model.")
        try:
            encoder = AVHubertModel.from_pretrained(args.encoder)
        except (OSError, Lip2SpeechError) as error:
            raise ConfigError(f"encoder {args.encoder} cannot be loaded: {error}") from error
        model = Lip2SpeechModel.with_encoder(encoder, **args.model)
    if source is None:
        light = {"clip_mean": CLIP_MEAN, "clip_std": CLIP_STD}
        return model, Lip2SpeechFeatureExtractor(crop_size=model.config.crop_size, **light)
    return model, feature_extractor_for(source, model)


def data_beside(folders: list[str], init_from: str | None = None) -> dict[str, Any]:
    """What the prepared data add to a trained model's folder: arguments of `save_beside_weights`. Warns where
    their units are not those of the model in `init_from`.

    Raises:
        Lip2SpeechError: see `common_unit_extractor`.
    """
    extractor, voices = common_unit_extractor(folders), {}
    if extractor is not None and init_from is not None:
        try:
            common_unit_extractor([init_from, extractor])
        except Lip2SpeechError as error:
            goes_on = f"The units of {extractor} are learned anew, and do not fit a vocoder of {init_from}."
            warnings.warn(f"{error} {goes_on}", stacklevel=2)
    for folder in folders:
        voices |= speaker_voices(folder, most=100)
    return {"unit_extractor": extractor, "voices": voices}
