"""How one clip's speech is scored: what a measure is, and what it is given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from math import isnan

import numpy as np
import torch

from ..errors import Lip2SpeechError
from ..models.modeling_speaker_encoder import SpeakerEncoder
from .syncnet import SyncNet
from .systems import Reference

Numbers = dict[str, float | None]  # one clip's columns; None where a measure is not defined on it


@dataclass(frozen=True)
class Case:
    """One clip's speech and what it is compared with.

    Attributes:
        speech: float32 (N,) in [-1, 1], 16 kHz.
        reference: The truth: the clip's own, or in the shuffled row another clip's.
        heard: What the recogniser heard in it, None without a recogniser.
        units: int64 (2T,), the units from which it was spoken, where they were predicted.
        faces: uint8 (T, 224, 224, 3), where lip-sync is scored.
        shuffled: The reference is another clip's: what needs none says nothing new.
    """

    speech: np.ndarray
    reference: Reference
    heard: str | None = None
    units: np.ndarray | None = None
    faces: np.ndarray | None = None
    shuffled: bool = False


class OncePerFace:
    """SyncNet for several sounds of one face, which it embeds once: that is nearly all of its work."""

    def __init__(self, network: SyncNet):
        self.embed_sound = network.embed_sound
        self._network = network
        self._faces: np.ndarray | None = None
        self._seen: torch.Tensor | None = None

    def embed_faces(self, faces: np.ndarray) -> torch.Tensor:
        """As `SyncNet.embed_faces`."""
        if self._seen is None or faces is not self._faces:
            self._faces, self._seen = faces, self._network.embed_faces(faces)
        return self._seen


@dataclass
class Tools:
    """Models that measures need besides the signals."""

    syncnet: OncePerFace | None = None

    @cached_property
    def speaker_encoder(self) -> SpeakerEncoder:
        return SpeakerEncoder.bundled()


@dataclass(frozen=True)
class Measure:
    """One column.

    Attributes:
        key: Its name in results.json and the Parquet file.
        label: Its name in a table.
        about: What it is, its range and source.
        alignment: What it does about time: a key of `alignment.ALIGNMENT`.
        compute: (case, tools) -> the clip's numbers, by `columns`.
        better: "higher", "lower", or "zero".
        statistic: How clips become one figure: their "mean" or "median", or a "ratio": the sum of the first
            of `columns` over that of the second.
        columns: The clip's numbers that it needs.
        factor: What it is multiplied with to be shown.
        digits: Shown after the point.
        main: Stands in the first table.
        needs: A package without which it is left out, and the extra that brings it.
    """

    key: str
    label: str
    about: str
    alignment: str
    compute: Callable[[Case, Tools], Numbers]
    better: str = "lower"
    statistic: str = "mean"
    columns: tuple[str, ...] = ()
    factor: float = 1.0
    digits: int = 3
    main: bool = False
    needs: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", self.columns or (self.key,))

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def show(self, value: float) -> str:
        """A value as tables have it."""
        text = f"{self.factor * value:.{self.digits}f}"
        return text.removeprefix("-") if float(text) == 0 else text


def score(case: Case, tools: Tools, measures: Sequence[Measure]) -> Numbers:
    """All numbers of a clip's speech; None where a measure is not defined on it (noise has no pitch)."""
    numbers: Numbers = {}
    found: dict[Callable, Numbers] = {}
    for measure in measures:
        if measure.compute not in found:
            try:
                found[measure.compute] = measure.compute(case, tools)
            except Lip2SpeechError:  # counted in the row, not hidden in its mean
                found[measure.compute] = {}
        for column in measure.columns:
            value = found[measure.compute].get(column)
            numbers[column] = None if value is None or isnan(value) else value
    return numbers
