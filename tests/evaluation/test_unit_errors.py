import numpy as np
import pytest

from hf_lip2speech.errors import MetricError
from hf_lip2speech.evaluation.unit_errors import unit_accuracy, unit_error_rate


def test_unit_accuracy_is_over_all_steps_of_all_clips():
    assert unit_accuracy([[1], [1, 2, 3, 4, 5, 6, 7, 8, 9]], [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) == 0.9


def test_missing_units_are_wrong_and_surplus_ones_do_not_count():
    assert unit_accuracy([[1, 2, 3, 4]], [[1, 2]]) == 0.5
    assert unit_accuracy([[1, 2]], [[1, 2, 3, 4]]) == 1
    assert unit_accuracy([[1, 2]], [[]]) == 0


def test_the_unit_error_rate_counts_edits_between_collapsed_sequences():
    # 1 2 3 4 against 1 5 4: one substitution, one deletion, of 4
    assert unit_error_rate([[1, 1, 2, 3, 3, 4]], [[1, 5, 5, 5, 4, 4]]) == 0.5


def test_the_unit_error_rate_does_not_see_how_long_units_last():
    true, slow = np.array([7, 8, 9]), np.array([7, 7, 7, 8, 8, 9])
    assert unit_error_rate([true], [slow]) == 0
    assert unit_accuracy([slow], [np.array([7, 8, 9, 9, 9, 9])]) == pytest.approx(2 / 6)


def test_the_unit_error_rate_of_insertions_exceeds_1():
    assert unit_error_rate([[1]], [[2, 3, 4]]) == 3


@pytest.mark.parametrize(
    "references, units",
    [([], []), ([[1]], []), ([[]], [[1]]), ([[[1]]], [[1]]), ([[0.5]], [[1]])],
    ids=["none", "uneven", "empty", "two axes", "not integers"],
)
@pytest.mark.parametrize("metric", [unit_accuracy, unit_error_rate])
def test_what_has_no_unit_errors_is_refused(metric, references, units):
    with pytest.raises(MetricError, match="expected"):
        metric(references, units)
