"""Lip-to-speech for transformers: `import hf_lip2speech`, then `pipeline("lip-to-speech", model=...)`.

Importing registers the models with transformers' Auto classes and the task with its pipelines. It costs what
transformers' own pipelines cost, and nothing of what a part needs that is not used: no video decoder,
landmark detector, data set or plotting library is loaded before a call asks for it.
"""

import importlib
from typing import TYPE_CHECKING

from .registration import register

if TYPE_CHECKING:
    from .data.builders import GRID, LRS2, LRS3
    from .data.corpora import FaceVideoFolder
    from .errors import Lip2SpeechError
    from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
    from .models.configuration_avhubert import AVHubertConfig
    from .models.configuration_lip2speech import Lip2SpeechConfig
    from .models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
    from .models.configuration_speaker_encoder import SpeakerEncoderConfig
    from .models.configuration_speech_units import SpeechUnitExtractorConfig
    from .models.configuration_unit_vocoder import UnitVocoderConfig
    from .models.modeling_avhubert import AVHubertModel
    from .models.modeling_lip2speech import Lip2SpeechModel
    from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
    from .models.modeling_speaker_encoder import SpeakerEncoder
    from .models.modeling_speech_units import SpeechUnitExtractor
    from .models.modeling_unit_vocoder import UnitVocoderModel
    from .pipeline import LipToSpeechPipeline

__version__ = "0.1.0"

_HOMES = {
    "AVHubertConfig": "models.configuration_avhubert",
    "AVHubertModel": "models.modeling_avhubert",
    "FaceVideoFolder": "data.corpora",
    "GRID": "data.builders",
    "LRS2": "data.builders",
    "LRS3": "data.builders",
    "Lip2SpeechError": "errors",
    "Lip2SpeechFeatureExtractor": "feature_extraction_lip2speech",
    "Lip2SpeechConfig": "models.configuration_lip2speech",
    "Lip2SpeechModel": "models.modeling_lip2speech",
    "Lip2SpeechWithVocoderConfig": "models.configuration_lip2speech_with_vocoder",
    "Lip2SpeechWithVocoder": "models.modeling_lip2speech_with_vocoder",
    "LipToSpeechPipeline": "pipeline",
    "SpeakerEncoderConfig": "models.configuration_speaker_encoder",
    "SpeakerEncoder": "models.modeling_speaker_encoder",
    "SpeechUnitExtractorConfig": "models.configuration_speech_units",
    "SpeechUnitExtractor": "models.modeling_speech_units",
    "UnitVocoderConfig": "models.configuration_unit_vocoder",
    "UnitVocoderModel": "models.modeling_unit_vocoder",
}

__all__ = [
    "GRID",
    "LRS2",
    "LRS3",
    "AVHubertConfig",
    "AVHubertModel",
    "FaceVideoFolder",
    "Lip2SpeechConfig",
    "Lip2SpeechError",
    "Lip2SpeechFeatureExtractor",
    "Lip2SpeechModel",
    "Lip2SpeechWithVocoder",
    "Lip2SpeechWithVocoderConfig",
    "LipToSpeechPipeline",
    "SpeakerEncoder",
    "SpeakerEncoderConfig",
    "SpeechUnitExtractor",
    "SpeechUnitExtractorConfig",
    "UnitVocoderConfig",
    "UnitVocoderModel",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register()
