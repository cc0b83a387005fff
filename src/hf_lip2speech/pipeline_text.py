"""The pipeline's text: its arguments, and the text of a clip."""

from typing import Any

import numpy as np
import torch

from .constants import UNITS_PER_FRAME
from .errors import Lip2SpeechError
from .models.configuration_lip2speech import Lip2SpeechConfig
from .text.characters import BLANK
from .text.transcripts import transcribe
from .text.word_graph import WordGraph, word_graph

OF_SPEECH = ("return_spectrogram", "return_units", "return_f0")
MOST_HYPOTHESES = 64  # the width of the beam
UNSEEN = -100.0  # log-odds of a character where nobody is seen


def text_parameters(
    given: dict[str, Any], flags: dict[str, bool], config: Lip2SpeechConfig, defaults: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of a call about text, taken out of `given` and checked -> arguments of `read_text`, and
    `return_audio`.

    Args:
        given: Arguments of a call.
        flags: Others of the call.
        config: Of the lip-to-speech model.
        defaults: What `read_text` gets where a call does not say.

    Raises:
        Lip2SpeechError: A wrong value, or the model has no text head.
    """
    parameters: dict[str, Any] = {}
    return_text = given.pop("return_text", None)
    if return_text is not None:
        if not isinstance(return_text, bool) and return_text != "char":
            raise Lip2SpeechError(f'return_text must be True, False or "char", got {return_text!r}.')
        if return_text:
            check_reads_text(config, f"return_text={return_text!r}")
        parameters["return_text"] = return_text
    wanted = parameters.get("return_text", defaults.get("return_text"))
    number, vocabulary = given.pop("num_hypotheses", None), given.pop("vocabulary", None)
    for name, value in (("num_hypotheses", number), ("vocabulary", vocabulary)):
        if value is not None and not wanted:
            raise Lip2SpeechError(f"{name} is about the text: give return_text=True with it.")
    return_audio = given.pop("return_audio", None)
    if return_audio is not None:
        if not isinstance(return_audio, bool):
            raise Lip2SpeechError(f"return_audio must be True or False, got {return_audio!r}.")
        others = [name for name in OF_SPEECH if flags.get(name)]
        if not return_audio and (others or not wanted):
            raise Lip2SpeechError(
                "return_audio=False is for the text alone: give return_text=True with it"
                + (f", and leave out {', '.join(others)}." if others else ".")
            )
        parameters["return_audio"] = return_audio
    if number is not None:
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_HYPOTHESES:
            raise Lip2SpeechError(
                f"num_hypotheses must be a whole number from 1 to {MOST_HYPOTHESES}, got {number!r}."
            )
        parameters["num_hypotheses"] = number
    if vocabulary is not None:
        parameters["graph"] = word_graph(vocabulary, config.text_vocabulary or "")
    return parameters


def check_reads_text(config: Lip2SpeechConfig, asked: str) -> None:
    """
    Raises:
        Lip2SpeechError: The model has no text head.
    """
    if config.text_vocabulary is None:
        raise Lip2SpeechError(
            f"{asked} needs a model with a text head, and this one has none (the text_vocabulary of its "
            "config is None): leave it out, or train a model with one (docs/training.md)."
        )


def read_text(
    text_logits: np.ndarray,
    face_mask: np.ndarray,
    config: Lip2SpeechConfig,
    return_text: bool | str = True,
    num_hypotheses: int = 1,
    graph: WordGraph | None = None,
) -> dict[str, Any]:
    """What a call adds to its result, see `transcribe`; nothing is read where nobody is seen.

    Args:
        text_logits: (2T, V + 1) of the clip.
        face_mask: bool (T,).
    """
    logits = torch.from_numpy(text_logits)
    unseen = torch.from_numpy(~np.repeat(face_mask, UNITS_PER_FRAME))
    logits[unseen] = UNSEEN
    logits[unseen, BLANK] = 0.0
    return transcribe(
        logits,
        config.text_vocabulary or "",
        graph=graph,
        num_hypotheses=num_hypotheses,
        return_characters=return_text == "char",
    )
