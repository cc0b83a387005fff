"""Presets of an evaluation: whose table it is to be comparable with, and where it still differs."""

from dataclasses import dataclass

from ..errors import Lip2SpeechError


@dataclass(frozen=True)
class Protocol:
    """How words and voices are judged.

    `follows` and `differs` say whose table it is, and what is not as there; the others are names for
    `choose_recogniser`, `choose_normaliser`, `XVectorEncoder` (None: the default), and the language that a
    multilingual Whisper is told (None: it guesses).
    """

    follows: str = ""
    differs: str = ""
    recogniser: str | None = None
    normaliser: str | None = None
    speaker_encoder: str | None = None
    language: str | None = None


PROTOCOLS = {
    "grid": Protocol(
        follows="this package's tables of GRID",
        differs="papers on GRID use recognisers trained on it, whose errors are far fewer",
        recogniser="grid",
    ),
    "aligndit": Protocol(
        follows="AlignDiT (arXiv 2504.20629) on LRS3, by its public scoring script",
        differs="there the recogniser may fall back to sampling; the voice is compared with another clip of "
        "the speaker, by the WavLM-Large of UniSpeech, which transformers does not load",
        recogniser="whisper:large-v3",
        speaker_encoder="microsoft/wavlm-base-plus-sv",
    ),
    "whisper": Protocol(
        follows="no single paper: WER by transformers' Whisper large-v3 with its own normaliser, speaker "
        "similarity by WavLM, the two that recent papers name",
        differs="papers seldom name the size of the recogniser, the normaliser or the encoder's weights",
        recogniser="openai/whisper-large-v3",
        normaliser="whisper",
        speaker_encoder="microsoft/wavlm-base-plus-sv",
        language="en",
    ),
}


def find_protocol(name: str | None) -> Protocol:
    """The preset of a name; None: the defaults. A Lip2SpeechError where there is none."""
    if name is not None and name not in PROTOCOLS:
        raise Lip2SpeechError(f"There is no protocol {name!r}: expected one of {', '.join(PROTOCOLS)}.")
    return Protocol() if name is None else PROTOCOLS[name]
