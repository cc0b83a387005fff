"""The vocoder's losses against values worked out by hand; published numbers: test_discriminators."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.losses.gan import (
    VOCODER_LOSS_WEIGHTS,
    LogMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    input_mel_loss,
    made_mel,
    pitch_loss,
    reconstruction_losses,
    stft_distances,
)
from hf_lip2speech.losses.intelligibility import intelligibility_loss


def test_the_discriminator_loss_is_the_squared_distance_from_one_and_from_zero():
    total, real, fake = discriminator_loss(
        [torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0]])],
        [torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0]])],
    )
    assert [float(value) for value in real] == [0.5, 1.0]
    assert [float(value) for value in fake] == [2.0, 1.0]
    assert float(total) == 4.5


def test_the_adversarial_loss_is_the_squared_distance_of_made_speech_from_one():
    assert float(adversarial_loss([torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0]])])) == 4.5


def test_feature_matching_sums_layer_means_and_moves_only_the_made_side():
    real = [[torch.zeros(2, 3, requires_grad=True)], [torch.ones(1, 4), torch.zeros(5)]]
    fake = [[torch.full((2, 3), 2.0, requires_grad=True)], [torch.zeros(1, 4), torch.full((5,), -0.5)]]
    loss = feature_matching_loss(real, fake)
    assert float(loss.detach()) == 3.5
    loss.backward()
    assert real[0][0].grad is None
    torch.testing.assert_close(fake[0][0].grad, torch.full((2, 3), 1 / 6))


def test_features_that_agree_cost_nothing_whatever_their_size():
    maps = [[torch.full((2, 3), 5.0)], [torch.full((1, 4), -3.0)]]
    assert float(feature_matching_loss(maps, maps)) == 0
    assert float(feature_matching_loss(maps, [[torch.full((2, 3), 4.0)], [torch.full((1, 4), -3.0)]])) == 1


def test_features_of_the_counting_clips_alone_count():
    real, fake = (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for counting in ([1], [0, 2]):
        chosen = torch.tensor([clip in counting for clip in range(3)])
        expected = feature_matching_loss([[real[chosen]]], [[fake[chosen]]])
        torch.testing.assert_close(feature_matching_loss([[real]], [[fake]], chosen), expected)
    assert feature_matching_loss([[real]], [[fake]], torch.zeros(3, dtype=torch.bool)) == 0


def test_half_precision_scores_are_reduced_in_float32():
    scores = [torch.full((1, 10_000), 300.0, dtype=torch.bfloat16)]
    assert adversarial_loss(scores).dtype == torch.float32
    assert float(discriminator_loss(scores, scores)[0]) == pytest.approx(299.0**2 + 300.0**2, rel=1e-6)


def test_the_mel_loss_is_zero_for_equal_speech_and_the_log_ratio_for_scaled_speech():
    waveform = torch.randn(2, 8960, generator=torch.Generator().manual_seed(0)) * 0.1
    loss = LogMelLoss()
    assert float(loss(waveform, waveform)) == 0
    assert float(loss(2 * waveform, waveform)) == pytest.approx(np.log(2), rel=1e-3)


def test_a_segment_of_8960_samples_has_35_mel_frames_of_80_bins():
    assert LogMelLoss().log_mel(torch.zeros(3, 8960)).shape == (3, 80, 35)
    assert LogMelLoss(512, 128).log_mel(torch.zeros(1, 8960)).shape == (1, 80, 70)


def test_the_mel_loss_has_a_finite_gradient_in_silence_and_none_for_the_target():
    fake = torch.zeros(1, 4000, requires_grad=True)
    real = (torch.randn(1, 4000) * 0.1).requires_grad_()
    LogMelLoss()(fake, real).backward()
    assert torch.isfinite(fake.grad).all()
    assert real.grad is None


def test_the_mel_loss_is_the_same_under_autocast():
    waveform = torch.randn(2, 8960, generator=torch.Generator().manual_seed(1)) * 0.1
    loss = LogMelLoss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = loss(0.5 * waveform, waveform)
    assert float(under) == pytest.approx(float(loss(0.5 * waveform, waveform)), rel=1e-6)


def test_the_weights_are_the_published_ones():
    assert VOCODER_LOSS_WEIGHTS == {"adversarial": 1.0, "feature_matching": 2.0, "mel": 45.0}


def test_waveforms_that_do_not_fit_are_refused():
    with pytest.raises(Lip2SpeechError, match="must agree"):
        LogMelLoss()(torch.zeros(1, 4000), torch.zeros(1, 4001))
    for samples in (300, 384):
        with pytest.raises(Lip2SpeechError, match="more than 384 samples"):
            LogMelLoss()(torch.zeros(1, samples), torch.zeros(1, samples))
    assert float(LogMelLoss()(torch.zeros(1, 385), torch.zeros(1, 385))) == 0


def test_speech_fits_the_mel_it_was_made_of_at_any_loudness_and_no_other():
    time = torch.arange(8960) / 16000
    tone = (0.5 * torch.sin(2 * torch.pi * 300 * time) * (1 + torch.sin(2 * torch.pi * 5 * time)))[None]
    tone = tone + 0.01 * torch.randn(1, 8960, generator=torch.Generator().manual_seed(0))  # above the floor
    given = log_mel_spectrogram(tone)[:, :56]
    for loudness in (1.0, 0.5):
        assert input_mel_loss(made_mel(loudness * tone, 56), given + 1.7).item() < 1e-3
    moved = torch.roll(given, 5, dims=1)
    mel = made_mel(tone, 56)
    assert input_mel_loss(mel, moved).item() > input_mel_loss(mel, given).item() + 0.3
    noise = torch.rand(1, 8960, requires_grad=True)
    input_mel_loss(made_mel(0.1 * noise, 56), given).sum().backward()
    assert torch.isfinite(noise.grad).all() and noise.grad.abs().sum() > 0


def test_mels_of_losses_are_float32_and_near_those_of_the_stored_targets():
    waveform = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = made_mel(waveform.bfloat16(), 25)
    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, log_mel_spectrogram(waveform.bfloat16())[:, :25], atol=1e-3, rtol=0)
    dtypes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: dtypes.append(x.dtype) or x, lambda x: x):
        made_mel(waveform.requires_grad_(), 25)
    assert not {torch.float64, torch.complex128} & {*dtypes}


def loss(fake, real, spectrogram, predicted, max_lag) -> torch.Tensor:
    mels = (spectrogram, made_mel(real, spectrogram.shape[1]))
    everywhere = torch.ones(spectrogram.shape[:2], dtype=torch.bool)
    return intelligibility_loss(fake, real, *mels, everywhere, predicted, max_lag)


class TestIntelligibilityLoss:
    """Words that swell and fade, by random bursts of noise."""

    @pytest.fixture
    def real(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        bursts = torch.rand(3, 1, 24, generator=generator)
        loudness = torch.nn.functional.interpolate(bursts, size=15360, mode="linear")[:, 0]
        return 0.3 * loudness**2 * torch.randn(3, 15360, generator=generator)

    def test_the_recording_itself_has_none_at_any_loudness_and_another_sound_much(self, real):
        given, nobody = log_mel_spectrogram(real)[:, :96], torch.zeros(3, dtype=torch.bool)
        assert loss(0.4 * real, real, given, nobody, 0).item() == pytest.approx(0, abs=1e-3)
        assert loss(real.roll(1, dims=0), real, given, nobody, 0).item() > 0.7

    def test_a_predicted_clip_is_compared_at_the_lag_of_another_predicted_one(self, real):
        predicted = torch.tensor([True, False, True])
        lags = (2, 0, -2)
        late = torch.stack([sound.roll(160 * lag) for sound, lag in zip(real, lags, strict=True)])
        given = log_mel_spectrogram(real)[:, :96]
        exchanged = torch.stack([late[0].roll(-640), late[1], late[2].roll(640)])
        # The recordings lag by 2 and -2 frames: each moved by its own lag and back by the other's, 4.
        assert loss(exchanged, late, given, predicted, 3).item() < 0.05
        assert loss(exchanged, late, given - 2.5, predicted, 3).item() < 0.05  # at any loudness
        assert loss(late, late, given, predicted, 3).item() > 0.1

    def test_silence_gives_finite_gradients(self, real):
        silence = torch.zeros_like(real, requires_grad=True)
        given = log_mel_spectrogram(real)[:, :96]
        loss(silence, real, given, torch.ones(3, dtype=torch.bool), 3).backward()
        assert torch.isfinite(silence.grad).all()


def test_each_clip_of_a_batch_is_compared_as_alone():
    random = torch.Generator().manual_seed(0)
    mel, spectrogram = torch.randn(2, 2, 56, 80, generator=random) * torch.tensor([1.0, 3.0])[:, None, None]
    together = input_mel_loss(mel, spectrogram)
    alone = [input_mel_loss(mel[clip : clip + 1], spectrogram[clip : clip + 1]) for clip in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert float(together[1]) > 2 * float(together[0])


def test_pitch_counts_where_it_is_voiced_and_voicing_everywhere():
    f0 = torch.tensor([[100.0, 200.0, 0.0, 0.0]])
    log_f0 = torch.tensor([[math.log(110), math.log(200), 9.0, -9.0]], requires_grad=True)
    certain = torch.tensor([[50.0, 50.0, -50.0, -50.0]])
    loss = pitch_loss(log_f0, certain, f0)
    assert loss.item() == pytest.approx(2 * math.log(1.1) / 2, rel=1e-4)
    loss.backward()
    assert log_f0.grad[0, 0] > 0 and not log_f0.grad[0, 2:].any()
    undecided = pitch_loss(log_f0.detach(), torch.zeros(1, 4), f0)
    assert (undecided - loss).item() == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_spectra_differ_by_their_log_ratio_and_relative_norm_in_hops_of_a_quarter():
    fake, real = torch.randn(2, 2, 1024, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for window in (256, 512):
        hann = np.hanning(window + 1)[:-1]
        starts = range(0, 1024 - window + 1, window // 4)
        a, b = (
            np.abs(np.fft.rfft([sound[start : start + window] * hann for start in starts]))
            for sound in (fake[1].numpy(), real[1].numpy())
        )
        expected += np.abs(np.log(a / b)).mean() + np.linalg.norm(a - b) / np.linalg.norm(b)
    found = stft_distances(fake, real, (256, 512))
    assert found.shape == (2,) and float(found[1]) == pytest.approx(expected / 2, rel=1e-4)


def test_every_loss_of_a_generator_is_added_with_its_weight():
    random = torch.Generator().manual_seed(0)
    real, fake = 0.1 * torch.randn(2, 2, 8960, generator=random)
    predicted, f0 = torch.tensor([True, False]), torch.full((2, 56), 120.0)
    batch = {"waveform": real, "predicted": predicted, "f0": f0, "spectrogram": made_mel(real, 56)}
    output = SimpleNamespace(waveform=fake, log_f0=f0.log() + 0.1, voicing_logits=f0)
    weights = {"mel": 2.0, "stft": 3.0, "pitch": 5.0, "correlation": 7.0}
    args = SimpleNamespace(
        **{f"{name}_loss_weight": weight for name, weight in weights.items()}, lip2speech="x"
    )
    mel_loss = LogMelLoss()
    losses, total = reconstruction_losses(output, batch, [mel_loss], args, 0)
    assert float(losses["mel_loss"]) == pytest.approx(float(mel_loss(fake[1:], real[1:])), rel=1e-6)
    assert float(losses["stft_loss"]) == pytest.approx(float(stft_distances(fake, real)[1]), rel=1e-6)
    of_input = input_mel_loss(made_mel(fake, 56), batch["spectrogram"])[0]
    assert float(losses["input_mel_loss"]) == pytest.approx(float(of_input), rel=1e-6)
    expected = sum(weight * losses[f"{name}_loss"] for name, weight in weights.items())
    torch.testing.assert_close(total, expected + 2 * losses["input_mel_loss"])


def test_a_silent_batch_has_a_loss_of_voicing_alone():
    assert pitch_loss(torch.zeros(2, 3), torch.full((2, 3), -50.0), torch.zeros(2, 3)).item() == 0
