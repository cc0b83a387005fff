"""How a reference and the speech to score are laid over each other: start upon start, and nothing is
searched.

Lip-to-speech has its timing from the video, so speech that is late is wrong, and no metric of this package
shifts it back into place unless `ALIGNMENT` says so. To score a system whose constant delay is known, cut the
delay off its speech first, and say that you did.
"""

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..constants import HOP_LENGTH, SAMPLING_RATE
from ..errors import MetricError, UndefinedMetricError

LOUDEST = 10.0  # 20 dB over full scale: no speech in [-1, 1], whatever its gain, but integers
_NONE = "none: start upon start, the reference's length"

# What each metric does about time: goes beside every table of results.
ALIGNMENT = {
    "stoi": _NONE,
    "estoi": _NONE,
    "pesq_wb": "PESQ's own: ITU-T P.862 finds the delay of each utterance and takes it out; look at `delay`",
    "pesq_nb": "PESQ's own: ITU-T P.862 finds the delay of each utterance and takes it out; look at `delay`",
    "log_spectral_distance": _NONE,
    "mel_cepstral_distortion": _NONE,
    "mel_cepstral_distortion, dtw=True": "dynamic time warping: differences of timing do not count",
    "f0_errors": _NONE,
    "unit_accuracy": "none: the same unit in the same 20 ms, the reference's length",
    "unit_error_rate": "edit distance over the order of the units, repeats collapsed: timing does not count",
    "wer": "edit distance over the order of the words: timing does not count",
    "cer": "edit distance over the order of the characters: timing does not count",
    "speaker_similarity": "not needed: one embedding a recording, silence left out",
    "dnsmos": "not needed: there is no reference",
    "lip_sync": "the best of 31 shifts of -15 to 15 video frames, as published; the shift is returned",
    "delay": "is what measures it: the best of all shifts up to 0.5 s",
}


def check_signal(name: str, signal: np.ndarray) -> np.ndarray:
    """A mono signal as float64 (N,).

    Raises:
        MetricError: it is empty, not mono, not finite, or far beyond [-1, 1].
    """
    signal = np.asarray(signal, dtype=np.float64)
    if signal.ndim != 1 or signal.size == 0:
        raise MetricError(
            f"{name} has shape {signal.shape}; a mono signal of shape (N,) with N > 0 was expected. "
            "Average the channels first."
        )
    if not np.isfinite(signal).all():
        raise MetricError(f"{name} holds NaN or infinite samples; look at the model that produced it.")
    if (peak := np.abs(signal).max()) > LOUDEST:
        raise MetricError(
            f"{name} holds samples up to {peak:.6g}; [-1, 1] was expected. Divide 16-bit samples by 32768."
        )
    return signal


def match_length(reference: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both signals from their first samples on, as long as the reference.

    Speech that is longer loses its end; speech that is shorter is silent from there on. (Cutting both to the
    shorter one, as is often done, would let a system that stops after its best second be scored on that
    second.)

    Args:
        reference: float (N,), N > 0, mono.
        speech: float (M,), M > 0, mono, at the same rate.

    Returns:
        Two float64 arrays (N,).

    Raises:
        MetricError: a signal is empty, not mono or not finite.
    """
    reference, speech = check_signal("reference", reference), check_signal("speech", speech)
    speech = speech[: len(reference)]
    return reference, np.pad(speech, (0, len(reference) - len(speech)))


def delay(reference: np.ndarray, speech: np.ndarray, limit: float = 0.5) -> float:
    """Seconds by which the speech is late (negative: early), to be shown beside the scores; corrects nothing.

    The shift at which the log-mel spectrograms of both correlate best (each bin's mean taken out, normalised
    over the frames that overlap), in steps of 10 ms. Of good speech it is exact; of speech that hardly
    resembles its reference it is a guess, so look at its median over many clips.

    Args:
        reference: (N,) true speech, 16 kHz mono, N > 320.
        speech: (M,) speech to score, 16 kHz mono, M > 0.
        limit: the longest delay that is tried, seconds, less than half the reference.

    Raises:
        MetricError: a signal is empty, not mono or not finite.
        UndefinedMetricError: the reference is too short for the limit.
    """
    reference, speech = match_length(reference, speech)
    frames = round(limit * SAMPLING_RATE / HOP_LENGTH)
    if len(reference) < 2 * frames * HOP_LENGTH:
        raise UndefinedMetricError(
            f"the reference lasts {len(reference) / SAMPLING_RATE:.2f} s; at least {2 * limit:.2f} are needed"
            f" to look for a delay of up to {limit} s. Lower the limit."
        )
    true, given = log_mel_spectrogram(torch.from_numpy(np.stack([reference, speech]))).double()
    true, given = true - true.mean(dim=0), given - given.mean(dim=0)
    best, best_shift = -np.inf, 0
    for shift in sorted(range(-frames, frames + 1), key=abs):  # of equals, the smallest shift
        a, b = (
            true[max(0, -shift) : len(true) - max(0, shift)],
            given[max(0, shift) : len(given) + min(0, shift)],
        )
        likeness = float((a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12))
        if likeness > best + 1e-9:
            best, best_shift = likeness, shift
    return best_shift * HOP_LENGTH / SAMPLING_RATE
