"""Batches of clips of about one length, up to a number of frames.

Lengths are sorted into buckets whose longest is at most 1.1 times their shortest, so that no batch is padded
by more than a tenth. The number of batches per epoch depends on the lengths only, their contents on (seed,
epoch): a training that is resumed in the middle of an epoch finds its place by counting.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from ..errors import DatasetError

SPREAD = 1.1  # a bucket's longest clip over its shortest


class Epochs(Protocol):
    """What tells a sampler the epoch: an `EpochDataset`."""

    seed: int

    @property
    def epoch(self) -> int: ...


class FrameBatchSampler(Sampler[list[int]]):
    """Batches of indices, in an order and with neighbours that are drawn again for each epoch.

    A bucket's clips are shuffled and dealt out into batches as even in size as can be, so that all clips are
    seen; with several processes, at the end of an epoch up to `processes` - 1 batches are left out.

    Args:
        lengths: Frames of each clip, as they are in the batch.
        batch_frames: Frames per batch at most, padding included; a longer clip is a batch of its own.
        dataset: Its `seed` and `epoch` are read when an epoch begins.
        processes: The number of batches is a multiple of it; process i takes batches i, i + processes, ...

    Raises:
        DatasetError: There are fewer batches than processes.
    """

    drop_last = True  # what accelerate asks: no batch is repeated to fill a round of processes

    def __init__(self, lengths: Sequence[int], batch_frames: int, dataset: Epochs, processes: int = 1):
        self.dataset = dataset
        self.processes = processes
        order = np.argsort(lengths, kind="stable")
        ordered = np.asarray(lengths)[order]
        self._buckets: list[np.ndarray] = []
        self._counts: list[int] = []  # batches of each bucket
        start = 0
        while start < len(order):
            end = int(np.searchsorted(ordered, ordered[start] * SPREAD, side="right"))
            bucket = order[start:end]
            size = max(1, batch_frames // int(ordered[end - 1]))
            self._buckets.append(bucket)
            self._counts.append(-(-len(bucket) // size))
            start = end
        batches = sum(self._counts)
        if batches < processes:
            raise DatasetError(
                f"{len(order)} clips of {sum(lengths)} frames are {batches} batches of at most "
                f"{batch_frames} frames, fewer than there are processes ({processes}): lower batch_frames."
            )
        self._length = batches // processes * processes

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        random = np.random.default_rng((self.dataset.seed, self.dataset.epoch))
        batches = [
            batch
            for bucket, count in zip(self._buckets, self._counts, strict=True)
            for batch in np.array_split(random.permutation(bucket), count)
        ]
        for number in random.permutation(len(batches))[: self._length]:
            yield batches[number].tolist()
