"""The fundamental frequency of speech, as Praat finds it."""

import numpy as np

from ..constants import HOP_LENGTH, SAMPLING_RATE
from ..extras import require_extra

STEP = 0.01  # seconds
FLOOR, CEILING = 60.0, 500.0  # Hz: deep men to children


def f0(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Fundamental frequency every 10 ms by Praat's autocorrelation method, 60 to 500 Hz; 0 where unvoiced.

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound", 1993; computed by parselmouth.

    Args:
        waveform: float (N,), at least 50 ms.

    Returns:
        float64 (F,), Hz.
    """
    return _pitch(waveform, sampling_rate).selected_array["frequency"]


def f0_of_mel_frames(waveform: np.ndarray) -> np.ndarray:
    """`f0` of 16 kHz speech (160 L,), at least 50 ms, at the centres of its mel frames: float32 (L,), Hz."""
    pitch, times = _pitch(waveform, SAMPLING_RATE), np.arange(len(waveform) // HOP_LENGTH) * STEP
    values, known = pitch.selected_array["frequency"], pitch.xs()
    nearest = np.interp(times, known, np.arange(len(known))).round().astype(int)
    voiced = values > 0
    between = np.interp(times, known[voiced], values[voiced]) if voiced.any() else np.zeros(len(times))
    return np.where(voiced[nearest], between, 0).astype(np.float32)


def _pitch(waveform: np.ndarray, sampling_rate: int):
    sound = require_extra("parselmouth", "pitch").Sound(np.asarray(waveform, dtype=np.float64), sampling_rate)
    return sound.to_pitch_ac(time_step=STEP, pitch_floor=FLOOR, pitch_ceiling=CEILING)
