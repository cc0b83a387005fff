"""A checkpoint that is fit to be published: loaded once, with every weight, and nothing in it that only this
machine has."""

import json
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedModel

from ..errors import PublishError
from ..loading import one_line
from ..models.modeling_speech_units import SpeechUnitExtractor
from .cards import KINDS


def whole_model(folder: Path) -> PreTrainedModel:
    """The model in a folder, all of whose weights are there, fit and are numbers.

    Raises:
        PublishError: they are not, or it is of no kind that is published; the message says what is wrong.
    """
    if not (folder / "config.json").is_file():
        raise PublishError(
            f"{folder} holds no config.json: expected a model's folder, such as `hf-lip2speech compose` "
            "and `convert` write, or best/ and last/ of a training."
        )
    kind = _kind(folder)
    if kind not in KINDS:
        raise PublishError(
            f"{folder} holds a model of the kind {kind!r}; what is published is one of {KINDS}."
        )
    if not [*folder.glob("model*.safetensors")]:
        raise PublishError(f"{folder} holds no model.safetensors; weights are published in no other format.")
    try:
        model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    except (OSError, StrictDataclassError, TypeError, ValueError) as error:
        raise PublishError(f"What does not load is not published. {one_line(error)}") from error
    for what, said in (("missing_keys", "lack"), ("unexpected_keys", "have too many")):
        if report[what]:
            raise PublishError(
                f"The weights in {folder} {said}: {', '.join(map(str, sorted(report[what])[:5]))}."
            )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise PublishError(f"{name} in {folder} holds numbers that are not finite: the model is broken.")
    if isinstance(model, SpeechUnitExtractor):
        _check_extractor(folder, model)
    return model.eval()


def weight_files(folder: Path) -> list[str]:
    """The names of the files that hold the weights: one, or an index and its shards."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    return [index.name, *sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))]


def _kind(folder: Path) -> object:
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        return CONFIG_MAPPING[kind].model_type if kind in CONFIG_MAPPING else kind  # not a former name of it
    except (AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PublishError(f"{folder / 'config.json'} is no configuration: {one_line(error)}") from error


def _check_extractor(folder: Path, extractor: SpeechUnitExtractor) -> None:
    if not extractor.config.fitted:
        raise PublishError(f"The unit extractor in {folder} is not fitted: it has no clusters to publish.")
    features = extractor.config.features
    if features != "mfcc" and (Path(features).is_absolute() or Path(features).exists()):
        raise PublishError(
            f"The unit extractor in {folder} takes its features from {features}, a folder of this machine. "
            f"Write the name that the model has on the Hub into `features` of {folder / 'config.json'}."
        )
