import math

import numpy as np
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.errors import MetricError, UndefinedMetricError
from hf_lip2speech.evaluation import spectral
from hf_lip2speech.evaluation.spectral import log_spectral_distance, mel_cepstra, mel_cepstral_distortion
from tests.evaluation.sounds import add_noise
from tests.media.voices import babble


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(1.0, seed=1)


def test_half_the_amplitude_is_6_dB_of_log_spectral_distance(speech):
    loud = speech + 1e-2 * np.random.default_rng(0).standard_normal(len(speech))  # no bin at the floor
    assert log_spectral_distance(loud, loud / 2) == pytest.approx(20 * math.log10(2), abs=0.02)


def test_the_log_spectral_distance_is_its_formula(speech):
    noisy = add_noise(speech, 10)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    spectra = []
    for signal in (speech, noisy):
        frames = np.lib.stride_tricks.sliding_window_view(signal.astype(float), 640)[::160]
        spectra.append(np.abs(np.fft.rfft(frames * window)))
    floor = spectra[0].max() * 1e-4  # 80 dB
    true, given = (20 * np.log10(np.maximum(spectrum, floor)) for spectrum in spectra)
    expected = np.sqrt(((true - given) ** 2).mean(axis=1)).mean()
    assert log_spectral_distance(speech, noisy) == pytest.approx(expected, rel=1e-9)


def test_scaling_both_signals_does_not_change_the_log_spectral_distance(speech):
    noisy = add_noise(speech, 10)
    assert log_spectral_distance(speech / 8, noisy / 8) == pytest.approx(log_spectral_distance(speech, noisy))


@pytest.mark.parametrize("reference", [np.zeros(16_000), np.ones(100)], ids=["silent", "too short"])
def test_a_reference_without_a_spectrum_is_refused(reference, speech):
    with pytest.raises(MetricError, match="Leave the clip out"):
        log_spectral_distance(reference, speech)


def test_the_mel_cepstra_are_those_of_the_log_mel_spectrogram(speech):
    """With all coefficients, the spectrogram comes back but for its mean."""
    log_mel = log_mel_spectrogram(torch.from_numpy(speech)).double().numpy()
    cepstra = mel_cepstra(speech, 79)
    angles = np.pi / 80 * np.arange(1, 80)[:, None] * (np.arange(80) + 0.5)
    assert np.abs(cepstra @ np.cos(angles) - (log_mel - log_mel.mean(axis=1, keepdims=True))).max() < 1e-4


def test_mel_cepstral_distortion_is_the_difference_of_smooth_spectra_in_dB(speech):
    """What the factor 10 / ln 10 * sqrt(2) stands for: the root mean square over mel bins, in dB."""
    noisy = add_noise(speech, 10)
    angles = np.pi / 80 * np.arange(1, 14)[:, None] * (np.arange(80) + 0.5)
    smooth = [20 / math.log(10) * mel_cepstra(signal) @ np.cos(angles) for signal in (speech, noisy)]
    expected = np.sqrt(((smooth[0] - smooth[1]) ** 2).mean(axis=1)).mean()
    assert mel_cepstral_distortion(speech, noisy) == pytest.approx(expected, rel=1e-9)


def test_loudness_does_not_count_in_mel_cepstral_distortion(speech):
    loud = speech + 1e-3 * np.random.default_rng(0).standard_normal(len(speech))  # no bin at the floor
    assert mel_cepstral_distortion(loud, loud / 2) < 0.05
    assert mel_cepstral_distortion(loud, add_noise(loud, 20)) > 1


def test_mel_cepstral_distortion_rises_with_noise(speech):
    assert 0 == mel_cepstral_distortion(speech, speech)
    distortions = [mel_cepstral_distortion(speech, add_noise(speech, snr)) for snr in (40, 20, 0)]
    assert 0 < distortions[0] < distortions[1] < distortions[2]


def test_a_signal_without_a_frame_has_no_mel_cepstral_distortion(speech):
    for reference, given, dtw in ((speech[:320], speech, False), (speech, speech[:320], True)):
        with pytest.raises(UndefinedMetricError, match="320 samples"):
            mel_cepstral_distortion(reference, given, dtw=dtw)


def test_time_warping_finds_the_cheapest_of_all_paths():
    """Against all paths through a small matrix, the mean along the one of the least sum."""
    costs = np.random.default_rng(0).uniform(size=(5, 4))

    def paths(i, j):
        if (i, j) == (4, 3):
            return [[costs[4, 3]]]
        steps = [(i + 1, j), (i, j + 1), (i + 1, j + 1)]
        return [[costs[i, j], *rest] for a, b in steps if a < 5 and b < 4 for rest in paths(a, b)]

    cheapest = min(paths(0, 0), key=sum)
    assert spectral._mean_along_cheapest_path(costs) == pytest.approx(sum(cheapest) / len(cheapest))


def test_time_warping_forgives_another_tempo(speech):
    slow = np.repeat(speech.reshape(-1, 800), 2, axis=0).reshape(-1)  # every 50 ms twice
    assert mel_cepstral_distortion(speech, slow, dtw=True) < 0.5 * mel_cepstral_distortion(speech, slow)
