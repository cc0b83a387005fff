"""Which clips there are: who says what in each, and to which split it belongs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.corpora import GRID_SENTENCE
from .looks import TALKERS

SIZE = (360, 288)  # of a frame, width and height in pixels: GRID's
NUM_SENTENCES = math.prod(len(table) for table in GRID_SENTENCE)  # 64,000


@dataclass(frozen=True)
class ClipPlan:
    """What one clip will be. Clip `index` is the same whatever the number of clips."""

    seed: int
    index: int
    talker: str
    sentence: str  # its GRID name
    split: str

    @property
    def id(self) -> str:
        return f"{self.talker}/{self.sentence}"


def plan_clips(num_clips: int, seed: int) -> Iterator[ClipPlan]:
    """Talkers take turns, each sentence comes once, of each talker's 20 clips 1 is for val and 2 for test."""
    talkers = sorted(TALKERS)
    sentences = np.random.default_rng(seed).permutation(NUM_SENTENCES)
    for index in range(num_clips):
        turn = index // len(talkers) % 20
        split = {1: "val", 2: "test", 12: "test"}.get(turn, "train")
        yield ClipPlan(seed, index, talkers[index % len(talkers)], sentence_id(int(sentences[index])), split)


def sentence_id(number: int) -> str:
    """The GRID name of sentence `number` in 0..63999, such as "bbaf2n"."""
    letters = []
    for table in reversed(GRID_SENTENCE):
        number, index = divmod(number, len(table))
        letters.append(list(table)[index])
    return "".join(reversed(letters))
