"""How sure a mean over few clips is: percentile bootstrap intervals, drawn over clips.

Efron, Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; for word error rates Bisani, Ney,
"Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP 2004): a draw takes whole
clips, and its rate is the errors of the clips drawn over their words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import MetricError

RESAMPLES = 10_000
CONFIDENCE = 0.95
_AT_ONCE = 2_000_000  # indices drawn at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


def interval(
    numerators: Sequence[float],
    denominators: Sequence[float] | None = None,
    *,
    statistic: str = "mean",
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
) -> Interval:
    """The mean or median of a figure over clips, or the ratio of two sums, with its interval.

    The same number of clips and the same seed draw the same clips: the rows of a table are resampled alike.

    Args:
        numerators: one number a clip, N >= 1: the figure itself, or errors.
        denominators: one number a clip: words, say, so that the value is sum(errors) / sum(words). None: the
            mean or median of the numerators.
        statistic: "mean" or "median"; of a ratio it is the mean of both, which is its sums' ratio.
        seed: of the draws.
        resamples: number of draws of N clips.
        confidence: share of the draws between the two ends, 0.95 for the 2.5th and 97.5th percentile.

    Raises:
        MetricError: no clip, unequal numbers of them, a number that is not finite, or nothing to divide by.
    """
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or not len(top) or top.shape != bottom.shape:
        raise MetricError(
            f"Numbers of shapes {top.shape} and {bottom.shape} were given; one for each clip, and at least "
            "one clip, were expected."
        )
    if not (np.isfinite(top).all() and np.isfinite(bottom).all()) or (bottom < 0).any() or not bottom.any():
        raise MetricError(
            "Finite numbers and a denominator above 0 were expected; leave out undefined clips."
        )
    middle = {"mean": np.mean, "median": np.median}[statistic]
    random = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, step := max(1, _AT_ONCE // len(top))):
        drawn = random.integers(len(top), size=(min(step, resamples - start), len(top)))
        below = middle(bottom[drawn], axis=1)
        values.append(middle(top[drawn], axis=1)[below > 0] / below[below > 0])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return Interval(float(middle(top) / middle(bottom)), float(low), float(high))
