"""Intelligibility (STOI, ESTOI) and quality (PESQ) of speech against its reference."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

from ..constants import SAMPLING_RATE
from ..errors import MetricError, PesqUndefinedError, UndefinedMetricError
from ..extras import require_extra
from .alignment import match_length


def stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Short-time objective intelligibility (Taal et al. 2011), about 0 to 1 (the reference itself).

    Taal, Hendriks, Heusdens, Jensen, "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted
    Noisy Speech", IEEE TASLP 2011; computed by pystoi. Both signals start together, speech is cut or padded
    to the reference's length, nothing is shifted.

    Args:
        reference: (N,) recording, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: Of both, Hz.

    Raises:
        UndefinedMetricError: the reference holds less than 0.4 s that is not silence.
    """
    return _stoi(reference, speech, sampling_rate, extended=False)


def estoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Extended STOI (Jensen, Taal 2016), which also measures how bands move together; about 0 to 1.

    Jensen, Taal, "An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
    Maskers", IEEE/ACM TASLP 2016; computed by pystoi with a fixed seed, so the same signals have the same
    score. Arguments and errors as in `stoi`.
    """
    return _stoi(reference, speech, sampling_rate, extended=True)


def pesq_wb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Wide-band PESQ (ITU-T P.862.2), mean opinion score 1.04 (worst) to 4.64 (the reference itself).

    Computed by the package pesq, whose C code is the ITU's. Both signals start together, speech is cut or
    padded to the reference's length; PESQ itself then finds and removes the delay of each utterance, as the
    standard says. No other signal metric here forgives a shift: show `alignment.delay` beside it.

    Args:
        reference: (N,) recording, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: Of both, 16000 Hz: wide band is not defined elsewhere.

    Raises:
        MetricError: a signal is empty, not mono or not finite; another sampling rate.
        PesqUndefinedError: the speech is silent, or PESQ finds no utterance in it.
    """
    return _pesq(reference, speech, sampling_rate, "wb", [16_000])


def pesq_nb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Narrow-band PESQ (ITU-T P.862.1), mean opinion score 1.02 to 4.55; not comparable to wide-band ones.

    It exceeds `pesq_wb` on poor speech. The public scoring code of Lip2Wav calls
    this at 16 kHz, that of VCA-GAN and of "Lip-to-speech synthesis in the wild" on signals resampled to
    8 kHz; resample both signals likewise to compare with them. Arguments and errors as in `pesq_wb`, at 8000
    or 16000 Hz.
    """
    return _pesq(reference, speech, sampling_rate, "nb", [8_000, 16_000])


@contextmanager
def _fixed_numpy_seed() -> Generator[None]:
    """NumPy's global generator with a fixed seed, restored afterwards.

    pystoi draws from it: its ESTOI adds noise of 1e-16 and then normalises, so that the score is random where
    the speech is digitally silent (a clip with a silent half moved by 0.005 from call to call).
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int, extended: bool) -> float:
    module = require_extra("pystoi", "eval")
    reference, speech = match_length(reference, speech)
    if not reference.any():
        raise UndefinedMetricError("The reference is silent throughout: STOI is not defined on it.")
    too_short = UndefinedMetricError(
        f"Less than 0.4 s of the reference's {len(reference) / sampling_rate:.2f} s are speech: STOI is not "
        "defined on it."
    )
    if len(reference) < 0.1 * sampling_rate:  # pystoi fails on signals shorter than one of its frames
        raise too_short
    with _fixed_numpy_seed(), warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(module.stoi(reference, speech, sampling_rate, extended=extended))
        except RuntimeWarning as error:
            raise too_short from error


def _pesq(
    reference: np.ndarray, speech: np.ndarray, sampling_rate: int, mode: str, rates: list[int]
) -> float:
    if sampling_rate not in rates:
        raise MetricError(
            f"sampling_rate is {sampling_rate}; expected one of {rates}. Resample both signals."
        )
    module = require_extra("pesq", "eval")
    reference, speech = match_length(reference, speech)
    if not speech.any():
        raise PesqUndefinedError("The speech is silent throughout: PESQ is not defined on it.")
    try:
        return float(module.pesq(sampling_rate, reference, speech, mode))
    except module.PesqError as error:  # "No utterances detected" in noise or near-silence, under 1/4 s
        raise PesqUndefinedError(f"PESQ is not defined on this speech ({error}).") from error
