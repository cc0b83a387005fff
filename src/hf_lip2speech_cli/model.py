"""Loading a model for a command."""

import sys

import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.pipeline import LipToSpeechPipeline


def load_pipeline(model: str, device: str | None = None, dtype: str = "auto") -> LipToSpeechPipeline:
    """The pipeline of a folder, a Hub repository or `bundled`.

    Raises:
        Lip2SpeechError: what is there is not a lip-to-speech model, or the device is unknown.
        OSError: nothing is there, or the Hub cannot be reached.
    """
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch's answers to a bad name and to a missing GPU
            reason = str(error).splitlines()[0]
            raise Lip2SpeechError(f"The device {device!r} cannot be used: {reason}") from error
    config = Lip2SpeechWithVocoderConfig.from_pretrained(model)
    extractor = Lip2SpeechFeatureExtractor.from_pretrained(model)
    print(f"loading {model}", file=sys.stderr)
    loaded = Lip2SpeechWithVocoder.from_pretrained(model, config=config, dtype=dtype)
    return LipToSpeechPipeline(model=loaded, feature_extractor=extractor, device=device)
