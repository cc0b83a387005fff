"""Metrics of two signals: the values of the libraries beneath, what they do about time, what they refuse."""

import math
import sys

import numpy as np
import pesq
import pystoi
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.errors import MetricError, UndefinedMetricError
from hf_lip2speech.evaluation import metrics, quality
from hf_lip2speech.evaluation.alignment import delay, match_length

from ..media.voices import babble
from .material import RATE, add_noise, late

LIBRARIES = {  # with the score of the reference itself
    "stoi": (lambda true, given: pystoi.stoi(true, given, RATE), 1.0),
    "estoi": (lambda true, given: pystoi.stoi(true, given, RATE, extended=True), 1.0),
    "pesq_wb": (lambda true, given: pesq.pesq(RATE, true, given, "wb"), 4.644),
    "pesq_nb": (lambda true, given: pesq.pesq(RATE, true, given, "nb"), 4.549),
}


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(2.0, seed=3)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_score_is_the_librarys_is_best_for_the_reference_itself_and_falls_with_noise(name, speech):
    library, best = LIBRARIES[name]
    ours = []
    for given in (speech, add_noise(speech, 20), add_noise(speech, 0)):
        ours.append(getattr(metrics, name)(speech, given))
        assert ours[-1] == pytest.approx(library(speech.astype(float), given.astype(float)), abs=1e-9)
    assert best == pytest.approx(ours[0], abs=1e-3) and ours[0] > ours[1] > ours[2]


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
    with pytest.raises(UndefinedMetricError, match="STOI"):
        metrics.stoi(reference, speech)


@pytest.mark.parametrize("samples", [1, 100, 400, 640, 3000])
def test_a_few_samples_are_undefined_whatever_their_number(samples, speech):
    part = speech[2000 : 2000 + samples]
    for name in LIBRARIES:
        with pytest.raises(UndefinedMetricError):
            getattr(metrics, name)(part, part)


def test_estoi_is_not_stoi_and_wide_band_is_not_narrow_band(speech):
    noisy = add_noise(speech, 10)
    assert metrics.estoi(speech, noisy) < metrics.stoi(speech, noisy) - 0.01
    assert abs(metrics.pesq_wb(speech, noisy) - metrics.pesq_nb(speech, noisy)) > 0.05


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param(np.zeros((2, 100)), r"\(2, 100\)", id="two channels"),
        pytest.param(np.zeros(0), r"\(0,\)", id="no sample"),
        pytest.param(np.full(RATE, np.nan), "NaN", id="not finite"),
        pytest.param(np.full(RATE, 12_000, dtype=np.int16), r"12000; expected \[-1, 1\]", id="integers"),
    ],
)
def test_a_signal_that_cannot_be_scored_is_named(reference, message, speech):
    with pytest.raises(MetricError, match=f"reference.*{message}"):
        metrics.stoi(reference, speech)


def test_pesq_refuses_silence_and_rates_that_the_standard_does_not_have(speech):
    with pytest.raises(metrics.PesqUndefinedError, match="silent"):
        metrics.pesq_wb(speech, np.zeros_like(speech))
    for metric, message in ((metrics.pesq_wb, "22050.*16000"), (metrics.pesq_nb, "22050.*8000")):
        with pytest.raises(MetricError, match=message):
            metric(speech, speech, 22_050)


def test_a_missing_package_is_reported_with_its_extra(monkeypatch, speech):
    monkeypatch.setitem(sys.modules, "pystoi", None)  # as Python marks a module that must not load
    with pytest.raises(ImportError, match=r"\[eval\]"):
        metrics.stoi(speech, speech)


def f0_frame(reference, speech):
    pytest.importorskip("parselmouth")
    return metrics.f0_errors(reference, speech).frame


