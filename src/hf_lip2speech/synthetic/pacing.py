"""A synthetic voice at another speaker's pace: stretched word by word, by Praat's overlap-add."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..audio.speech import CEILING, FLOOR
from ..constants import SAMPLING_RATE
from ..data.corpora import Word
from ..extras import require_extra
from .render import LOUDNESS, ROOM
from .speech import Speech

LONGEST_GAP = 0.3  # seconds between the times of two words without a pause
EDGE = 0.06  # seconds by which a text head finds a word too late and leaves it too early
FADE = 80  # samples, of the speech at a pause
CORNER = 1e-5  # seconds in which the speed changes


def widened(words: Sequence[Word]) -> list[Word]:
    """Words that last as long as they are said, where a text head has found them.

    The head is sure of a character for a moment in the middle of the time in which it is said. So each word
    begins and ends `EDGE` seconds from there at a pause, and in the middle of a shorter gap between two.
    """
    starts, ends = [word.start for word in words], [word.end for word in words]
    edges = [(end, start) for end, start in zip(ends, starts[1:], strict=False)]
    edges = [
        (end + EDGE, start - EDGE) if start - end >= LONGEST_GAP else ((end + start) / 2, (end + start) / 2)
        for end, start in edges
    ]
    starts = [max(0.0, starts[0] - EDGE), *(start for _, start in edges)]
    ends = [*(end for end, _ in edges), ends[-1] + EDGE]
    return [Word(word.word, start, end) for word, start, end in zip(words, starts, ends, strict=True)]


def at_times(speech: Speech, words: Sequence[Word], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Speech whose words come at given times.

    Args:
        speech: Of the same words.
        words: With their times; silence is kept where one ends before the next one begins.
        samples: Of the sound to make, at 16 kHz.
        rng: Of the noise in the room.

    Returns:
        float32 (samples,).

    Raises:
        MissingExtraError: parselmouth is not installed.
    """
    parts: list[list[tuple[Word, Word]]] = [[]]
    for pair in zip(words, speech.words, strict=True):
        if parts[-1] and pair[0].start > parts[-1][-1][0].end:
            parts.append([])
        parts[-1].append(pair)
    placed = []
    for part in parts:
        first, last = part[0], part[-1]
        begin, end = first[1].start, last[1].end
        source = [said.start - begin for _, said in part] + [end - begin]
        target = [word.start - first[0].start for word, _ in part] + [last[0].end - first[0].start]
        sound = speech.waveform[round(begin * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
        placed.append((first[0].start, stretched(sound, source, target)))
    return in_room(placed, samples, rng)


def in_room(parts: Sequence[tuple[float, np.ndarray]], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Pieces of speech, each with the second at which it begins, at one loudness in a quiet room.

    Returns:
        float32 (samples,), 16 kHz.
    """
    loudness = np.sqrt(np.mean(np.concatenate([sound for _, sound in parts]) ** 2))
    room = ROOM * rng.standard_normal(samples, dtype=np.float32)
    for start, sound in parts:
        first = round(start * SAMPLING_RATE)
        sound = sound[: max(0, samples - first)] * (LOUDNESS / loudness)
        edge = np.minimum(1, np.arange(1, len(sound) + 1) / FADE)
        room[first : first + len(sound)] += (sound * edge * edge[::-1]).astype(np.float32)
    return room


def stretched(waveform: np.ndarray, source: Sequence[float], target: Sequence[float]) -> np.ndarray:
    """The sound whose moment source[i] comes at target[i], with the pitch that it has.

    Moulines, Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
    using diphones", 1990; computed by Praat.

    Args:
        waveform: float (N,), 16 kHz.
        source, target: Increasing seconds from 0; the last source is the sound's end.

    Returns:
        float64 (M,), of target[-1] seconds.

    Raises:
        MissingExtraError: parselmouth is not installed.
    """
    parselmouth = require_extra("parselmouth", "pitch")
    call = require_extra("parselmouth.praat", "pitch").call
    sound = parselmouth.Sound(np.asarray(waveform, dtype=np.float64), SAMPLING_RATE)
    manipulation = call(sound, "To Manipulation", 0.01, FLOOR, CEILING)
    tier = call("Create DurationTier", "durations", 0, sound.duration)
    for (start, end), (begins, ends) in zip(pairwise(source), pairwise(target), strict=True):
        factor = (ends - begins) / (end - start)
        call(tier, "Add point", start + CORNER, factor)
        call(tier, "Add point", end - CORNER, factor)
    call([manipulation, tier], "Replace duration tier")
    return call(manipulation, "Get resynthesis (overlap-add)").values[0]
