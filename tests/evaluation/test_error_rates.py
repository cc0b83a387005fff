"""Error rates of words, characters and units, and the text normalisation before them."""

import jiwer
import numpy as np
import pytest

from hf_lip2speech.errors import MetricError
from hf_lip2speech.evaluation.error_rates import (
    cer,
    character_errors,
    normalise_text,
    unit_accuracy,
    unit_error_rate,
    wer,
    word_errors,
)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("Place blue at F2, now!", "place blue at f two now"),
        ("place blue at f two now", "place blue at f two now"),
        ("It’s a well-known   'fact'.", "it's a well known fact"),
        ("19 U.S. men", "one nine u s men"),
        ("Élan_vital", "élan vital"),
        ("... !", ""),
        ("", ""),
    ],
)
def test_a_sentence_is_normalised_to_its_words(written, words):
    assert normalise_text(written) == normalise_text(words) == words


def test_word_errors_are_counted_over_the_corpus_not_averaged_over_sentences():
    # one of one word wrong, none of nine: 1 / 10, where the mean over the sentences would be 1 / 2
    assert wer(["yes", "a b c d e f g h i"], ["no", "a b c d e f g h i"]) == pytest.approx(0.1)


def test_substitutions_deletions_and_insertions_are_told_apart():
    counts = word_errors(["bin blue at f", "set red"], ["bin green at", "set red by now"])
    assert (counts.substitutions, counts.deletions, counts.insertions, counts.length) == (1, 1, 2, 6)
    assert counts.errors == 4 and counts.rate == pytest.approx(4 / 6)
    assert word_errors(["bin blue"], [""]).deletions == 2  # nothing was heard


def test_character_errors_count_spaces_and_agree_with_jiwer():
    references, hypotheses = ["bin blue", "set red"], ["bin glue", "se tred"]
    counts = character_errors(references, hypotheses)
    assert counts.length == 8 + 7
    assert counts.rate == cer(references, hypotheses) == jiwer.cer(references, hypotheses)
    assert counts.errors == 3  # b > g; the space is put behind the t


@pytest.mark.parametrize(
    ("references", "hypotheses"),
    [([], []), (["a"], []), (["a", " "], ["a", "b"])],
    ids=["none", "uneven", "empty"],
)
def test_sentences_without_a_rate_are_refused(references, hypotheses):
    with pytest.raises(MetricError):
        word_errors(references, hypotheses)


@pytest.mark.parametrize("sentences", [[None], [["a"]], [1]])
def test_what_is_no_text_has_no_error_rate(sentences):
    with pytest.raises(MetricError, match="Sentences are texts"):
        word_errors(["a"], sentences)


def test_unit_accuracy_is_over_all_steps_of_all_clips_in_their_place():
    assert unit_accuracy([[1], [1, 2, 3, 4, 5, 6, 7, 8, 9]], [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]) == 0.9
    units = np.random.default_rng(0).integers(0, 200, 100)
    assert unit_accuracy([units], [units]) == 1 and unit_accuracy([units], [np.roll(units, 1)]) < 0.1


def test_missing_units_are_wrong_and_surplus_ones_do_not_count():
    assert unit_accuracy([[1, 2, 3, 4]], [[1, 2]]) == 0.5
    assert unit_accuracy([[1, 2]], [[1, 2, 3, 4]]) == 1
    assert unit_accuracy([[1, 2]], [[]]) == 0


def test_the_unit_error_rate_counts_edits_between_collapsed_sequences():
    # 1 2 3 4 against 1 5 4: one substitution, one deletion, of 4
    assert unit_error_rate([[1, 1, 2, 3, 3, 4]], [[1, 5, 5, 5, 4, 4]]) == 0.5
    assert unit_error_rate([[1]], [[2, 3, 4]]) == 3  # insertions exceed 1


def test_the_unit_error_rate_does_not_see_how_long_units_last():
    true, slow = np.array([7, 8, 9]), np.array([7, 7, 7, 8, 8, 9])
    assert unit_error_rate([true], [slow]) == 0
    assert unit_accuracy([slow], [np.array([7, 8, 9, 9, 9, 9])]) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("references", "units"),
    [([], []), ([[1]], []), ([[]], [[1]]), ([[[1]]], [[1]]), ([[0.5]], [[1]])],
    ids=["none", "uneven", "empty", "two axes", "not integers"],
)
@pytest.mark.parametrize("metric", [unit_accuracy, unit_error_rate])
def test_units_without_a_rate_are_refused(metric, references, units):
    with pytest.raises(MetricError, match="expected"):
        metric(references, units)