# metric, whether more is better, what is lost at least when the very same speech comes 0.1 s late
UNALIGNED = pytest.mark.parametrize(
    ("metric", "sign", "loss"),
    [
        pytest.param(metrics.stoi, 1, 0.5, id="stoi"),
        pytest.param(metrics.estoi, 1, 0.5, id="estoi"),
        pytest.param(metrics.log_spectral_distance, -1, 5.0, id="log_spectral_distance"),
        pytest.param(metrics.mel_cepstral_distortion, -1, 3.0, id="mel_cepstral_distortion"),
        pytest.param(f0_frame, -1, 0.2, id="f0_errors"),
    ],
)


@UNALIGNED
def test_the_same_speech_a_tenth_of_a_second_late_scores_as_bad_speech(metric, sign, loss, speech):
    best = metric(speech, speech)
    assert sign * (best - metric(speech, late(speech, 0.1))) > loss
    both = late(speech, 0.1)  # silence before the reference too takes the loss away
    assert metric(both, both) == pytest.approx(best, abs=1e-6)


@UNALIGNED
def test_the_reference_sets_the_length(metric, sign, loss, speech):
    best, half = metric(speech, speech), speech[: len(speech) // 2]
    silent = np.concatenate([half, np.zeros(len(speech) - len(half), np.float32)])
    assert metric(speech, half) == metric(speech, silent)
    assert sign * (best - metric(speech, half)) > loss / 4
    assert metric(speech, np.concatenate([speech, -speech])) == best


def test_the_metrics_that_align_are_those_that_say_so(speech):
    """What ALIGNMENT says: PESQ and MCD-DTW forgive a delay."""
    behind = late(speech, 0.1)
    assert "P.862" in metrics.ALIGNMENT["pesq_wb"] and "P.862" in metrics.ALIGNMENT["pesq_nb"]
    assert "time warping" in metrics.ALIGNMENT["mel_cepstral_distortion, dtw=True"]
    assert metrics.pesq_wb(speech, behind) > 3 > metrics.pesq_wb(speech, add_noise(speech, 0))
    warped = metrics.mel_cepstral_distortion(speech, behind, dtw=True)
    assert warped < 0.2 * metrics.mel_cepstral_distortion(speech, behind)


def test_alignment_is_stated_for_every_metric():
    functions = {name for name in metrics.__all__ if name.islower()}
    others = {"embedding_similarity", "word_errors", "character_errors"}
    assert functions - others == {name.split(",")[0] for name in metrics.ALIGNMENT}


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.13, 0.5])
def test_a_delay_is_measured_to_10_ms_and_noise_does_not_hide_it(speech, seconds):
    assert delay(speech, add_noise(late(speech, seconds), 5)) == pytest.approx(seconds, abs=0.011)


