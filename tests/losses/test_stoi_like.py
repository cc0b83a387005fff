"""Envelopes of a predicted mel against the true ones: near to what STOI and ESTOI say of the sound."""

import numpy as np
import pytest
import torch
from pystoi import stoi

from hf_lip2speech.audio.mel import log_mel_spectrogram, slaney_filters
from hf_lip2speech.constants import MEL_WINDOW
from hf_lip2speech.losses.intelligibility import (
    SHORTEST,
    WINDOW,
    stoi_and_estoi,
    stoi_like_correlation,
    third_octave_weights,
)
from hf_lip2speech.losses.lags import best_lags, move_labels

from ..models.small import clips, with_frontend


def babble(seconds: float, seed: int) -> np.ndarray:
    """Noise whose bands swell and fade as those of speech do, float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    size = round(16000 * seconds)
    time = np.arange(size) / 16000
    sound = np.zeros(size)
    for _ in range(40):
        tone = np.sin(2 * np.pi * rng.uniform(150, 4000) * time + rng.uniform(0, 6))
        sound += tone * np.exp(2 * np.sin(2 * np.pi * rng.uniform(1, 6) * time + rng.uniform(0, 6)))
    return (0.1 * sound / sound.std()).astype(np.float32)


def correlation(predicted: np.ndarray, true: np.ndarray) -> float:
    mels = [log_mel_spectrogram(torch.from_numpy(sound))[None] for sound in (predicted, true)]
    return float(stoi_like_correlation(*mels, torch.ones(mels[0].shape[:2], dtype=torch.bool)))


def test_it_is_1_for_the_truth_at_any_loudness_and_near_0_for_another_sound():
    true = babble(3, seed=0)
    assert correlation(true, true) == pytest.approx(1, abs=1e-3)
    assert correlation(0.3 * true, true) == pytest.approx(1, abs=1e-3)
    assert abs(correlation(babble(3, seed=1), true)) < 0.15


def test_it_says_of_the_mel_what_stoi_and_estoi_say_of_the_sound():
    true = babble(4, seed=0)
    noise = np.random.default_rng(2).standard_normal(len(true)).astype(np.float32)
    for level in (0.02, 0.1, 0.3):
        noisy = true + level * noise
        said = np.mean([stoi(true, noisy, 16000, extended=extended) for extended in (False, True)])
        assert correlation(noisy, true) == pytest.approx(said, abs=0.08)


def test_amplitudes_beyond_15_db_above_the_truth_are_clipped():
    random = torch.Generator().manual_seed(0)
    true = 0.5 * torch.randn(1, WINDOW, 80, generator=random)
    loud = true + 4 * (torch.rand(1, WINDOW, 80, generator=random) < 0.05)
    weights = torch.from_numpy(third_octave_weights(80)).float()
    x, y = (torch.sqrt(torch.exp(2 * mel[0]) @ weights).T.numpy() for mel in (loud, true))
    as_loud = x * np.linalg.norm(y, axis=1, keepdims=True) / np.linalg.norm(x, axis=1, keepdims=True)
    clipped = np.minimum(as_loud, y * (1 + 10 ** (15 / 20)))
    assert (clipped < as_loud).any()
    over_time = np.mean([np.corrcoef(*rows)[0, 1] for rows in zip(clipped, y, strict=True)])
    x, y = ((rows - rows.mean(1, keepdims=True)) for rows in (x, y))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y))
    over_bands = np.mean([np.corrcoef(*columns)[0, 1] for columns in zip(x.T, y.T, strict=True)])
    found = stoi_like_correlation(loud, true, torch.ones(1, WINDOW, dtype=torch.bool))
    assert float(found) == pytest.approx((over_time + over_bands) / 2, abs=1e-4)


def test_a_tone_falls_into_the_band_that_holds_it():
    time = torch.arange(16000) / 16000
    for band in (3, 8, 12):
        mel = log_mel_spectrogram(0.5 * torch.sin(2 * torch.pi * 150 * 2 ** (band / 3) * time))
        assert (torch.exp(2 * mel[20:80]).numpy() @ third_octave_weights(80)).mean(0).argmax() == band


def test_the_fifteen_bands_are_a_third_of_an_octave_wide():
    """Of lines that are all 1, a band has the power of as many as lie in it."""
    filters = slaney_filters(MEL_WINDOW // 2 + 1, 80)
    powers = filters.sum(axis=0) ** 2 @ third_octave_weights(80)
    lines = np.arange(len(filters)) * 16000 / MEL_WINDOW
    octaves = [np.log2(lines[1:] / 150) - band / 3 for band in range(15)]
    assert powers == pytest.approx([int((np.abs(away) < 1 / 6).sum()) for away in octaves])


def test_a_clip_in_a_padded_batch_is_measured_as_alone():
    true, predicted = (torch.from_numpy(babble(2, seed)) for seed in (0, 3))
    true, predicted = (log_mel_spectrogram(sound)[None].repeat(2, 1, 1) for sound in (true, predicted))
    mask = torch.ones(true.shape[:2], dtype=torch.bool)
    mask[0, 120:] = False
    predicted[0, 120:], true[0, 120:] = 7.0, -9.0
    padded = stoi_like_correlation(predicted, true, mask)
    alone = stoi_like_correlation(predicted[:1, :120], true[:1, :120], mask[:1, :120])
    assert padded[0] == pytest.approx(float(alone), abs=1e-6)


@pytest.mark.parametrize("length", [1, WINDOW - 1])
def test_a_clip_shorter_than_the_window_has_none(length):
    mel = torch.randn(1, length, 80)
    assert stoi_like_correlation(mel, mel, torch.ones(1, length, dtype=torch.bool)).tolist() == [0]


def test_silence_gives_finite_gradients():
    silence = torch.full((1, 60, 80), -11.5, requires_grad=True)
    stoi_like_correlation(silence, silence.detach(), torch.ones(1, 60, dtype=torch.bool)).sum().backward()
    assert torch.isfinite(silence.grad).all()


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    videos, _, speakers = clips(20, 20)
    mel = torch.randn(2, 80, 80, generator=torch.Generator().manual_seed(0)).cumsum(1) * 0.3
    return {"pixel_values_videos": videos, "speaker_embeddings": speakers, "mel_labels": mel}


def test_the_loss_takes_it_at_its_weight_and_learns_from_it(inputs):
    plain, with_it = with_frontend()(**inputs), with_frontend(correlation_loss_weight=7.0)(**inputs)
    assert plain.correlation_loss is None
    mask = torch.ones(2, 80, dtype=torch.bool)
    expected = 1 - stoi_like_correlation(with_it.spectrogram, inputs["mel_labels"], mask).mean()
    assert torch.allclose(with_it.correlation_loss, expected)
    assert torch.allclose(with_it.loss, plain.loss + 7 * expected)


def test_with_lagging_labels_each_clip_is_given_the_lag_of_another(inputs):
    model = with_frontend(correlation_loss_weight=1.0, max_av_offset=3)
    model.mel_head.out_proj.weight.data *= 100  # an untrained mel is flat: no lag would matter
    mel = model(**inputs).spectrogram.detach()
    moved = torch.stack([mel[0].roll(2, dims=0), mel[1].roll(-1, dims=0)])
    loss = model(**inputs | {"mel_labels": moved}).correlation_loss.detach()
    mask, lengths = torch.ones(2, 80, dtype=torch.bool), torch.tensor([80, 80])
    assert best_lags(mel, moved, mask, 3).tolist() == [2, -1]
    exchanged = move_labels(moved, torch.tensor([3, -3]), lengths)  # back by its own lag, on by the other's
    assert torch.allclose(loss, 1 - stoi_like_correlation(mel, exchanged, mask).mean())
    assert not torch.allclose(loss, 1 - stoi_like_correlation(mel, moved, mask).mean())


@pytest.mark.parametrize("snr", [15, 0, -10])
@pytest.mark.parametrize("pause", [0, 1.5])
def test_stoi_and_estoi_of_waveforms_are_near_those_of_pystoi(snr, pause):
    clean = np.concatenate([np.zeros(round(16000 * pause), np.float32), babble(3, 0)])
    noise = np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    noisy = clean + noise * (clean.std() / noise.std() * 10 ** (-snr / 20))
    found = stoi_and_estoi(torch.from_numpy(noisy)[None], torch.from_numpy(clean)[None])[0].tolist()
    expected = [stoi(clean, noisy, 16000, extended=extended) for extended in (False, True)]
    assert found == pytest.approx(expected, abs=0.03)


def test_waveforms_too_short_for_stoi_or_silent_have_0_and_finite_gradients():
    for size in (SHORTEST - 1, SHORTEST):
        silence = torch.zeros(1, size, requires_grad=True)
        scores = stoi_and_estoi(silence, torch.zeros(1, size))
        assert scores.abs().max() < 1e-6
    stoi_and_estoi(silence, torch.randn(1, SHORTEST)).sum().backward()
    assert torch.isfinite(silence.grad).all()
