"""How well speech follows the melody of its reference."""

import math
from dataclasses import dataclass

import numpy as np

from ..constants import SAMPLING_RATE
from ..errors import UndefinedMetricError
from ..extras import require_extra
from .alignment import match_length

STEP = 0.01  # seconds
FLOOR, CEILING = 60.0, 500.0  # Hz: deep men to children
GROSS = 0.2  # of the true pitch: more is an error of its own kind, most often an octave


@dataclass(frozen=True)
class F0Errors:
    """Errors of the fundamental frequency of one clip.

    Attributes:
        rmse_cents: root mean square over the frames that are voiced in both, 1200 to the octave; NaN if none
            is.
        gross: share of the frames voiced in both that are off by over 20 % (gross pitch error).
            NaN if none is.
        voicing: share of all frames that are voiced in one only (voicing decision error).
        frame: share of all frames with either of the last two errors (F0 frame error).
    """

    rmse_cents: float
    gross: float
    voicing: float
    frame: float


def f0(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Fundamental frequency every 10 ms by Praat's autocorrelation method, 60 to 500 Hz; 0 where unvoiced.

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound", 1993; computed by parselmouth.

    Args:
        waveform: float (N,), at least 50 ms.

    Returns:
        float64 (F,), Hz.
    """
    sound = require_extra("parselmouth", "pitch").Sound(np.asarray(waveform, dtype=np.float64), sampling_rate)
    pitch = sound.to_pitch_ac(time_step=STEP, pitch_floor=FLOOR, pitch_ceiling=CEILING)
    return pitch.selected_array["frequency"]


def f0_errors(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> F0Errors:
    """Errors of pitch and voicing, frame upon frame: the speech is cut or filled to the reference's length
    and never shifted.

    Chu, Alwan, "Reducing F0 Frame Error of F0 tracking algorithms under noisy conditions with an
    unvoiced/voiced classification frontend", ICASSP 2009 (its GPE, VDE, FFE).

    Args:
        reference: (N,) true speech, mono, at least 0.1 s.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: of both, Hz.

    Raises:
        MetricError: a signal is empty, not mono or not finite.
        UndefinedMetricError: a reference under 0.1 s.
        ImportError: parselmouth is missing; names the extra that holds it.
    """
    reference, speech = match_length(reference, speech)
    if len(reference) < sampling_rate / 10:
        raise UndefinedMetricError(
            f"the reference lasts {len(reference) / sampling_rate:.3f} s; its pitch needs 0.1. Leave it out."
        )
    true, given = f0(reference, sampling_rate), f0(speech, sampling_rate)
    voiced = (true > 0) & (given > 0)
    voicing = (true > 0) != (given > 0)
    gross = voiced & (np.abs(given - true) > GROSS * true)
    cents = 1200 * np.log2(given[voiced] / true[voiced])
    return F0Errors(
        rmse_cents=float(np.sqrt(np.mean(cents**2))) if len(cents) else math.nan,
        gross=float(gross.sum() / voiced.sum()) if len(cents) else math.nan,
        voicing=float(voicing.mean()),
        frame=float((voicing | gross).mean()),
    )
