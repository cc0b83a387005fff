"""Synthetic speech-like sound for tests: a buzz through three moving resonances, in syllables."""

import numpy as np
from scipy.signal import lfilter

RATE = 16_000


def babble(seconds: float, pitch: float = 120.0, seed: int = 0, level: float = 0.2) -> np.ndarray:
    """Voiced syllables of 0.2 s with 0.05 s pauses: float32 (seconds * 16000,), peak `level`."""
    random = np.random.default_rng(seed)
    samples = round(seconds * RATE)
    phase = np.cumsum(pitch * (1 + 0.05 * np.sin(np.arange(samples) / RATE * 9)) / RATE)
    buzz = np.diff(np.floor(phase), prepend=0.0) + 0.01 * random.standard_normal(samples)
    sound = np.zeros(samples)
    for start in range(0, samples, RATE // 4):
        piece = buzz[start : start + RATE // 5]
        for formant, width in zip(
            random.uniform([300, 900, 2200], [800, 1800, 3000]), (80, 120, 160), strict=True
        ):
            radius = np.exp(-np.pi * width / RATE)
            piece = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], piece)
        sound[start : start + len(piece)] = piece * np.hanning(len(piece)) ** 0.3
    return (level * sound / np.abs(sound).max()).astype(np.float32)
