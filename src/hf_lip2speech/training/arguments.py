"""The command line that both training scripts share, and what they build from a configuration."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from transformers import PreTrainedConfig, PreTrainedModel

from ..loading import model_source, states_type
from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.modeling_avhubert import AVHubertModel
from ..models.modeling_lip2speech import Lip2SpeechModel
from .config import Config, ConfigError, Lip2SpeechTrainingConfig, TrainingConfig, check_keys, load_config

Part = TypeVar("Part")
Model = TypeVar("Model", bound=PreTrainedModel)


def parse_arguments(
    kind: type[Config], description: str, argv: Sequence[str] | None = None
) -> tuple[Config, argparse.Namespace]:
    """CONFIG.yaml [--init-from DIR] [--resume] [key.sub=value ...] -> the configuration and the arguments."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", help="YAML file: what differs from the defaults of hf_lip2speech.training.config"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as optimizer.learning_rate=3e-4"
    )
    parser.add_argument(
        "--init-from", metavar="DIR", help="start from this saved model, or `bundled` (fine-tuning)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the latest checkpoint in output_dir"
    )
    arguments = parser.parse_intermixed_args(argv)
    overrides = list(arguments.overrides)
    if arguments.init_from is not None:
        overrides.append(f"init_from={arguments.init_from!r}")
    try:
        return load_config(kind, arguments.config, overrides), arguments
    except ConfigError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def checked(kind: Callable[..., Part], fields: dict, prefix: str) -> Part:
    """kind(**fields), with a ConfigError that names `prefix` + field where `kind` takes no such argument."""
    check_keys(fields, inspect.signature(kind).parameters, prefix)
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    )


def known_fields(model_config: type[PreTrainedConfig]) -> set[str]:
    """The fields that a model's config adds to those which every config of transformers has."""
    own = [
        parent for parent in model_config.__mro__ if parent.__module__.startswith(__package__.split(".")[0])
    ]
    return {name for parent in own for name in inspect.get_annotations(parent)} - {"model_type"}


def build_model(model: type[Model], model_config: type[PreTrainedConfig], config: TrainingConfig) -> Model:
    """A new model of the sizes in config.model, or the one in config.init_from with config.model's changes.

    A composite (Lip2SpeechWithVocoder) to start from gives the part of it that is trained here.

    Raises:
        ConfigError: config.model has a field that the model's config does not have, or init_from holds no
        such model.
    """
    check_keys(config.model, known_fields(model_config), prefix="model.")
    if config.init_from is None:
        return model(model_config(**config.model))
    source = model_source(config.init_from)
    path = Path(source) / "config.json"
    if not path.is_file():
        raise ConfigError(
            f"init_from {config.init_from} has no config.json: give a folder of a saved model, such as "
            "RUN/best, or `bundled`."
        )
    saved = json.loads(path.read_text(encoding="utf-8"))
    part = saved.get(model.base_model_prefix, saved)
    if not states_type(part, model_config):
        raise ConfigError(
            f"init_from {config.init_from} holds a {saved.get('model_type')}; this training starts from a "
            f"{model_config.model_type} or from a composite with one."
        )
    changed = model_config.from_dict(part | config.model)
    loaded, report = cast(tuple, model.from_pretrained(source, config=changed, output_loading_info=True))
    if report["missing_keys"]:
        raise ConfigError(
            f"init_from {config.init_from} lacks weights such as {min(report['missing_keys'])}."
        )
    return loaded


def lip2speech_to_train(config: Lip2SpeechTrainingConfig) -> Lip2SpeechModel:
    """As `build_model`; a new model has the AV-HuBERT in config.encoder, if one is given.

    Raises:
        ConfigError: see `build_model`; or config.encoder holds no AV-HuBERT.
    """
    if config.encoder is None:
        return build_model(Lip2SpeechModel, Lip2SpeechConfig, config)
    check_keys(config.model, known_fields(Lip2SpeechConfig) - {"encoder"}, prefix="model.")
    try:
        found, _ = AVHubertConfig.get_config_dict(config.encoder)
    except OSError as error:
        raise ConfigError(f"encoder {config.encoder} cannot be loaded: {error}") from error
    if found.get("model_type") != AVHubertConfig.model_type:
        raise ConfigError(
            f"encoder {config.encoder} holds a {found.get('model_type')}; expected a "
            f"{AVHubertConfig.model_type}, as the conversion of a published AV-HuBERT makes it."
        )
    encoder, report = cast(tuple, AVHubertModel.from_pretrained(config.encoder, output_loading_info=True))
    if report["missing_keys"]:
        raise ConfigError(f"encoder {config.encoder} lacks weights such as {min(report['missing_keys'])}.")
    return Lip2SpeechModel.with_encoder(encoder, **config.model)
