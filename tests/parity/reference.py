"""A folder of reference numbers: what the published code computes with weights that follow from their names.

KIND_spec.json (or .json.gz): {published name: [shape, ...]} of each kind of file; cfg_*.json: its settings,
where there are any; *.npz: outputs; *.json: losses and gradient norms; fingerprint.json: a few weights.
"""

import gzip
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from hf_lip2speech.conversion.convert import load_published
from hf_lip2speech.errors import Lip2SpeechError

from .deterministic import weight

_SETTINGS = {
    "l2s": "cfg_l2s.json",
    "avh_base": "cfg_l2s_avhubert_base.json",
    "avh_large": "cfg_l2s_avhubert_large.json",
}


class ReferenceError(Lip2SpeechError):
    """The folder holds no reference numbers, or weights come out otherwise here than where they were made."""


@dataclass(frozen=True)
class Row:
    """One quantity of one case: how far it is from the published value, and how far it may be."""

    case: str
    quantity: str
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.error <= self.limit  # false for nan


class Reference:
    """Reads such a folder; what it does not hold is None, and its cases are left out."""

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        if not (self.directory / "fingerprint.json").is_file():
            raise ReferenceError(
                f"{self.directory} has no fingerprint.json: give the folder with the reference numbers."
            )

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """Of NAME.npz."""
        path = self.directory / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as arrays:
            return dict(arrays)

    def document(self, name: str) -> Any:
        """Of the JSON file NAME, or of NAME.gz."""
        path = self.directory / name
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        packed = path.with_name(f"{name}.gz")
        return json.loads(gzip.decompress(packed.read_bytes())) if packed.is_file() else None

    def weights(self, kind: str) -> dict[str, torch.Tensor] | None:
        """All tensors of a kind of file, under their published names.

        Raises:
            ReferenceError: they are not those of the fingerprint.
        """
        spec = self.document(f"{kind}_spec.json")
        if spec is None:
            return None
        shapes = {name: tuple(entry[0]) for name, entry in spec.items()}
        weights = {name: torch.from_numpy(np.asarray(weight(name, shapes))) for name in shapes}
        for name, first in self.document("fingerprint.json")[kind]["first3"].items():
            ours = weights[name].flatten()[: len(first)]
            if not torch.allclose(ours, torch.tensor(first), rtol=1e-6, atol=0):
                raise ReferenceError(
                    f"{name} starts with {ours.tolist()}; the reference was made with {first}. numpy "
                    f"{np.__version__} draws otherwise: use one that draws the same."
                )
        return weights

    def model(self, kind: str) -> PreTrainedModel | None:
        """The model that the converter makes of such a file, which is written and read for it."""
        weights = self.weights(kind)
        if weights is None:
            return None
        part = "generator" if kind == "vocoder" else "model"
        settings = self.document(_SETTINGS[kind]) if kind in _SETTINGS else None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "checkpoint.pt"
            torch.save({part: weights, "cfg": settings}, path)
            del weights
            return load_published(path).model


def distance(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Largest absolute difference; infinite between different shapes."""
    actual = actual.detach()
    if tuple(actual.shape) != expected.shape:
        return float("inf")
    return float((actual - torch.from_numpy(expected)).abs().max())


def relative(actual: float, expected: float) -> float:
    return abs(float(actual) - expected) / abs(expected)
