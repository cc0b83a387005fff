"""The named voices of a model: speaker embeddings in a file beside the weights."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ..loading import file_beside, json_object

VOICES = "voices.safetensors"  # beside the weights: a speaker embedding float32 (256,) per name
FACE = "face"  # in place of a voice's name: that which the model predicts from the face
FACE_FRAMES = 500  # of a clip, from whose beginning it is predicted
Embedding = Sequence[float] | torch.Tensor | np.ndarray


def read_voices(source: str | os.PathLike, **arguments: Any) -> dict[str, torch.Tensor]:
    """The speaker embeddings float32 (256,) by name in a folder or repository; empty where it has none.

    Args:
        arguments: those of `from_pretrained` about the Hub.
    """
    config = file_beside(source, "config.json", arguments)
    named = json_object(config).get("voices") if config else None
    if isinstance(named, dict):  # version 0.1 stored the embeddings there
        return {name: torch.tensor(value) for name, value in named.items()}
    path = file_beside(source, VOICES, arguments)
    found = load_file(path) if path else {}
    return {name: found[name] for name in [*(named or ()), *found] if name in found}


def write_voices(folder: str | os.PathLike, voices: Mapping[str, Embedding]) -> None:
    """Write what `read_voices` reads into a model's folder; no file where there are no voices."""
    path = Path(folder) / VOICES
    path.unlink(missing_ok=True)
    if voices:
        tensors = {
            name: torch.as_tensor(value, dtype=torch.float32).flatten().contiguous()
            for name, value in voices.items()
        }
        save_file(tensors, path, {"format": "pt"})
