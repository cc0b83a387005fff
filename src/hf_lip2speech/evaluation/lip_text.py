"""The text that the model under test reads from the lips of a clip."""

from typing import Any

import numpy as np

from ..data.corpora import GRID_SENTENCE
from ..pipeline import LipToSpeechPipeline
from ..text.beam_search import word_graph
from ..text.transcripts import transcribe

FREE, GRAMMAR = "free", "grammar"  # how the text head is read


class LipText:
    """Reads lips with a pipeline's text head: "free", of the words that the model knows, and for clips of
    GRID "grammar", the most likely of its sentences; {} with a model without text head.

    Args:
        speak: The pipeline under test.
        grid: Whether the clips say sentences of GRID.
    """

    def __init__(self, speak: LipToSpeechPipeline, grid: bool):
        self._model: Any = speak.model
        self._extractor: Any = speak.feature_extractor
        config = self._model.config.lip2speech
        self._characters = config.text_vocabulary
        self._graphs: dict[str, Any] = {}
        if self._characters is not None:
            words = config.vocabulary
            self._graphs[FREE] = None if words is None else word_graph(words, self._characters)
            if grid:
                slots = [list(slot.values()) for slot in GRID_SENTENCE]
                self._graphs[GRAMMAR] = word_graph(slots, self._characters)

    def __call__(self, mouth: np.ndarray, frames: int) -> dict[str, str]:
        """The texts of a clip: uint8 (T, 96, 96), the model's input, of which `frames` frames count."""
        if not self._graphs:
            return {}
        inputs = self._extractor(mouth, return_tensors="pt")  # all frames: the model saw them
        logits = self._model.read_text(inputs["pixel_values_videos"])[0]
        logits = logits[: frames * (len(logits) // len(mouth))].cpu()
        return {
            how: transcribe(logits, self._characters, graph=graph)["text"]
            for how, graph in self._graphs.items()
        }
