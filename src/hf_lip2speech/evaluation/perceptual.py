"""How intelligible (STOI, ESTOI) and how good (PESQ) speech is, heard against its reference."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np

from ..constants import SAMPLING_RATE
from ..errors import MetricError, PesqUndefinedError, UndefinedMetricError
from ..extras import require_extra
from .alignment import match_length


@contextmanager
def _fixed_numpy_seed() -> Generator[None]:
    """numpy's global generator, seeded, and afterwards as it was.

    pystoi draws from it: its ESTOI adds noise of 1e-16 and then normalises, so that where the speech is
    digitally silent the score is random (a clip with a silent half moved by 0.005 from call to call).
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
        raise UndefinedMetricError("the reference is silent from end to end: STOI is not defined on it.")
    too_short = UndefinedMetricError(
        f"less than 0.4 s of the reference's {len(reference) / sampling_rate:.2f} s are speech: STOI is not "
        "defined on it. Count such clips apart."
    )
    if len(reference) < 0.1 * sampling_rate:  # pystoi falls over sounds shorter than one of its frames
        raise too_short
    with _fixed_numpy_seed(), warnings.catch_warnings():
        warnings.filterwarnings("error", "Not enough STFT frames", RuntimeWarning)
        try:
            return float(module.stoi(reference, speech, sampling_rate, extended=extended))
        except RuntimeWarning as error:
            raise too_short from error


def stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Short-time objective intelligibility, about 0 (none) to 1 (the reference itself).

    Taal, Hendriks, Heusdens, Jensen, "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted
    Noisy Speech", IEEE TASLP 2011; computed by pystoi. The score is of the signals as they lie: start upon
    start, as long as the reference, not shifted.

    Args:
        reference: (N,) true speech, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: of both, Hz.

    Raises:
        MetricError: a signal is empty, not mono or not finite.
        UndefinedMetricError: the reference holds less than 0.4 s that is not silence.
        ImportError: pystoi is missing; names the extra that holds it.
    """
    return _stoi(reference, speech, sampling_rate, extended=False)


def estoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Extended STOI, which also counts how bands move together; 0 to 1 in practice, lower than STOI.

    Jensen, Taal, "An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
    Maskers", IEEE/ACM TASLP 2016; computed by pystoi, its random part seeded, so that the same signals have
    the same score. Arguments and errors as in `stoi`.
    """
    return _stoi(reference, speech, sampling_rate, extended=True)


def _pesq(reference: np.ndarray, speech: np.ndarray, sampling_rate: int, mode: str) -> float:
    module = require_extra("pesq", "eval")
    reference, speech = match_length(reference, speech)
    if not speech.any():
        raise PesqUndefinedError(
            "the speech is silent from end to end: PESQ is not defined on it. Count such clips apart."
        )
    try:
        return float(module.pesq(sampling_rate, reference, speech, mode))
    except module.PesqError as error:  # "No utterances detected" in noise or near-silence, under 1/4 s
        raise PesqUndefinedError(
            f"PESQ is not defined on this speech ({error}). Count such clips apart."
        ) from error


def pesq_wb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Wide-band PESQ (ITU-T P.862.2), mean opinion score 1.04 (worst) to 4.64 (the reference itself).

    Computed by the package pesq, whose C code is the ITU's. Signals are laid start upon start, as long as the
    reference; PESQ itself then finds the delay of each utterance and takes it out, as the standard says. It
    is the one signal metric here that forgives a shift: show `alignment.delay` beside it.

    Args:
        reference: (N,) true speech, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: of both, 16000 Hz: wide band is not defined elsewhere.

    Raises:
        MetricError: a signal is empty, not mono or not finite; another sampling rate.
        PesqUndefinedError: the speech is silent, or holds nothing that PESQ takes for an utterance.
        ImportError: pesq is missing; names the extra that holds it.
    """
    if sampling_rate != 16_000:
        raise MetricError(
            f"sampling_rate is {sampling_rate}; wide-band PESQ needs 16000. Resample both signals first."
        )
    return _pesq(reference, speech, sampling_rate, "wb")


def pesq_nb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Narrow-band PESQ (ITU-T P.862 mapped by P.862.1), mean opinion score 1.02 to 4.55; not to be mixed with
    `pesq_wb`, which it exceeds on poor speech.

    The public scoring code of Lip2Wav calls this at 16 kHz, that of VCA-GAN and of "Lip-to-speech synthesis
    in the wild" on signals resampled to 8 kHz; resample both signals likewise to compare with them. Arguments
    and errors as in `pesq_wb`, at 8000 or 16000 Hz.
    """
    if sampling_rate not in (8_000, 16_000):
        raise MetricError(
            f"sampling_rate is {sampling_rate}; narrow-band PESQ needs 8000 or 16000. Resample both first."
        )
    return _pesq(reference, speech, sampling_rate, "nb")
