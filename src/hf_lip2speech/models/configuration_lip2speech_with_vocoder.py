"""Configuration of the composite: lip-to-speech model, vocoder and named voices under one roof."""

import math

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..loading import StrictConfigMixin
from .configuration_lip2speech import Lip2SpeechConfig
from .configuration_unit_vocoder import UnitVocoderConfig

_SHARED_SIZES = ("num_units", "num_mel_bins", "speaker_embedding_dim")


@strict
class Lip2SpeechWithVocoderConfig(StrictConfigMixin, PreTrainedConfig):
    """What a repository with a complete lip-to-speech system holds.

    Args:
        lip2speech: config (or its dict) of the model that turns video into units and mel.
        vocoder: config (or its dict) of the model that turns units and mel into a waveform.
        voices: speaker embeddings by name, each a list of `speaker_embedding_dim` (256) numbers.
        default_voice: the voice spoken with when the caller names none; one of `voices`. With exactly one
            voice it may be left out.
    """

    model_type = "lip2speech_with_vocoder"
    sub_configs_defaults = {"lip2speech": Lip2SpeechConfig, "vocoder": UnitVocoderConfig}

    lip2speech: dict | PreTrainedConfig | None = None
    vocoder: dict | PreTrainedConfig | None = None
    voices: dict | None = None
    default_voice: str | None = None

    def __post_init__(self, **kwargs):
        voices = self.voices or {}
        self.voices = {name: [float(value) for value in embedding] for name, embedding in voices.items()}
        if self.default_voice is None and len(self.voices) == 1:
            (self.default_voice,) = self.voices
        super().__post_init__(**kwargs)

    @property
    def sampling_rate(self) -> int:
        """Of the waveform, in hertz."""
        return self.vocoder.sampling_rate

    def to_dict(self) -> dict:
        """As `PreTrainedConfig.to_dict`, without the folders that the parts were loaded from."""
        contents = super().to_dict()
        for part in self.sub_configs_defaults:
            contents[part].pop("_name_or_path", None)
        return contents

    def validate_parts_agree(self):
        """What one part gives is what the other takes."""
        for name in _SHARED_SIZES:
            ours, theirs = getattr(self.lip2speech, name), getattr(self.vocoder, name)
            if ours != theirs:
                raise ValueError(
                    f"The lip-to-speech model has {name} {ours} and the vocoder {theirs}: they must be "
                    "trained for the same units, mel and speaker embeddings to speak together."
                )

    def validate_voices(self):
        """Every voice is a finite, non-zero vector of the right size, and the default is one of them."""
        size = self.lip2speech.speaker_embedding_dim
        for name, embedding in self.voices.items():
            if (
                len(embedding) != size
                or not all(math.isfinite(value) for value in embedding)
                or not any(embedding)
            ):
                raise ValueError(
                    f"The voice {name!r} is not a speaker embedding: expected {size} finite numbers, not "
                    f"all zero; got {len(embedding)} numbers."
                )
        if self.default_voice is not None and self.default_voice not in self.voices:
            raise ValueError(
                f"default_voice {self.default_voice!r} is not among the voices: "
                f"{', '.join(self.voices) or 'none given'}."
            )


__all__ = ["Lip2SpeechWithVocoderConfig"]
