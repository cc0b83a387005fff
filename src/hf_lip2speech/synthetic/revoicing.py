"""A recorded sentence in another voice with the recording's timing: by its words' times, then by dynamic time
warping of the cepstra."""

from collections.abc import Sequence

import numpy as np
import torch

from ..audio.mel import log_mel_spectrogram
from ..constants import SAMPLING_RATE
from ..data.corpora import Word
from ..extras import require_extra
from .pacing import in_room, stretched
from .speech import speak

STEP = 0.005  # seconds, of the warping
REACH = 16  # steps by which the warping may leave the line through the words' ends
FASTEST = 3  # source steps per step
KNOTS = 4  # steps between the moments that are stretched to their places


def revoiced(
    true: np.ndarray, words: Sequence[Word], text: str, voice: str, rng: np.random.Generator
) -> np.ndarray:
    """The sentence in another voice with the recording's timing.

    Args:
        true: float32 (N,), 16 kHz, the recording.
        words: With times in it.
        text: The sentence.
        voice: One of flite's.
        rng: Of the room's noise.

    Returns:
        float32 (N,), 16 kHz.

    Raises:
        FliteError: flite is missing or fails.
        MissingExtraError: scipy or parselmouth is not installed.
    """
    speech = speak(text, voice)
    start, end = words[0].start, min(words[-1].end, len(true) / SAMPLING_RATE)
    times = np.arange(start, end, STEP)
    heard, said = ([*(word.start for word in some), some[-1].end] for some in (words, speech.words))
    line = np.interp(times, heard, said) / STEP
    path = warped(cepstra(true)[np.round(times / STEP).astype(int)], cepstra(speech.waveform), line)
    places = path[::KNOTS][1:-1] * STEP
    later = (places > 1e-3) & (places < speech.words[-1].end - 1e-3) & (np.diff(places, prepend=0) > 1e-3)
    source = [0.0, *places[later], len(speech.waveform) / SAMPLING_RATE]
    target = [0.0, *(times[::KNOTS][1:-1][later] - start), end - start]
    return in_room([(start, stretched(speech.waveform, source, target))], len(true), rng)


def cepstra(sound: np.ndarray) -> np.ndarray:
    """(frames, 13), one per 5 ms, of mean 0 and deviation 1 over the frames: speakers differ less."""
    mel = log_mel_spectrogram(torch.from_numpy(sound)).numpy()
    values = require_extra("scipy.fft").dct(mel, norm="ortho")[:, :13]
    values = (values - values.mean(0)) / values.std(0)
    grid = np.arange(round(len(sound) / SAMPLING_RATE / STEP) + 1) * STEP * 100  # of 10 ms
    return np.stack([np.interp(grid, np.arange(len(values)), column) for column in values.T], axis=1)


def warped(true: np.ndarray, said: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Dynamic time warping near a line: for each true frame the matching said frame, in order.

    true (N, C), said (M, C), line (N,) in said frames -> float (N,) in said frames.
    """
    offsets = np.arange(-REACH, REACH + 1)
    places = (np.round(line).astype(int)[:, None] + offsets).clip(0, len(said) - 1)  # (N, R)
    costs = np.abs(true[:, None] - said[places]).mean(-1) + 0.002 * np.abs(offsets)
    total, back = costs[0], []
    for index in range(1, len(true)):
        step = places[index][:, None] - places[index - 1][None]  # (R, R)
        ways = total + np.where((step >= 0) & (step <= FASTEST), 0.02 * np.abs(step - 1), np.inf)
        back.append(ways.argmin(axis=1))
        total = ways.min(axis=1) + costs[index]
    chosen = [int(total.argmin())]
    for previous in reversed(back):
        chosen.append(int(previous[chosen[-1]]))
    path = places[np.arange(len(true)), chosen[::-1]].astype(float)
    return require_extra("scipy.ndimage").uniform_filter1d(path, 7, mode="nearest")
