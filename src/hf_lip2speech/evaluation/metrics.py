"""Pure functions: how close speech is to its reference (STOI, ESTOI, PESQ), how many words survive (WER).

The signals are compared as they stand: both are cut to the shorter one's length, and no shift is searched
for. A system whose speech is late scores as late speech; lip-to-speech has its timing from the video, so
nothing excuses one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError
from ._extra import require_extra


class MetricError(Lip2SpeechError):
    """A metric cannot be computed on what was given."""


class PesqUndefinedError(MetricError):
    """PESQ finds nothing in the speech that it could rate."""


@dataclass(frozen=True)
class WordErrors:
    """Word errors of a corpus, counted over all its sentences together.

    `rate` = (substitutions + deletions + insertions) / words; it can exceed 1.
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int  # in the references

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        return self.errors / self.words


def _common(reference: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both signals as float64 (N,), cut to the shorter one's length."""
    pair = []
    for name, signal in (("reference", reference), ("speech", speech)):
        signal = np.asarray(signal, dtype=np.float64)
        if signal.ndim != 1 or signal.size == 0:
            raise MetricError(
                f"{name} has shape {signal.shape}; a mono signal of shape (N,) with N > 0 was expected. "
                "Average the channels first."
            )
        if not np.isfinite(signal).all():
            raise MetricError(f"{name} holds NaN or infinite samples; look at the model that produced it.")
        pair.append(signal)
    length = min(len(pair[0]), len(pair[1]))
    return pair[0][:length], pair[1][:length]


def stoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Short-time objective intelligibility, about 0 (none) to 1 (the reference itself).

    Taal, Hendriks, Heusdens, Jensen, "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted
    Noisy Speech", IEEE TASLP 2011; computed by pystoi. The score is of the signals as they lie: cut to the
    common length, not shifted.

    Args:
        reference: (N,) true speech, mono.
        speech: (M,) speech to score, mono, at the same rate.
        sampling_rate: of both, Hz.

    Raises:
        MetricError: a signal is empty, not mono or not finite.
        ImportError: pystoi is missing; names the extra that holds it.
    """
    module = require_extra("pystoi", "eval")
    reference, speech = _common(reference, speech)
    return float(module.stoi(reference, speech, sampling_rate, extended=False))


def estoi(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Extended STOI, which also counts how bands move together; 0 to 1 in practice, lower than STOI.

    Jensen, Taal, "An Algorithm for Predicting the Intelligibility of Speech Masked by Modulated Noise
    Maskers", IEEE TASLP 2016; computed by pystoi. Arguments and errors as in `stoi`.
    """
    module = require_extra("pystoi", "eval")
    reference, speech = _common(reference, speech)
    return float(module.stoi(reference, speech, sampling_rate, extended=True))


def _pesq(reference: np.ndarray, speech: np.ndarray, sampling_rate: int, mode: str) -> float:
    module = require_extra("pesq", "eval")
    reference, speech = _common(reference, speech)
    if not speech.any():
        raise PesqUndefinedError(
            "the speech is silent from end to end: PESQ is not defined on it. Count such clips apart."
        )
    try:
        return float(module.pesq(sampling_rate, reference, speech, mode))
    except (
        module.PesqError
    ) as error:  # "No utterances detected" in noise or near-silence, a signal under 1/4 s
        raise PesqUndefinedError(
            f"PESQ is not defined on this speech ({error}). Count such clips apart."
        ) from error


def pesq_wb(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> float:
    """Wide-band PESQ (ITU-T P.862.2), mean opinion score 1.04 (worst) to 4.64 (the reference itself).

    Computed by the package pesq, whose C code is the ITU's. Signals are cut to the common length here; PESQ
    itself then allows for a delay, as the standard says.

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
    `pesq_wb`.

    Arguments and errors as in `pesq_wb`, at 8000 or 16000 Hz.
    """
    if sampling_rate not in (8_000, 16_000):
        raise MetricError(
            f"sampling_rate is {sampling_rate}; narrow-band PESQ needs 8000 or 16000. Resample both first."
        )
    return _pesq(reference, speech, sampling_rate, "nb")


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> WordErrors:
    """Word errors of a corpus: the smallest numbers of substitutions, deletions and insertions (Levenshtein,
    jiwer).

    Corpus level: the errors of all sentences over the words of all references, so a long sentence weighs more
    than a short one. The words are compared as they are written: fold case and punctuation beforehand if they
    do not count.

    Args:
        references: N true sentences, words parted by spaces, none empty.
        hypotheses: N recognised sentences; an empty one counts as deletions.

    Raises:
        MetricError: the numbers of sentences differ, there is none, or a reference is empty.
        ImportError: jiwer is missing; names the extra that holds it.
    """
    references, hypotheses = list(references), list(hypotheses)
    if not references or len(references) != len(hypotheses):
        raise MetricError(
            f"{len(references)} references and {len(hypotheses)} hypotheses were given; as many of one as "
            "of the other, and at least one, were expected."
        )
    empty = [index for index, reference in enumerate(references) if not reference.strip()]
    if empty:
        raise MetricError(
            f"references {empty} hold no word: a word error rate is not defined on them. Leave them out."
        )
    counts = require_extra("jiwer", "eval").process_words(references, hypotheses)
    words = counts.hits + counts.substitutions + counts.deletions
    return WordErrors(counts.substitutions, counts.deletions, counts.insertions, words)


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Corpus-level word error rate, 0 (every word is right) upwards. See `word_errors`."""
    return word_errors(references, hypotheses).rate
