import numpy as np
import pytest

from hf_lip2speech.evaluation.bootstrap import interval
from hf_lip2speech.evaluation.metrics import MetricError


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution_where_clips_are_many():
    numbers = np.random.default_rng(1).normal(3, 2, 400)
    found = interval(numbers)
    error = numbers.std() / np.sqrt(400)
    assert found.value == pytest.approx(numbers.mean())
    assert found.low == pytest.approx(numbers.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(numbers.mean() + 1.96 * error, abs=0.1 * error)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(2)
    hits = [
        (found := interval(random.normal(1, 2, size=60), resamples=1000)).low <= 1 <= found.high
        for _ in range(300)
    ]
    assert 0.90 <= np.mean(hits) <= 0.98


def test_a_rate_is_the_ratio_of_the_sums_and_long_clips_weigh_more():
    found = interval([0, 30], [10, 90])
    assert found.value == 0.3
    assert found.low == 0 and found.high == pytest.approx(1 / 3)


def test_a_median_is_drawn_as_a_median():
    found = interval([1, 2, 3, 4, 1000], statistic="median")
    assert found.value == 3 and found.high == 1000 and interval([0, 0, 0, 0, 9]).value == 1.8


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    numbers = np.random.default_rng(3).normal(size=49)
    assert interval(numbers, seed=5) == interval(numbers, seed=5)
    assert interval(numbers, seed=5) != interval(numbers, seed=6)


def test_clips_that_are_all_alike_leave_no_doubt():
    found = interval([0.25] * 7)
    assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([], None), ([1.0], [1.0, 2.0]), ([float("nan")], None), ([1.0, 2.0], [0.0, 0.0]), ([1.0], [-1.0])],
)
def test_what_has_no_mean_is_refused(numbers, words):
    with pytest.raises(MetricError, match="expected"):
        interval(numbers, words)
