"""Configuration of the speech unit extractor."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import NUM_UNITS
from ..loading import BUNDLED, StrictConfigMixin
from .configuration_avhubert import check_positive


@strict
class SpeechUnitExtractorConfig(StrictConfigMixin, PreTrainedConfig):
    """Which features of speech are clustered into how many units.

    The defaults are the published system's: layer 6 of HuBERT Base and 200 clusters.

    Args:
        features: "mfcc" (cepstral coefficients, no model needed), or the Hub name or folder of a
            self-supervised transformers model of the wav2vec 2.0 family (HuBERT, WavLM, ...) with 50 frames
            per second. Only this name is saved with the extractor, not the model.
        layer: the model's hidden states are taken after this layer; 0 is the input of the first. "mfcc" has
            none.
        num_units: clusters.
        num_coefficients: cepstral coefficients of "mfcc", before first and second differences are appended.
        feature_size: dimensions of a feature vector: 3 x num_coefficients, or the hidden size of the model,
            which SpeechUnitExtractor.fit fills in.
        fitted: whether the centroids come from data; set by SpeechUnitExtractor.fit.
    """

    model_type = "lip2speech_unit_extractor"
    former_model_types = ("speech_unit_extractor",)
    bundled_folder = BUNDLED / "unit_extractor"

    features: str = "facebook/hubert-base-ls960"
    layer: int = 6
    num_units: int = NUM_UNITS
    num_coefficients: int = 13
    feature_size: int = 768
    fitted: bool = False

    def __post_init__(self, **kwargs):
        if self.features == "mfcc":
            self.feature_size = 3 * self.num_coefficients
        super().__post_init__(**kwargs)

    def validate_sizes(self):
        """Raise a ValueError for sizes that no extractor can have."""
        check_positive(self, "num_units", "num_coefficients", "feature_size")
        if self.layer < 0:
            raise ValueError(f"layer must not be negative, got {self.layer}.")
