"""The pipeline's text: its arguments, and the text of a clip."""

import warnings
from typing import Any

import numpy as np
import torch

from .constants import UNITS_PER_FRAME
from .errors import Lip2SpeechError
from .models.configuration_lip2speech import Lip2SpeechConfig
from .text.alignment import word_scores
from .text.characters import BLANK, SPACE, decode_text, encode_text
from .text.transcripts import WordGraph, align_transcript, calibrated, clip_confidence, transcribe, word_graph

OF_TEXT = ("text_ids", "return_text", "return_audio", "num_hypotheses", "vocabulary")
OF_SPEECH = ("return_spectrogram", "return_units", "return_f0")
MOST_HYPOTHESES = 64  # the width of the beam
LOW_CONFIDENCE = 0.5  # of a clip: more of its words are wrong than right
SINGLE = (str, bytes, bytearray, memoryview, dict, np.ndarray, torch.Tensor)  # inputs that have a length
ANYTHING = "any"  # vocabulary
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
    if "text" in given:
        raise Lip2SpeechError("text belongs to a call, not to the pipeline: pipe(video, text=...).")
    asked = {name: given.pop(name) for name in OF_TEXT if name in given}
    return_text = asked.get("return_text", defaults.get("return_text"))
    if "return_text" in asked:
        if not isinstance(return_text, bool) and return_text != "char":
            raise Lip2SpeechError(f'return_text must be True, False or "char", got {return_text!r}.')
        if return_text:
            check_reads_text(config, f"return_text={return_text!r}")
    for name in (name for name in ("num_hypotheses", "vocabulary") if name in asked):
        if not return_text:
            raise Lip2SpeechError(f"{name} is about the text: give return_text=True with it.")
        if "text_ids" in asked:
            raise Lip2SpeechError(f"text says what is said: leave {name} out.")
    return_audio, number = asked.get("return_audio", True), asked.get("num_hypotheses", 1)
    if not isinstance(return_audio, bool):
        raise Lip2SpeechError(f"return_audio must be True or False, got {return_audio!r}.")
    others = [name for name in OF_SPEECH if flags.get(name)]
    if not return_audio and (others or not return_text):
        raise Lip2SpeechError(
            "return_audio=False is for the text alone: give return_text=True with it"
            + (f", and leave out {', '.join(others)}." if others else ".")
        )
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_HYPOTHESES:
        raise Lip2SpeechError(
            f"num_hypotheses must be a whole number from 1 to {MOST_HYPOTHESES}, got {number!r}."
        )
    vocabulary = asked.pop("vocabulary", None)
    if vocabulary is None and "graph" not in defaults:
        vocabulary = config.vocabulary
    if vocabulary is not None:
        anything = isinstance(vocabulary, str) and vocabulary == ANYTHING
        asked["graph"] = None if anything else word_graph(vocabulary, config.text_vocabulary or "")
    return asked


def encode_texts(text: Any, inputs: Any, config: Lip2SpeechConfig) -> list[list[int]]:
    """The argument `text` of a call -> the classes of its characters: one list for all inputs, or one for
    each.

    Raises:
        Lip2SpeechError: It is no text, there are more or fewer than inputs, one holds nothing that can be
            said or a character that the model does not know, or the model cannot be told what to say.
    """
    texts = [text] if isinstance(text, str) else list(text) if isinstance(text, (list, tuple)) else []
    if not texts or not all(isinstance(one, str) for one in texts):
        raise Lip2SpeechError(
            f"text is a {type(text).__name__}: expected what is to be said (str), or a list of as many texts "
            "as inputs."
        )
    if config.text_conditioner_size is None:
        raise Lip2SpeechError(
            "text= needs a model that can be told what to say, and this one cannot (text_conditioner_size "
            "of its config is None): leave it out, or train a model with it (docs/training.md)."
        )
    if not isinstance(text, str):
        rows = hasattr(inputs, "__len__") and not isinstance(inputs, SINGLE)
        if not rows or len(inputs) != len(texts):
            given = f"{len(inputs)} inputs" if rows else f"a {type(inputs).__name__}"
            raise Lip2SpeechError(
                f"{len(texts)} texts were given for {given}: give one text (str) for all inputs, or as many "
                "texts as the list of inputs has."
            )
    encoded = [encode_text(one, config.text_vocabulary or "") for one in texts]
    for one, ids in zip(texts, encoded, strict=True):
        if not ids:
            raise Lip2SpeechError(f"The text {one!r} holds nothing that can be said.")
    return encoded


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
    return_text: bool | str = False,
    num_hypotheses: int = 1,
    graph: WordGraph | None = None,
    text_ids: list[int] | None = None,
) -> dict[str, Any]:
    """What a call adds to its result: "confidence", and on request the text, see `transcribe`. Nothing is
    read where nobody is seen, and a clip of low confidence gives a warning.

    Args:
        text_logits: (2T, V + 1) of the clip.
        face_mask: bool (T,).
        text_ids: Of a text that was given; its words are looked for then, and those that the lips cannot be
            saying are named in one warning.
    """
    characters = config.text_vocabulary or ""
    logits = torch.from_numpy(text_logits)
    unseen = torch.from_numpy(~np.repeat(face_mask, UNITS_PER_FRAME))
    logits[unseen] = UNSEEN
    logits[unseen, BLANK] = 0.0
    if SPACE in characters:  # a gap ends a word
        gaps = unseen.clone()
        gaps[1:] &= ~unseen[:-1]
        logits[gaps, list(characters).index(SPACE) + 1] = 1.0
    characters_too = return_text == "char"
    free = asked = transcribe(logits, characters, return_characters=characters_too)
    if text_ids:
        text = decode_text(text_ids, characters)
        scores = word_scores(logits, text, characters)
        if unlikely := [word for word, score in scores if score < config.unlikely_word_score]:
            warnings.warn(
                f"the lips do not seem to say {', '.join(map(repr, unlikely))} of the text {text!r}: it is "
                "said where it fits best, and may be hard to understand there",
                stacklevel=2,
            )
        asked = align_transcript(logits, text, characters, characters_too)
    elif return_text and (graph is not None or num_hypotheses > 1):
        asked = transcribe(
            logits, characters, graph=graph, num_hypotheses=num_hypotheses, return_characters=characters_too
        )
    said = [free, asked, *asked.get("hypotheses", [])]
    for word in {id(word): word for one in said for word in one["words"]}.values():  # each once
        word["confidence"] = calibrated(word["confidence"], config.text_calibration)
    confidence = clip_confidence(free["words"], logits)
    if confidence < LOW_CONFIDENCE and not text_ids:
        warnings.warn(
            f"the model is not sure of what these lips say (confidence {confidence:.2f}), and the speech is "
            "likely to be wrong: it knows the words, people and views that it was trained on. A face from "
            "the front, close and well lit, or a vocabulary or the text of what is said may help",
            stacklevel=3,
        )
    return {"confidence": confidence} | (asked if return_text else {})
