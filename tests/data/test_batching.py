from types import SimpleNamespace

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard

from hf_lip2speech.data.collation import FrameBatchSampler
from hf_lip2speech.errors import DatasetError


def lengths_like_lrs3(count: int) -> list[int]:
    """Sentences of 3 s and long stretches of 12 s, cut at 24 s."""
    random = np.random.default_rng(0)
    short = random.gamma(4, 21, count // 5).clip(12, 155)
    long = random.gamma(2.2, 136, count - len(short)).clip(15, 600)
    return np.concatenate([short, long]).astype(int).tolist()


def epochs(seed=0, epoch=0):
    return SimpleNamespace(seed=seed, epoch=epoch)


@pytest.mark.parametrize("count", [150, 3000])
def test_batches_hold_every_clip_once_within_the_frames_and_little_padding(count):
    lengths = np.array(lengths_like_lrs3(count))
    batches = list(FrameBatchSampler(lengths.tolist(), 3600, epochs()))
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    padded = [len(batch) * lengths[batch].max() for batch in batches]
    assert max(padded) <= 3600
    for batch in batches:
        assert 1 - lengths[batch].sum() / (len(batch) * lengths[batch].max()) < 0.1
    assert 1 - lengths.sum() / sum(padded) < 0.05, "and of all, less than half of that"


def test_the_epoch_draws_other_batches_of_the_same_number_and_can_be_drawn_again():
    dataset = epochs(seed=3)
    sampler = FrameBatchSampler(lengths_like_lrs3(3000), 3600, dataset)
    drawn = []
    for dataset.epoch in range(4):
        drawn.append(list(sampler))
        assert len(drawn[-1]) == len(sampler)
    assert len({str(batches) for batches in drawn}) == 4
    together = [{frozenset(batch) for batch in batches} for batches in drawn]
    assert len(together[0] & together[1]) < len(sampler) / 4, "clips meet others"
    dataset.epoch = 2
    assert list(sampler) == drawn[2]
    dataset.seed = 4
    assert list(sampler) != drawn[2]


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_processes_take_turns_and_have_as_many_batches_each(processes):
    sampler = FrameBatchSampler(lengths_like_lrs3(500), 3600, epochs(), processes)
    shares = [list(BatchSamplerShard(sampler, processes, index)) for index in range(processes)]
    assert {len(share) for share in shares} == {len(sampler) // processes}
    assert {len(BatchSamplerShard(sampler, processes, index)) for index in range(processes)} == {
        len(sampler) // processes
    }
    seen = [index for share in shares for batch in share for index in batch]
    assert len(seen) == len(set(seen)) and len(seen) > 500 - 500 * processes / len(sampler) * 2


def test_a_clip_longer_than_a_batch_comes_alone():
    batches = list(FrameBatchSampler([5000, 10, 10], 3600, epochs()))
    assert sorted(sorted(batch) for batch in batches) == [[0], [1, 2]]


def test_too_few_clips_for_the_processes_are_named():
    with pytest.raises(DatasetError, match=r"2 clips of 20 frames are 1 batches.*lower batch_frames"):
        FrameBatchSampler([10, 10], 3600, epochs(), processes=2)