def test_speech_that_is_early_has_a_negative_delay_and_a_short_reference_none(speech):
    assert delay(late(speech, 0.2), speech) == pytest.approx(-0.2, abs=0.011)
    with pytest.raises(MetricError, match=r"0.50 s; at least 1.00"):
        delay(speech[: RATE // 2], speech)


def test_matched_signals_have_the_references_length():
    longer, shorter = match_length(np.ones(5), np.arange(1, 9)), match_length(np.ones(5), np.arange(1, 4))
    assert longer[1].tolist() == [1, 2, 3, 4, 5]
    assert shorter[1].tolist() == [1, 2, 3, 0, 0]


def test_half_the_amplitude_is_6_dB_of_log_spectral_distance_and_no_mel_cepstral_distortion(speech):
    loud = speech + 1e-2 * np.random.default_rng(0).standard_normal(len(speech))  # no bin at the floor
    assert metrics.log_spectral_distance(loud, loud / 2) == pytest.approx(20 * math.log10(2), abs=0.02)
    assert metrics.mel_cepstral_distortion(loud, loud / 2) < 0.05
    assert metrics.mel_cepstral_distortion(loud, add_noise(loud, 10)) > 1


def test_the_log_spectral_distance_is_its_formula_at_any_loudness(speech):
    noisy = add_noise(speech, 10)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    spectra = []
    for signal in (speech, noisy):
        frames = np.lib.stride_tricks.sliding_window_view(signal.astype(float), 640)[::160]
        spectra.append(np.abs(np.fft.rfft(frames * window)))
    floor = spectra[0].max() * 1e-4  # 80 dB
    true, given = (20 * np.log10(np.maximum(spectrum, floor)) for spectrum in spectra)
    expected = np.sqrt(((true - given) ** 2).mean(axis=1)).mean()
    assert metrics.log_spectral_distance(speech, noisy) == pytest.approx(expected, rel=1e-9)
    assert metrics.log_spectral_distance(speech / 8, noisy / 8) == pytest.approx(expected)


@pytest.mark.parametrize("reference", [np.zeros(16_000), np.ones(100)], ids=["silent", "too short"])
def test_a_reference_without_a_spectrum_is_refused(reference, speech):
    with pytest.raises(MetricError, match="Leave the clip out"):
        metrics.log_spectral_distance(reference, speech)


def test_the_mel_cepstra_are_those_of_the_log_mel_spectrogram(speech):
    """With all coefficients, the spectrogram comes back except for its mean."""
    log_mel = log_mel_spectrogram(torch.from_numpy(speech)).double().numpy()
    cepstra = quality.mel_cepstra(speech, 79)
    angles = np.pi / 80 * np.arange(1, 80)[:, None] * (np.arange(80) + 0.5)
    assert np.abs(cepstra @ np.cos(angles) - (log_mel - log_mel.mean(axis=1, keepdims=True))).max() < 1e-4


def test_mel_cepstral_distortion_is_the_difference_of_smooth_spectra_in_dB_and_rises_with_noise(speech):
    """The factor 10 / ln 10 * sqrt(2): the root mean square over mel bins, in dB."""
    noisy = add_noise(speech, 10)
    angles = np.pi / 80 * np.arange(1, 14)[:, None] * (np.arange(80) + 0.5)
    smooth = [20 / math.log(10) * quality.mel_cepstra(signal) @ np.cos(angles) for signal in (speech, noisy)]
    expected = np.sqrt(((smooth[0] - smooth[1]) ** 2).mean(axis=1)).mean()
    assert metrics.mel_cepstral_distortion(speech, noisy) == pytest.approx(expected, rel=1e-9)
    rising = [metrics.mel_cepstral_distortion(speech, add_noise(speech, snr)) for snr in (40, 20, 0)]
    assert metrics.mel_cepstral_distortion(speech, speech) == 0 < rising[0] < rising[1] < rising[2]


def test_a_signal_without_a_frame_has_no_mel_cepstral_distortion(speech):
    for reference, given, dtw in ((speech[:320], speech, False), (speech, speech[:320], True)):
        with pytest.raises(UndefinedMetricError, match="320 samples"):
            metrics.mel_cepstral_distortion(reference, given, dtw=dtw)


def test_time_warping_finds_the_cheapest_of_all_paths():
    """Against all paths through a small matrix, the mean along the one with the least sum."""
    costs = np.random.default_rng(0).uniform(size=(5, 4))

    def paths(i, j):
        if (i, j) == (4, 3):
            return [[costs[4, 3]]]
        steps = [(i + 1, j), (i, j + 1), (i + 1, j + 1)]
        return [[costs[i, j], *rest] for a, b in steps if a < 5 and b < 4 for rest in paths(a, b)]

    cheapest = min(paths(0, 0), key=sum)
    assert quality._mean_along_cheapest_path(costs) == pytest.approx(sum(cheapest) / len(cheapest))


def test_time_warping_forgives_another_tempo(speech):
    slow = np.repeat(speech.reshape(-1, 800), 2, axis=0).reshape(-1)  # every 50 ms twice
    plain = metrics.mel_cepstral_distortion(speech, slow)
    assert metrics.mel_cepstral_distortion(speech, slow, dtw=True) < 0.5 * plain
