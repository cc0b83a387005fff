"""Configuration of the visual unit extractor."""

from huggingface_hub.dataclasses import strict

from .configuration_avhubert import check_positive
from .configuration_speech_units import SpeechUnitExtractorConfig


@strict
class VisualUnitExtractorConfig(SpeechUnitExtractorConfig):
    """Which features of a lip reader are clustered into how many visual units.

    Args:
        features: an `AVHubertModel` or `Lip2SpeechModel`: "bundled", a folder or a Hub name. Only this name
            is saved with the extractor, not the model.
        layer: the hidden states after this layer are clustered; 0 is the input of the first, -1 the last.
        num_units: clusters, at most 65,536.
        feature_size, fitted: set by `VisualUnitExtractor.fit`.
    """

    model_type = "lip2speech_visual_unit_extractor"
    former_model_types = ()

    features: str = "bundled"
    layer: int = -1
    num_units: int = 1000

    def validate_sizes(self):
        """Raise a ValueError for sizes that no extractor can have."""
        check_positive(self, "num_units", "feature_size")
        if self.num_units > 1 << 16 or self.layer < -1:
            given = f"num_units is {self.num_units} and layer {self.layer}"
            raise ValueError(f"{given}; expected at most {1 << 16}, and at least -1.")
