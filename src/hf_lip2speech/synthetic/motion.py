"""How a talker moves who does not think of it: the head sways and nods, the eyes wander and blink."""

from collections.abc import Sequence

import numpy as np

from ..constants import FRAME_RATE
from .visemes import Phone


def wander(times: np.ndarray, rng: np.random.Generator, speed: float) -> np.ndarray:
    """A smooth random way about 0 of variance about 1."""
    rates = speed * np.array([0.5, 0.9, 1.6])
    phases = rng.uniform(0, 2 * np.pi, 3)
    return (np.array([0.9, 0.6, 0.35]) * np.sin(2 * np.pi * np.outer(times, rates) + phases)).sum(axis=1)


def head_motion(phones: Sequence[Phone], times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, 5): of the head, sideways and down in units, then roll, yaw and pitch in radians."""
    spreads = np.array([0.020, 0.012, 0.014, 0.030, 0.022]) * rng.uniform(0.5, 1.4)
    way = np.stack([wander(times, rng, 0.45) for _ in spreads], axis=1) * spreads
    way[:, 2] += rng.uniform(-0.05, 0.05)
    way[:, 3] += rng.uniform(-0.10, 0.10)
    way[:, 4] += rng.uniform(-0.06, 0.06)
    # A nod on some of the long vowels
    for phone in phones:
        if phone.name in ("ey", "iy", "ay", "ow", "aw", "ao", "uw", "eh") and rng.random() < 0.35:
            beat = np.exp(-(((times - (phone.start + phone.end) / 2) / 0.10) ** 2))
            way[:, 4] += 0.022 * beat
            way[:, 1] += 0.008 * beat
    return way


def blinks(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T,): how far the eyes are shut."""
    shut = np.zeros(num_frames)
    at = rng.uniform(0, 3)
    shape = np.array([0.4, 1.0, 0.95, 0.6, 0.25, 0.08])
    while (start := round(at * FRAME_RATE)) < num_frames:
        stop = min(start + len(shape), num_frames)
        shut[start:stop] = shape[: stop - start]
        at += rng.uniform(1.5, 4.5)
    return shut
