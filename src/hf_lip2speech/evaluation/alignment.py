"""How metrics align a reference and the speech to score: both start together, no shift is searched for.

Lip-to-speech takes its timing from the video, so late speech is wrong, and no metric of this package
corrects a delay unless `ALIGNMENT` says so. To score a system with a known constant delay, cut the delay off
its speech first, and say that you did.
"""

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..constants import HOP_LENGTH, SAMPLING_RATE
from ..errors import MetricError, UndefinedMetricError

LOUDEST = 10.0  # 20 dB over full scale: beyond it the samples are integers, not speech in [-1, 1]
LONGEST_DELAY = 0.5  # seconds that `delay` looks for
_NONE = "none: both start together, cut or padded to the reference's length"
_PESQ = "PESQ's own: ITU-T P.862 finds the delay of each utterance and removes it; look at `delay`"

# What each metric does about time; shown beside every table of results.
ALIGNMENT = {
    "stoi": _NONE,
    "estoi": _NONE,
    "pesq_wb": _PESQ,
    "pesq_nb": _PESQ,
    "log_spectral_distance": _NONE,
    "mel_cepstral_distortion": _NONE,
    "mel_cepstral_distortion, dtw=True": "dynamic time warping: differences of timing do not count",
    "f0_errors": _NONE,
    "unit_accuracy": "none: the same unit in the same 20 ms, over the reference's length",
    "unit_error_rate": "edit distance over the order of the units, repeats collapsed: timing does not count",
    "wer": "edit distance over the order of the words: timing does not count",
    "cer": "edit distance over the order of the characters: timing does not count",
    "speaker_similarity": "not needed: one embedding per recording, silence left out",
    "dnsmos": "not needed: there is no reference",
    "distill_mos": "not needed: there is no reference",
    "lip_sync": "the best of 31 shifts of -15 to 15 video frames, as published; the shift is returned",
    "delay": "measures it: the best of all shifts up to 0.5 s",
}


def check_signal(name: str, signal: np.ndarray) -> np.ndarray:
    """A mono signal as float64 (N,).

    Raises:
        MetricError: it is empty, not mono, not finite, or far beyond [-1, 1].
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 1 or signal.size == 0:
        raise MetricError(
            f"{name} has shape {signal.shape}; expected a mono signal of shape (N,) with N > 0. "
            "Average the channels first."
        )
    if not np.isfinite(signal).all():
        raise MetricError(f"{name} holds NaN or infinite samples. Check the model that produced it.")
    if (peak := np.abs(signal).max()) > LOUDEST:
        raise MetricError(
            f"{name} holds samples up to {peak:.6g}; expected [-1, 1]. Divide 16-bit samples by 32768."
        )
    return signal


def match_length(reference: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both signals, mono at one rate, (N,) and (M,), from their first samples, with the reference's length:
    float64.

    Longer speech loses its end; shorter speech is padded with silence. (Cutting both to the shorter one, as
    is often done, would score a system that stops after its best second on that second alone.)
    """
    reference, speech = check_signal("reference", reference), check_signal("speech", speech)
    speech = speech[: len(reference)]
    return reference, np.pad(speech, (0, len(reference) - len(speech)))


def delay(reference: np.ndarray, speech: np.ndarray) -> float:
    """Seconds by which the speech is late (negative: early); for information, nothing is corrected.

    The shift of up to half a second at which the log-mel spectrograms correlate best (mean of each bin
    removed, normalised over the frames that overlap), in steps of 10 ms. It is exact for good speech and
    unreliable for speech that hardly resembles its reference, so look at the median over many clips.

    Args:
        reference: (N,) recording, 16 kHz mono, N >= 16,000; an UndefinedMetricError where it is shorter.
        speech: (M,) speech to score, 16 kHz mono, M > 0.
    """
    reference, speech = match_length(reference, speech)
    if (seconds := len(reference) / SAMPLING_RATE) < 2 * LONGEST_DELAY:
        raise UndefinedMetricError(
            f"The reference lasts {seconds:.2f} s; at least {2 * LONGEST_DELAY:.2f} are needed to look for a "
            f"delay of up to {LONGEST_DELAY} s. Leave the clip out."
        )
    frames = round(LONGEST_DELAY * SAMPLING_RATE / HOP_LENGTH)
    true, given = log_mel_spectrogram(torch.from_numpy(np.stack([reference, speech]))).double()
    true, given = true - true.mean(dim=0), given - given.mean(dim=0)
    best, best_shift = -np.inf, 0
    for shift in sorted(range(-frames, frames + 1), key=abs):  # on a tie, the smallest shift
        a = true[max(0, -shift) : len(true) - max(0, shift)]
        b = given[max(0, shift) : len(given) + min(0, shift)]
        correlation = float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))
        if correlation > best + 1e-9:
            best, best_shift = correlation, shift
    return best_shift * HOP_LENGTH / SAMPLING_RATE
