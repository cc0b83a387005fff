"""Registers the models and the pipeline with transformers."""

import functools
import os
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.utils import CONFIG_NAME, FEATURE_EXTRACTOR_NAME, hub

from .errors import Lip2SpeechError, NotLoadedError
from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .loading import BUNDLED, json_object, model_source
from .models.configuration_avhubert import AVHubertConfig
from .models.configuration_lip2speech import Lip2SpeechConfig
from .models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from .models.modeling_avhubert import AVHubertModel
from .models.modeling_lip2speech import Lip2SpeechModel
from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from .models.modeling_mel_flow import MelFlowModel
from .models.modeling_speaker_encoder import SpeakerEncoder
from .models.modeling_speech_units import SpeechUnitExtractor
from .models.modeling_unit_vocoder import UnitVocoderModel
from .pipeline import LipToSpeechPipeline

TASK = "lip-to-speech"

MODELS = (
    *(Lip2SpeechModel, AVHubertModel, UnitVocoderModel, MelFlowModel, Lip2SpeechWithVocoder),
    *(SpeechUnitExtractor, SpeakerEncoder),
)


def register() -> None:
    """Registers the configs, models, feature extractor and the task; calling it again changes nothing."""
    for model in MODELS:
        config: Any = model.config_class
        if CONFIG_MAPPING.get(config.model_type) is not config:
            AutoConfig.register(config.model_type, config)
        AutoModel.register(config, model, exist_ok=True)
        for former in config.former_model_types:
            if former not in CONFIG_MAPPING:  # nobody else's: folders of older versions load by it
                CONFIG_MAPPING.register(former, config)
    for config in (Lip2SpeechConfig, AVHubertConfig, Lip2SpeechWithVocoderConfig):
        AutoFeatureExtractor.register(config, Lip2SpeechFeatureExtractor, exist_ok=True)
    if PIPELINE_REGISTRY.supported_tasks.get(TASK, {}).get("impl") is LipToSpeechPipeline:
        return  # a second time, transformers would warn that the task is overwritten
    PIPELINE_REGISTRY.register_pipeline(
        TASK,
        pipeline_class=LipToSpeechPipeline,
        pt_model=_ReadableAutoModel,
        default={"model": (str(BUNDLED), None)},  # a folder has no revision
        type="video",
    )
    _teach_hub()


class _NotLoaded:
    """In place of a model that cannot be loaded: looking at it raises the error."""

    def __init__(self, error: Lip2SpeechError):
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


class _ReadableAutoModel(AutoModel):
    """The AutoModel of the task: `transformers.pipeline` would bury its error under a printed traceback."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return AutoModel.from_pretrained(*args, **kwargs)
        except Lip2SpeechError as error:
            return _NotLoaded(error)


def _teach_hub() -> None:
    """Lets transformers' own loading (Auto classes, `pipeline(model="bundled")`) take "bundled", too, and
    says of this task's models which file is damaged or missing.

    transformers has no registry of model names, and `pipeline` reads the config, adapter and preprocessor
    files before it looks at the task. All of them come through this one function.
    """
    find = hub.cached_files

    @functools.wraps(find)
    def cached_files(path_or_repo_id: Any, filenames: Any, *args: Any, **kwargs: Any) -> Any:
        here = isinstance(path_or_repo_id, str) and os.path.isdir(path_or_repo_id)  # somebody's own folder
        found = find(path_or_repo_id if here else model_source(path_or_repo_id), filenames, *args, **kwargs)
        agent = kwargs.get("user_agent")
        if here and isinstance(agent, dict) and agent.get("using_pipeline") == TASK:
            _check_files(path_or_repo_id, filenames, found)
        return found

    hub.cached_files = cached_files  # ty: ignore[invalid-assignment]


def _check_files(folder: str, names: list[str], found: list[str] | None) -> None:
    """Raise NotLoadedError where config.json or preprocessor_config.json is wanted and missing or damaged."""
    for name, key in {CONFIG_NAME: "model_type", FEATURE_EXTRACTOR_NAME: "feature_extractor_type"}.items():
        if name not in names:
            continue
        path = next((one for one in found or () if Path(one).name == name), None)
        if path is None:
            raise NotLoadedError(f"{folder} has no {name}: it is not the folder of a lip-to-speech model.")
        contents = json_object(path)
        if not isinstance(contents.get(key), str):
            raise NotLoadedError(f"{path} states no {key}: it is not that of a lip-to-speech model.")
        if not _names_classes(contents):
            raise NotLoadedError(f"{path} is damaged: what it calls classes are none. Download it again.")


def _names_classes(contents: dict[str, Any]) -> bool:
    """Whether the fields by which transformers looks for classes are of the types that it expects."""
    auto_map = contents.get("auto_map", {})
    return (
        isinstance(auto_map, dict)
        and all(isinstance(name, str) for name in auto_map.values())
        and isinstance(contents.get("custom_pipelines", {}), dict)
        and isinstance(contents.get("architectures") or [], list)
    )
