"""Speech for tests of metrics: a sentence spoken by flite where it is installed; noise of a known level."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.media.audio import read_audio

RATE = 16_000


def flite(text: str, folder: Path, voice: str = "rms") -> np.ndarray:
    """A sentence in a person's voice, float32 (N,) 16 kHz; skips where flite is not installed."""
    if shutil.which("flite") is None:
        pytest.skip("flite is not installed: the test needs a spoken sentence")
    path = folder / f"{voice}.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True, capture_output=True)
    return read_audio(path)


def late(speech: np.ndarray, seconds: float) -> np.ndarray:
    return np.concatenate([np.zeros(round(seconds * RATE), np.float32), speech])


def add_noise(speech: np.ndarray, snr: float, seed: int = 0) -> np.ndarray:
    """White noise added so that the speech's power is `snr` dB above the noise's: float32 (N,)."""
    noise = np.random.default_rng(seed).standard_normal(len(speech))
    gain = np.sqrt(np.mean(speech.astype(np.float64) ** 2) / np.mean(noise**2) / 10 ** (snr / 10))
    return (speech + gain * noise).astype(np.float32)
