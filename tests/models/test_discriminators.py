"""The discriminators: shapes at other widths, refusals; published numbers: conversion/test_parity."""

import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.models.discriminators import (
    Discriminators,
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
    MultiScaleDiscriminator,
)


@pytest.mark.parametrize("samples", [8960, 8961, 3333], ids=["a segment", "one more", "an odd length"])
def test_narrow_discriminators_judge_any_length(samples):
    periods = MultiPeriodDiscriminator(periods=(2, 7), channels=(4, 8, 8))
    scales = MultiScaleDiscriminator(
        num_scales=2, channels=(8, 16, 16), kernel_sizes=(15, 11, 5), strides=(2, 4, 1), groups=(1, 4, 1)
    )
    waveform = torch.randn(3, samples)
    resolutions = MultiResolutionDiscriminator(fft_sizes=(256, 512), channels=(4, 8, 8))
    for judge, count in ((periods, 2), (scales, 2), (resolutions, 2)):
        scores, maps = judge(waveform)
        assert len(scores) == len(maps) == count
        assert all(score.shape[0] == 3 and score.ndim == 2 for score in scores)
        assert all(len(layers) == 4 for layers in maps)  # three layers and the scores
        assert all(
            torch.equal(layers[-1].flatten(1), score) for layers, score in zip(maps, scores, strict=True)
        )


def test_a_batch_is_judged_clip_by_clip():
    torch.manual_seed(0)
    waveform = torch.randn(2, 4000)
    for judge in (
        MultiPeriodDiscriminator(channels=(4, 8)),
        MultiScaleDiscriminator(channels=[16] * 7).eval(),
        MultiResolutionDiscriminator(channels=(4, 8)),
    ):
        together, _ = judge(waveform)
        alone, _ = judge(waveform[1:])
        for score, other in zip(together, alone, strict=True):
            torch.testing.assert_close(score[1:], other, atol=1e-5, rtol=1e-4)


def test_each_discriminator_can_be_left_out_but_not_all():
    waveform, small = torch.randn(2, 4000), {"channels": (4, 8)}
    assert len(Discriminators(period=small, scale=None, resolution=small)(waveform)[0]) == 5 + 3
    assert len(Discriminators(period=None, scale=None, resolution=small)(waveform)[1]) == 3
    published = Discriminators(period=small, scale={"channels": [16] * 7})
    assert published.resolution is None and len(published(waveform)[0]) == 5 + 3
    with pytest.raises(Lip2SpeechError, match="at least one of them"):
        Discriminators(period=None, scale=None)


def test_only_the_first_scale_has_spectral_norm():
    names = set(MultiScaleDiscriminator(channels=[16] * 7).state_dict())
    assert "discriminators.0.convs.0.weight_u" in names
    assert "discriminators.1.convs.0.parametrizations.weight.original0" in names
    assert not any(
        name.startswith(("discriminators.1", "discriminators.2")) and "weight_u" in name for name in names
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MultiPeriodDiscriminator(periods=()), "at least one"),
        (lambda: MultiPeriodDiscriminator(kernel_size=4), "odd"),
        (lambda: MultiScaleDiscriminator(channels=(8, 8)), "one entry per layer"),
        (lambda: MultiResolutionDiscriminator(fft_sizes=()), "at least one FFT size"),
        (lambda: MultiScaleDiscriminator(channels=[8] * 7), "do not divide"),
        (lambda: MultiPeriodDiscriminator(channels=(4, 4))(torch.zeros(1, 1, 100)), r"\(batch, samples\)"),
        (lambda: MultiScaleDiscriminator(channels=[16] * 7)(torch.zeros(100)), r"\(batch, samples\)"),
    ],
)
def test_impossible_sizes_and_shapes_are_refused(build, message):
    with pytest.raises(Lip2SpeechError, match=message):
        build()
