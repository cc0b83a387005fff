import sys

import jiwer
import numpy as np
import pytest

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation import metrics

RATE = 16_000


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Two seconds whose loudness and pitch move as speech's do; nobody's recording."""
    time = np.arange(2 * RATE) / RATE
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * 1.3 * time)) / RATE
    voice = sum(np.sin(k * pitch) / k for k in range(1, 25))
    return 0.2 * voice * np.clip(np.sin(2 * np.pi * 3 * time), 0, None)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=0.05, size=2 * RATE)


SIGNAL_METRICS = pytest.mark.parametrize(
    "metric, best",
    [(metrics.stoi, 1.0), (metrics.estoi, 1.0), (metrics.pesq_wb, 4.644), (metrics.pesq_nb, 4.549)],
)


@SIGNAL_METRICS
def test_the_reference_itself_gets_the_best_score(metric, best, speech):
    assert metric(speech, speech) == pytest.approx(best, abs=1e-3)


@SIGNAL_METRICS
def test_more_noise_scores_lower(metric, best, speech, noise):
    quiet, loud = metric(speech, speech + 0.3 * noise), metric(speech, speech + 3 * noise)
    assert best > quiet > loud


def test_estoi_of_digitally_silent_speech_is_the_same_each_time_and_leaves_numpys_seed_alone(speech):
    half = np.where(np.arange(len(speech)) < RATE, speech, 0)
    np.random.seed(7)  # noqa: NPY002
    before = metrics.estoi(speech, half)
    drawn = np.random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002
    assert metrics.estoi(speech, half) == before


@pytest.mark.parametrize("reference", [np.zeros(RATE), np.ones(RATE // 10)], ids=["silent", "0.1 s"])
def test_stoi_of_a_reference_without_enough_speech_is_undefined(reference, speech):
    with pytest.raises(metrics.UndefinedMetricError, match="STOI"):
        metrics.stoi(reference, speech)


@pytest.mark.parametrize("metric", [metrics.stoi, metrics.estoi, metrics.pesq_wb, metrics.pesq_nb])
@pytest.mark.parametrize("samples", [1, 100, 400, 640, 3000])
def test_a_few_samples_are_undefined_whatever_their_number(metric, samples, speech):
    part = speech[2000 : 2000 + samples]
    with pytest.raises(metrics.UndefinedMetricError):
        metric(part, part)


def test_estoi_is_not_stoi_and_wide_band_is_not_narrow_band(speech, noise):
    noisy = speech + noise
    assert metrics.estoi(speech, noisy) < metrics.stoi(speech, noisy) - 0.01
    assert abs(metrics.pesq_wb(speech, noisy) - metrics.pesq_nb(speech, noisy)) > 0.05


@pytest.mark.parametrize(
    "reference, message",
    [
        (np.zeros((2, 100)), r"\(2, 100\)"),
        (np.zeros(0), r"\(0,\)"),
        (np.full(RATE, np.nan), "NaN"),
        (np.full(RATE, 12_000, dtype=np.int16), r"12000; \[-1, 1\] was expected"),
    ],
    ids=["two channels", "no sample", "not finite", "16-bit integers"],
)
def test_a_signal_that_cannot_be_scored_is_named(reference, message, speech):
    with pytest.raises(metrics.MetricError, match=f"reference.*{message}"):
        metrics.stoi(reference, speech)


def test_pesq_of_silence_is_refused_with_a_name_of_its_own(speech):
    with pytest.raises(metrics.PesqUndefinedError, match="silent"):
        metrics.pesq_wb(speech, np.zeros_like(speech))


def test_pesq_refuses_rates_that_the_standard_does_not_have(speech):
    with pytest.raises(metrics.MetricError, match="22050.*16000"):
        metrics.pesq_wb(speech, speech, 22_050)
    with pytest.raises(metrics.MetricError, match="22050.*8000"):
        metrics.pesq_nb(speech, speech, 22_050)


def test_word_errors_are_counted_over_the_corpus_not_averaged_over_sentences():
    # one of one word wrong, none of nine: 1 / 10, where the mean over the sentences would be 1 / 2
    references = ["yes", "a b c d e f g h i"]
    assert metrics.wer(references, ["no", "a b c d e f g h i"]) == pytest.approx(0.1)


def test_substitutions_deletions_and_insertions_are_told_apart():
    counts = metrics.word_errors(["bin blue at f", "set red"], ["bin green at", "set red by now"])
    assert (counts.substitutions, counts.deletions, counts.insertions, counts.words) == (1, 1, 2, 6)
    assert counts.errors == 4
    assert counts.rate == pytest.approx(4 / 6)


def test_character_errors_count_spaces_and_agree_with_jiwer():
    references, hypotheses = ["bin blue", "set red"], ["bin glue", "se tred"]
    counts = metrics.character_errors(references, hypotheses)
    assert counts.characters == 8 + 7
    assert counts.rate == metrics.cer(references, hypotheses) == jiwer.cer(references, hypotheses)
    assert counts.errors == 3  # b > g; the space is put behind the t


def test_a_sentence_that_was_not_heard_counts_as_deletions():
    assert metrics.word_errors(["bin blue"], [""]).deletions == 2


@pytest.mark.parametrize(
    "references, hypotheses",
    [([], []), (["a"], []), (["a", " "], ["a", "b"])],
    ids=["none", "uneven", "empty"],
)
def test_word_errors_refuses_what_has_no_rate(references, hypotheses):
    with pytest.raises(Lip2SpeechError):
        metrics.word_errors(references, hypotheses)


def test_a_missing_package_is_reported_with_the_extra_that_holds_it(monkeypatch, speech):
    monkeypatch.setitem(
        sys.modules, "pystoi", None
    )  # what Python itself does for a module that must not load
    with pytest.raises(ImportError, match=r"hf-lip2speech\[eval\]"):
        metrics.stoi(speech, speech)
