"""Lip-to-speech for transformers: `import hf_lip2speech`, then `pipeline("lip-to-speech", model=...)`.

Importing registers the models with transformers' Auto classes and the task with its pipelines. Decoders, the
landmark detector, data sets and plotting are imported by the calls that need them.
"""

from importlib import import_module
from typing import Any

from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from .models.configuration_avhubert import AVHubertConfig
from .models.configuration_lip2speech import Lip2SpeechConfig
from .models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from .models.configuration_mel_flow import MelFlowConfig
from .models.configuration_speaker_encoder import SpeakerEncoderConfig
from .models.configuration_speech_units import SpeechUnitExtractorConfig
from .models.configuration_unit_vocoder import UnitVocoderConfig
from .models.modeling_avhubert import AVHubertModel
from .models.modeling_lip2speech import Lip2SpeechModel
from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from .models.modeling_mel_flow import MelFlowModel
from .models.modeling_speaker_encoder import SpeakerEncoder
from .models.modeling_speech_units import SpeechUnitExtractor
from .models.modeling_unit_vocoder import UnitVocoderModel
from .pipeline import LipToSpeechPipeline
from .registration import register

__version__ = "0.1.0"

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
    "LipToSpeechStream",
    "MelFlowConfig",
    "MelFlowModel",
    "SpeakerEncoder",
    "SpeakerEncoderConfig",
    "SpeechUnitExtractor",
    "SpeechUnitExtractorConfig",
    "UnitVocoderConfig",
    "UnitVocoderModel",
    "__version__",
]


# Imported when they are asked for; the corpora need the extra "train".
_LAZY = {"LipToSpeechStream": ".streaming", "FaceVideoFolder": ".data.corpora"}
_LAZY |= dict.fromkeys(("GRID", "LRS2", "LRS3"), ".data.builders")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


register()
