"""Whose voice it is, and its melody: speaker similarity, pitch and voicing."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..audio.pitch import f0
from ..constants import SAMPLING_RATE
from ..errors import MetricError, UndefinedMetricError
from .alignment import check_signal, match_length

GROSS = 0.2  # of the true pitch: a larger error is of its own kind, most often an octave


class Embeds(Protocol):
    """A speaker encoder."""

    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """(N,) at 16 kHz -> (D,)."""
        ...


def speaker_similarity(reference: np.ndarray, speech: np.ndarray, encoder: Embeds) -> float:
    """Cosine similarity of the speaker embeddings of two recordings, by GE2E unless another encoder is named.

    0 to 1 with GE2E (Wan, Wang, Papir, Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification",
    ICASSP 2018), -1 to 1 with others. Silence is left out by GE2E; what is said and when does not count. Name
    the encoder beside the number: with the bundled one, two clips of one GRID speaker and clips of two
    speakers are close, so show a row of ground truth. The score favours a system whose input is an embedding
    of this same encoder.

    Args:
        reference: (N,) recording of the speaker, 16 kHz mono in [-1, 1].
        speech: (M,) speech to score, 16 kHz mono in [-1, 1].
        encoder: Such as SpeakerEncoder.bundled() or `speaker_encoders.XVectorEncoder`.

    Raises:
        NoSpeechError: no speech was detected in one of them (noise, silence): count such clips separately.
    """
    reference, speech = check_signal("reference", reference), check_signal("speech", speech)
    return embedding_similarity(encoder.embed(reference), encoder.embed(speech))


def embedding_similarity(reference: np.ndarray, embedding: np.ndarray) -> float:
    """Cosine of the angle between two speaker embeddings (D,): 1 for the same direction.

    Raises:
        MetricError: not two vectors of the same length, or one of them is zero.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(embedding, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.any() or not b.any():
        raise MetricError(
            f"Got embeddings of shapes {a.shape} and {b.shape}; expected two of shape (D,), neither zero."
        )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@dataclass(frozen=True)
class F0Errors:
    """Errors of the fundamental frequency of one clip.

    Attributes:
        rmse_cents: Root mean square over the frames that are voiced in both, 1200 cents per octave; NaN if
            there is none.
        gross: Share of the frames voiced in both that are off by over 20 % (gross pitch error); NaN if there
            is none.
        voicing: Share of all frames that are voiced in one only (voicing decision error).
        frame: Share of all frames with either of the last two errors (F0 frame error).
    """

    rmse_cents: float
    gross: float
    voicing: float
    frame: float


def f0_errors(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> F0Errors:
    """Errors of pitch and voicing, frame by frame; speech is cut or padded to the reference's length, never
    shifted.

    Chu, Alwan, "Reducing F0 Frame Error of F0 tracking algorithms under noisy conditions with an
    unvoiced/voiced classification frontend", ICASSP 2009 (its GPE, VDE, FFE).

    Args:
        reference: (N,) recording, mono, at least 0.1 s.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: Of both, Hz.

    Raises:
        UndefinedMetricError: the reference is shorter than 0.1 s.
    """
    reference, speech = match_length(reference, speech)
    if len(reference) < sampling_rate / 10:
        raise UndefinedMetricError(
            f"The reference lasts {len(reference) / sampling_rate:.3f} s; its pitch needs 0.1. Leave it out."
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
