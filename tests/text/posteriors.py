"""Posteriors made for a text, at the times that are given."""

import torch

from hf_lip2speech.text.characters import ENGLISH, encode_text


def spoken(text: str, characters: str = ENGLISH, confidence: float = 0.9, spacing: int = 4) -> torch.Tensor:
    """Logits (N, V + 1) in which character i is said at the positions 2 + spacing * i and the one after, and
    the blank elsewhere, each with the given probability."""
    classes = encode_text(text, characters)
    path = torch.zeros(spacing * len(classes) + 4, dtype=torch.long)
    for index, character in enumerate(classes):
        path[2 + spacing * index : 4 + spacing * index] = character
    rest = (1 - confidence) / len(characters)
    return torch.full((len(path), len(characters) + 1), rest).scatter(1, path[:, None], confidence).log()
