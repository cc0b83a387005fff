"""What a published file holds: one of four kinds, told by the names in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from .names import AVHUBERT_PREFIX
from .unpickle import read_checkpoint, setting


class Kind(Enum):
    """The four kinds, each with what a reader would call it."""

    LIP2SPEECH = "multi-target lip-to-speech model"
    LIP2SPEECH_AVHUBERT = "multi-target lip-to-speech model on AV-HuBERT"
    VOCODER = "multi-input vocoder"
    AVHUBERT = "AV-HuBERT pre-training model"


# Names that every file of the kind has and no file of another kind.
_SIGNS = {
    Kind.LIP2SPEECH: ("encoder.encoder.frontend.", "encoder.proj_out.", "encoder.mel_"),
    Kind.LIP2SPEECH_AVHUBERT: (AVHUBERT_PREFIX, "conformer."),
    Kind.AVHUBERT: ("feature_extractor_video.", "encoder.layers."),
}


@dataclass(frozen=True)
class PublishedFile:
    """A published checkpoint, read.

    Attributes:
        path: where it was read.
        kind: what it is.
        tensors: by their published names.
        settings: the training's configuration (fairseq's `cfg`), or the vocoder's config.json; None where
            there is none. Read it with `setting`.
    """

    path: Path
    kind: Kind
    tensors: Mapping[str, torch.Tensor]
    settings: Any


def read_published(path: str | Path) -> PublishedFile:
    """Read a published checkpoint and say what it is; nothing in it is run.

    Raises:
        CheckpointError: it is none of the four kinds, or cannot be read; UnsafeCheckpointError where it would
            run code.
        OSError: it cannot be opened.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder; expected the checkpoint file itself. Name the file in it: "
            f"{', '.join(sorted(entry.name for entry in path.iterdir())[:8]) or 'it is empty'}."
        )
    checkpoint = read_checkpoint(path)
    parts = checkpoint if isinstance(checkpoint, Mapping) else {}
    for part, kinds in (("generator", [Kind.VOCODER]), ("model", list(_SIGNS))):
        tensors = parts.get(part)
        if not isinstance(tensors, Mapping):
            continue
        for kind in kinds:
            signs = _SIGNS.get(kind, ("resblocks.", "ups."))
            if all(any(str(name).startswith(sign) for name in tensors) for sign in signs):
                settings = _vocoder_settings(path) if kind is Kind.VOCODER else setting(parts, "cfg")
                return PublishedFile(path, kind, _checked(path, tensors), settings)
    held = ", ".join(map(str, parts)) or type(checkpoint).__name__
    names = [str(name) for part in parts.values() if isinstance(part, Mapping) for name in part]
    raise CheckpointError(
        f"{path} is no checkpoint that can be converted: it holds {held}"
        f"{' with ' + ', '.join(names[:3]) + ', ...' if names else ''}. Expected a published "
        f"{', '.join(kind.value for kind in Kind)}."
    )


def _checked(path: Path, tensors: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    for name, value in tensors.items():
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f"{path}: {name} is a {type(value).__name__}; expected a tensor.")
    return {str(name): value for name, value in tensors.items()}


def _vocoder_settings(path: Path) -> Any:
    config = path.parent / "config.json"
    if not config.is_file():
        return None
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{config} is not JSON ({error}); expected the vocoder's settings.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{config} holds a {type(settings).__name__}; expected the vocoder's settings.")
    return settings
