"""How many speech units are right: in their place, and in their order."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from ..errors import MetricError
from .transcripts import word_errors

Units = Sequence[int] | np.ndarray


def _unit_lists(references: Sequence[Units], units: Sequence[Units]) -> list[tuple[np.ndarray, np.ndarray]]:
    if not len(references) or len(references) != len(units):
        raise MetricError(
            f"{len(references)} reference and {len(units)} other sequences of units were given; as many of "
            "one as of the other, and at least one, were expected."
        )
    pairs = [(np.asarray(true), np.asarray(given)) for true, given in zip(references, units, strict=True)]
    for index, (true, given) in enumerate(pairs):
        if true.ndim != 1 or given.ndim != 1 or not len(true):
            raise MetricError(
                f"clip {index} has units of shapes {true.shape} and {given.shape}; (U,) with U > 0 for the "
                "reference and (V,) were expected."
            )
        if not all(np.issubdtype(array.dtype, np.integer) for array in (true, given) if len(array)):
            raise MetricError(
                f"clip {index} has units of type {true.dtype} and {given.dtype}; integers were expected."
            )
    return pairs


def unit_accuracy(references: Sequence[Units], units: Sequence[Units]) -> float:
    """The share of 20 ms steps that have the right unit, 0 to 1: what the published training selects by.

    Over all steps of all references together. Step i is compared with step i: nothing is shifted; steps
    beyond the reference's end do not count, steps that are missing before it are wrong. Choi, Kim, Ro,
    "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023.

    Args:
        references: N sequences (U,) of true units at 50 Hz, repeats kept, U > 0.
        units: N sequences (V,) of units to score.

    Raises:
        MetricError: the numbers of sequences differ, there is none, or one is not a sequence of integers.
    """
    right = total = 0
    for true, given in _unit_lists(references, units):
        common = min(len(true), len(given))
        right += int((true[:common] == given[:common]).sum())
        total += len(true)
    return right / total


def unit_error_rate(references: Sequence[Units], units: Sequence[Units]) -> float:
    """Edits (Levenshtein) between the sequences of units over the references' length, 0 upwards.

    Runs of one unit are collapsed to one on both sides first, as in work on textless speech (Lakhotia et al.,
    "On Generative Spoken Language Modeling from Raw Audio", TACL 2021), so what is said counts, not when.
    Over all references together. Arguments and errors as in `unit_accuracy`; needs jiwer (extra eval).
    """
    pairs = _unit_lists(references, units)
    written = [[" ".join(str(unit) for unit, _ in groupby(side.tolist())) for side in pair] for pair in pairs]
    return word_errors([true for true, _ in written], [given for _, given in written]).rate
