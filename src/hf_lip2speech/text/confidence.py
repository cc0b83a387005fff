"""How sure a lip reader is: of a word, and of a clip."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .characters import BLANK

SMALLEST = (
    1e-4  # a probability is taken to be this far from 0 and 1 at least, so that its log-odds are finite
)


def calibrated(probability: float, calibration: Sequence[float] = (1.0, 0.0)) -> float:
    """The probability whose log-odds are scale * log-odds + offset (Platt, "Probabilistic Outputs for Support
    Vector Machines", 1999).

    Args:
        probability: 0..1.
        calibration: scale and offset; 1 and 0 change nothing but the extremes.
    """
    scale, offset = calibration
    if (scale, offset) == (1.0, 0.0):
        return probability
    bounded = min(max(probability, SMALLEST), 1 - SMALLEST)
    return 1 / (1 + math.exp(-(scale * math.log(bounded / (1 - bounded)) + offset)))


def clip_confidence(words: Sequence[dict[str, Any]], logits: torch.Tensor) -> float:
    """The share of the words that can be expected to be right: the mean of their confidences.

    Where no word is read, it is how sure the head is that nothing is said: the blank's mean probability.

    Args:
        words: {"confidence": 0..1, ...}
        logits: (2T, V + 1) of the clip.
    """
    if words:
        return sum(word["confidence"] for word in words) / len(words)
    return float(logits.float().softmax(-1)[:, BLANK].mean())


def fit_calibration(confidences: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """Scale and offset for `calibrated` that make words' confidences most probable, by Newton's method.

    Args:
        confidences: Of words of validation clips, uncalibrated.
        right: Whether each is right.

    Returns:
        Scale (0 at least: a surer word is no worse) and offset. As Platt has it, right and wrong count as
        slightly less than that, so that a set without errors has an answer, too.
    """
    bounded = np.clip(np.asarray(confidences, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    inputs = np.stack([np.log(bounded / (1 - bounded)), np.ones_like(bounded)], axis=1)
    good = int(np.sum(right))
    targets = np.where(right, (good + 1) / (good + 2), 1 / (len(bounded) - good + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(100):
        predicted = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (predicted - targets) + 1e-3 * (weights - [1.0, 0.0])
        curvature = (inputs * (predicted * (1 - predicted))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-6:
            break
    if weights[0] < 0:
        share = float(np.mean(targets))
        return 0.0, math.log(share / (1 - share))
    return float(weights[0]), float(weights[1])
