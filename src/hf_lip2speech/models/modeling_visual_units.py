"""Visual units: the cluster of a lip reader's features of every video frame.

Kim, Yeo, Choi, Park, Ro, "Efficient Training for Multilingual Visual Speech Recognition: Pre-training with
Discretized Visual Speech Representation" (2024), whose features are those of a multilingual AV-HuBERT.
"""

from typing import Any, cast

import torch
from transformers import PreTrainedConfig

from ..errors import Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import file_beside, model_source, readable_hub_errors, states_type
from .configuration_avhubert import AVHubertConfig
from .configuration_visual_units import VisualUnitExtractorConfig
from .modeling_avhubert import AVHubertModel
from .modeling_lip2speech import Lip2SpeechModel
from .modeling_speech_units import SpeechUnitExtractor


class VisualUnitExtractor(SpeechUnitExtractor):
    """Turns mouth crops at 25 fps into units, one per frame, and learns the units from crops.

    As `SpeechUnitExtractor`, with mouth crops, uint8 (B, T, 96, 96), in place of sound.
    """

    config_class = VisualUnitExtractorConfig
    base_model_prefix = "visual_unit_extractor"
    samples_per_unit = 1

    def compute_features(
        self, waveform: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states of the lip reader, float32 (B, T, D), and the frames of each clip, int64 (B,).

        Args:
            waveform: uint8 (B, T, 96, 96), gray mouth crops; the name is the base class's.
            attention_mask: (B, T), 1 = frame, 0 = padding, which comes last.
        """
        model, extractor = self._load_speech_model()
        batch, frames = waveform.shape[:2]
        mask = torch.ones(batch, frames) if attention_mask is None else attention_mask
        counts = mask.to(self.device).bool().sum(dim=1)
        clips = [clip[:count] for clip, count in zip(waveform, counts.tolist(), strict=True)]
        inputs = extractor(clips, return_tensors="pt").to(self.device)
        if isinstance(model, Lip2SpeechModel):  # whose states do not depend on the voice
            inputs["speaker_embeddings"] = torch.zeros(batch, model.config.speaker_embedding_dim).to(
                self.device
            )
        states = model(**inputs, output_hidden_states=True).hidden_states[self.config.layer]
        return states.float().unflatten(1, (frames, -1)).mean(dim=2), counts  # a conformer has two a frame

    def _load_speech_model(self) -> tuple[Any, Any]:
        """The lip reader and its feature extractor."""
        if self._speech_model is None:
            name = self.config.features
            source = model_source(name)
            with readable_hub_errors(name):
                contents, _ = PreTrainedConfig.get_config_dict(source)
                kind = AVHubertModel if states_type(contents, AVHubertConfig) else Lip2SpeechModel
                model = kind.from_pretrained(source).eval().requires_grad_(False)
                extractor = Lip2SpeechFeatureExtractor(crop_size=model.config.crop_size)
                if file_beside(source, "preprocessor_config.json"):
                    extractor = Lip2SpeechFeatureExtractor.from_pretrained(source)
            if self.config.layer > model.config.num_hidden_layers:
                layers = f"{model.config.num_hidden_layers} layers, got layer {self.config.layer}"
                raise Lip2SpeechError(f"{name!r} has {layers}. Set a lower one.")
            if getattr(model.config, "num_visual_units", None) is not None:
                raise Lip2SpeechError(f"{name!r} reads visual units itself: name a model that reads video.")
            self._speech_model = (model, extractor)
        model, extractor = cast(Any, self._speech_model)
        return model.to(self.device), extractor
