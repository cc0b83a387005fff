"""Cepstral coefficients against their formula, and their timing."""

import numpy as np
import torch
from scipy.fft import dct

import hf_lip2speech
from hf_lip2speech.audio.mel import (
    add_deltas,
    cosine_transform,
    log_mel_spectrogram,
    mfcc,
    stft_magnitude,
    to_mel,
)
from hf_lip2speech.losses.intelligibility import stoi_like_correlation

from ..media.voices import babble


def test_coefficients_are_the_cosine_transform_of_the_log_mel():
    waveform = torch.from_numpy(babble(0.2))[None]
    power = stft_magnitude(torch.nn.functional.pad(waveform, (160, 160)), 640, 320).square() / 640
    log_mel = to_mel(power, 40).clamp(min=1e-8).log().numpy()
    np.testing.assert_allclose(mfcc(waveform)[0], dct(log_mel[0], norm="ortho")[:, :13], atol=1e-4)


def test_the_cosine_transform_is_scipys_of_type_2():
    x = np.random.default_rng(0).normal(size=(3, 26))
    np.testing.assert_allclose(x @ cosine_transform(26, 9), dct(x, norm="ortho")[:, :9], atol=1e-12)


def test_a_first_call_under_inference_mode_spoils_no_later_training():
    for module in (hf_lip2speech.audio.mel, hf_lip2speech.losses.lip2speech):
        for function in vars(module).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()

    def everything(sound: torch.Tensor) -> torch.Tensor:
        mel = log_mel_spectrogram(sound)
        mask = torch.ones(mel.shape[:2], dtype=torch.bool)
        return mel.sum() + mfcc(sound).sum() + stoi_like_correlation(mel, mel.detach() + 0.1, mask).sum()

    sound = torch.from_numpy(babble(0.5))[None]
    with torch.inference_mode():
        everything(sound)
    sound.requires_grad_()
    everything(sound).backward()
    assert torch.isfinite(sound.grad).all() and sound.grad.abs().sum() > 0


def test_a_unit_is_centred_on_its_20_ms():
    for unit in (0, 7, 19):
        click = torch.zeros(1, 6400)
        click[0, 320 * unit + 160] = 1.0
        assert mfcc(click)[0, :, 0].argmax() == unit


def test_there_is_one_vector_for_each_whole_20_ms():
    assert [mfcc(torch.zeros(2, n)).shape for n in (0, 319, 320, 6399)] == [
        (2, 0, 13),
        (2, 0, 13),
        (2, 1, 13),
        (2, 19, 13),
    ]


def test_deltas_are_slopes_that_stop_at_the_ends_of_each_row():
    ramp = torch.arange(10.0)[None, :, None]
    features = add_deltas(torch.cat([ramp, ramp]), torch.tensor([10, 6]))
    assert features.shape == (2, 10, 3)
    torch.testing.assert_close(features[0, 2:8, 1], torch.ones(6))
    torch.testing.assert_close(features[0, 4:6, 2], torch.zeros(2))
    torch.testing.assert_close(features[1, :6], add_deltas(ramp[:, :6], torch.tensor([6]))[0])
    # at the first unit: (1 * (f1 - f0) + 2 * (f2 - f0)) / 10
    torch.testing.assert_close(features[0, 0, 1], torch.tensor(0.5))
