"""Configuration of the composite: a lip-to-speech model, a vocoder, perhaps a mel flow, and named voices."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ..constants import SAMPLING_RATE
from ..loading import StrictConfigMixin
from .configuration_lip2speech import Lip2SpeechConfig
from .configuration_mel_flow import MelFlowConfig
from .configuration_unit_vocoder import UnitVocoderConfig

SHARED_SIZES = ("num_units", "num_mel_bins", "speaker_embedding_dim")


@strict
class Lip2SpeechWithVocoderConfig(StrictConfigMixin, PreTrainedConfig):
    """What the config.json of a complete lip-to-speech system holds.

    Args:
        lip2speech: config (or its dict) of the model that turns video into units and mel.
        vocoder: config (or its dict) of the model that turns units and mel into a waveform.
        mel_flow: config (or its dict) of the post-net that turns the predicted mel into a sample; None: the
            vocoder speaks the predicted mel.
        voices: names of the voices; their speaker embeddings are in the model and its voices.safetensors.
            A dictionary (version 0.1 stored the embeddings here) counts as the list of its keys.
        default_voice: the voice used when the caller names none; one of `voices`. With exactly one voice it
            can be left out.
    """

    model_type = "lip2speech_with_vocoder"
    sub_configs_defaults = {
        "lip2speech": Lip2SpeechConfig,
        "vocoder": UnitVocoderConfig,
        "mel_flow": SubConfigSpec(config_class=MelFlowConfig, optional=True),
    }

    lip2speech: dict | PreTrainedConfig | None = None
    vocoder: dict | PreTrainedConfig | None = None
    mel_flow: dict | PreTrainedConfig | None = None
    voices: list | tuple | dict | None = None
    default_voice: str | None = None

    def __post_init__(self, **kwargs):
        self.voices = list(self.voices or ())
        if self.default_voice is None and len(self.voices) == 1:
            self.default_voice = self.voices[0]
        super().__post_init__(**kwargs)

    @property
    def sampling_rate(self) -> int:
        """Of the waveform, in hertz."""
        return SAMPLING_RATE

    def to_dict(self) -> dict:
        """As `PreTrainedConfig.to_dict`, without parts that there are not."""
        contents = super().to_dict()
        absent = [part for part in self.sub_configs_defaults if contents[part] is None]
        return {name: value for name, value in contents.items() if name not in absent}

    def validate_input(self):
        """The lip-to-speech model reads video."""
        if self.lip2speech is not None and self.lip2speech.num_visual_units is not None:
            raise ValueError(
                "The lip-to-speech model reads visual units, not video: train it on video first, with "
                "init_from=RUN/best model.num_visual_units=null."
            )

    def validate_parts_agree(self):
        """The parts have the same units, mel and speaker embeddings."""
        for part, called in ((self.vocoder, "vocoder"), (self.mel_flow, "mel flow")):
            for name in SHARED_SIZES if part is not None else ():
                ours, theirs = getattr(self.lip2speech, name), getattr(part, name)
                if ours != theirs:
                    raise ValueError(
                        f"The lip-to-speech model has {name} {ours} and the {called} {theirs}: they must be "
                        "trained for the same units, mel and speaker embeddings to speak together."
                    )

    def validate_voices(self):
        """The default voice is one of the voices."""
        if self.default_voice is not None and self.default_voice not in self.voices:
            raise ValueError(
                f"default_voice {self.default_voice!r} is not among the voices: "
                f"{', '.join(self.voices) or 'none given'}."
            )


__all__ = ["Lip2SpeechWithVocoderConfig"]
