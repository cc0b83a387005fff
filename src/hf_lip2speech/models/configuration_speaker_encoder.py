"""Configuration of the speaker encoder."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..constants import SPEAKER_EMBEDDING_DIM
from ..loading import ASSETS, StrictConfigMixin
from .configuration_avhubert import check_finite, check_positive


@strict
class SpeakerEncoderConfig(StrictConfigMixin, PreTrainedConfig):
    """Sizes of the GE2E speaker encoder and of the windows that it averages over.

    Source: Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018.

    Args:
        num_mel_bins: bins of the input power mel.
        hidden_size: width of the LSTM.
        num_hidden_layers: layers of the LSTM.
        embedding_dim: length of a speaker embedding.
        window_frames: mel frames (10 ms each) in one of the windows over which an utterance is averaged.
        window_step: mel frames from one window's start to the next one's.
        min_coverage: the last window is dropped if a smaller part of it than this is in the utterance.
        target_dbfs: quieter recordings are amplified to this level, decibels relative to full scale.
    """

    model_type = "lip2speech_speaker_encoder"
    former_model_types = ("speaker_encoder",)
    bundled_folder = ASSETS / "speaker_encoder"

    num_mel_bins: int = 40
    hidden_size: int = 256
    num_hidden_layers: int = 3
    embedding_dim: int = SPEAKER_EMBEDDING_DIM
    window_frames: int = 160
    window_step: int = 80
    min_coverage: float = 0.75
    target_dbfs: float = -30.0

    def validate_windows(self):
        """Raise a ValueError unless the windows cover an utterance without gaps."""
        check_positive(
            self, "num_mel_bins", "hidden_size", "num_hidden_layers", "embedding_dim", "window_frames"
        )
        check_finite(self)
        if not 0 < self.window_step <= self.window_frames:
            raise ValueError(
                f"window_step must be 1 to window_frames ({self.window_frames}), got {self.window_step}."
            )
        if not 0 < self.min_coverage <= 1:
            raise ValueError(f"min_coverage must be in (0, 1], got {self.min_coverage}.")
