"""What the lips alone say in words: the text head's reading of a clip, without any sound."""

from typing import Any

import numpy as np

from ..data.corpora.grid import GRID_SENTENCE
from ..pipeline import LipToSpeechPipeline
from ..text.transcripts import transcribe
from ..text.word_graph import word_graph

GREEDY, GRAMMAR = "greedy", "grammar"


def read_lips(pipe: LipToSpeechPipeline, mouth: np.ndarray, frames: int, grid: bool) -> dict[str, str]:
    """The texts that a clip's lips say.

    Args:
        pipe: The pipeline under test.
        mouth: uint8 (T, 96, 96), the model's input.
        frames: How many of them count.
        grid: Whether the clips say sentences of GRID.

    Returns:
        "greedy", the most likely characters, and for GRID "grammar", the most likely of its sentences; {} for
        a model without text head.
    """
    model: Any = pipe.model
    extractor: Any = pipe.feature_extractor
    characters = model.config.lip2speech.text_vocabulary
    if characters is None:
        return {}
    inputs = extractor(mouth, return_tensors="pt")  # all frames: the model saw them
    logits = model.read_text(inputs["pixel_values_videos"])[0]
    logits = logits[: frames * (len(logits) // len(mouth))].cpu()
    texts = {GREEDY: transcribe(logits, characters)["text"]}
    if grid:
        graph = word_graph([list(words.values()) for words in GRID_SENTENCE], characters)
        texts[GRAMMAR] = transcribe(logits, characters, graph=graph)["text"]
    return texts
