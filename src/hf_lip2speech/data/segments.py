"""Long clips, cut between words by the corpus's word times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..constants import FRAME_RATE
from .corpora import Clip, Word


@dataclass(frozen=True)
class Segment:
    """A part of a clip that is stored as a clip.

    Attributes:
        id: The clip's ID, with a number appended where there are several ("pretrain/VIDEO/00001_00").
        start: Its first video frame in the clip.
        frames: How many it has.
    """

    id: str
    start: int
    frames: int


def segments_of(clip: Clip, frames: int, limit: int) -> list[Segment]:
    """The whole clip if it has at most `limit` frames or no word times, else its parts, in order."""
    edges = [0, *cuts(clip.words, frames, limit), frames]
    if len(edges) == 2:
        return [Segment(clip.id, 0, frames)]
    return [
        Segment(f"{clip.id}_{number:02d}", start, end - start)
        for number, (start, end) in enumerate(pairwise(edges))
    ]


def cuts(words: Sequence[Word], frames: int, limit: int) -> list[int]:
    """The frames at which a clip is cut so that no part is longer than `limit` and all are about as long.

    A cut is in the middle of the pause between two words. Where no word begins or ends for half the limit,
    nobody speaks, and the cut is at the limit.

    Args:
        words: In order of time; none: no cut.
        frames: Of the clip, at 25 fps.
        limit: In frames.
    """
    if not words:
        return []
    seconds = [
        words[0].start,
        *((word.end + after.start) / 2 for word, after in pairwise(words)),
        words[-1].end,
    ]
    pauses = [round(FRAME_RATE * second) for second in seconds]
    found: list[int] = []
    start = 0
    while frames - start > limit:
        rest = frames - start
        aim = start + rest / math.ceil(rest / limit)
        near = [pause for pause in pauses if start + limit / 2 <= pause <= min(start + limit, frames - 1)]
        start = min(near, key=lambda pause: abs(pause - aim)) if near else start + limit
        found.append(start)
    return found


def words_of(clip: Clip, segment: Segment) -> tuple[str, list[Word]]:
    """The text of a segment, and its words with times from the segment's start."""
    if segment.id == clip.id:
        return clip.text, list(clip.words)
    start, end = segment.start / FRAME_RATE, (segment.start + segment.frames) / FRAME_RATE
    inside = [word for word in clip.words if start <= (word.start + word.end) / 2 < end]
    shifted = [
        Word(word.word, round(max(0.0, word.start - start), 3), round(min(word.end, end) - start, 3))
        for word in inside
    ]
    return " ".join(word.word for word in inside), shifted
