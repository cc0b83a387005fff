"""The two discriminators: the published numbers, shapes at other widths, refusals."""

import json

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.gan_losses import (
    VOCODER_LOSS_WEIGHTS,
    LogMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)

from .published_vocoder import (
    load_rule,
    parametrised,
    published_vocoder_inputs,
    published_weights,
    scale_discriminator_name,
    vocoder_name,
)


class _PublishedStep:
    """One training step with the published weights: the discriminators', then the generator's."""

    def __init__(self, reference_dir, mode: str):
        rule = load_rule(reference_dir)
        training = mode == "train"
        self.generator = UnitVocoderModel(UnitVocoderConfig(unit_dropout=0.0)).train(training)
        self.generator.apply_weight_norm()
        weights = published_weights(reference_dir, "vocoder_spec.json")
        self.generator.load_state_dict({parametrised(vocoder_name(k)): v for k, v in weights.items()})
        self.periods, self.scales = (
            MultiPeriodDiscriminator().train(training),
            MultiScaleDiscriminator().train(training),
        )
        weights = published_weights(reference_dir, "mpd_spec.json")
        self.periods.load_state_dict({parametrised(k): v for k, v in weights.items()})
        weights = published_weights(reference_dir, "msd_spec.json")
        self.scales.load_state_dict({scale_discriminator_name(k): v for k, v in weights.items()})

        real = torch.from_numpy(np.clip(rule.inp("VT/y", (2, 1, 8960)) * 0.2, -1, 1))[:, 0]
        fake = self.generator(**published_vocoder_inputs(rule, "VT", 2, 28)).waveform
        self.fake_mel = LogMelLoss().log_mel(fake).detach().numpy()
        self.real_mel = LogMelLoss().log_mel(real).numpy()

        self.losses, self.parts = {}, {}
        for name, judge in (("mpd", self.periods), ("msd", self.scales)):
            loss, *parts = discriminator_loss(judge(real)[0], judge(fake.detach())[0])
            loss.backward()
            self.losses[f"disc_{name}"] = loss
            for kind, values in zip(("real", "fake"), parts, strict=True):
                self.parts[f"disc_{name}_{kind}"] = [float(value.detach()) for value in values]
        self.discriminator_gradients = {
            "grad_mpd": {k: p.grad.clone() for k, p in self.periods.named_parameters()},
            "grad_msd": {k: p.grad.clone() for k, p in self.scales.named_parameters()},
        }
        self.scores = {}
        total = VOCODER_LOSS_WEIGHTS["mel"] * LogMelLoss()(fake, real)
        self.losses["mel45"] = total
        for name, judge in (("mpd", self.periods), ("msd", self.scales)):
            _, real_maps = judge(real)
            scores, fake_maps = judge(fake)
            self.scores[name] = scores
            matching = VOCODER_LOSS_WEIGHTS["feature_matching"] * feature_matching_loss(real_maps, fake_maps)
            self.losses[f"fm_{name}"], self.losses[f"gen_{name}"] = matching, adversarial_loss(scores)
            total = total + matching + self.losses[f"gen_{name}"]
        self.losses["gen_total"] = total
        total.backward()


@pytest.fixture(scope="module", params=["eval", "train"])
def published_step(request, reference_dir):
    expected = json.loads((reference_dir / "vocoder_train.json").read_text())[request.param]
    return (
        _PublishedStep(reference_dir, request.param),
        expected,
        np.load(reference_dir / "vocoder_T.npz"),
        request.param,
    )


@pytest.mark.slow
def test_the_losses_are_those_of_the_published_code(published_step):
    step, expected, arrays, mode = published_step
    for name, loss in step.losses.items():
        assert float(loss.detach()) == pytest.approx(expected[name], rel=1e-5), name
    for name, values in step.parts.items():
        assert values == pytest.approx(expected[name], rel=1e-4), name
    np.testing.assert_allclose(step.real_mel, arrays["y_mel"], atol=1e-5)
    np.testing.assert_allclose(step.fake_mel, arrays["y_hat_mel"], atol=1e-4)
    for name, scores in step.scores.items():
        if mode == "eval" or name == "mpd":
            for index, score in enumerate(scores):
                np.testing.assert_allclose(score.detach().numpy(), arrays[f"{name}{index}"], atol=1e-5)


@pytest.mark.slow
def test_the_gradients_are_those_of_the_published_code(published_step):
    step, expected, _, _ = published_step
    names = {"grad_mpd": parametrised, "grad_msd": scale_discriminator_name}
    for part, rename in names.items():
        for name, norm in expected[part].items():
            gradient = step.discriminator_gradients[part][rename(name)]
            assert float(gradient.norm()) == pytest.approx(norm, rel=1e-3), name
    gradients = [g for part in step.discriminator_gradients.values() for g in part.values()]
    assert _norm(gradients) == pytest.approx(expected["grad_disc_total"], rel=1e-3)
    parameters = dict(step.generator.named_parameters())
    for name, norm in expected["grad_gen"].items():
        assert float(parameters[parametrised(vocoder_name(name))].grad.norm()) == pytest.approx(
            norm, rel=1e-3
        ), name
    assert _norm([p.grad for p in parameters.values()]) == pytest.approx(expected["grad_gen_total"], rel=1e-3)


def _norm(tensors) -> float:
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())


@pytest.mark.parametrize("samples", [8960, 8961, 3333], ids=["a segment", "one more", "an odd length"])
def test_narrow_discriminators_judge_any_length(samples):
    periods = MultiPeriodDiscriminator(periods=(2, 7), channels=(4, 8, 8))
    scales = MultiScaleDiscriminator(
        num_scales=2, channels=(8, 16, 16), kernel_sizes=(15, 11, 5), strides=(2, 4, 1), groups=(1, 4, 1)
    )
    waveform = torch.randn(3, samples)
    for judge, count in ((periods, 2), (scales, 2)):
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
    ):
        together, _ = judge(waveform)
        alone, _ = judge(waveform[1:])
        for score, other in zip(together, alone, strict=True):
            torch.testing.assert_close(score[1:], other, atol=1e-5, rtol=1e-4)


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
        (lambda: MultiScaleDiscriminator(channels=(8, 8)), "one entry a layer"),
        (lambda: MultiScaleDiscriminator(channels=[8] * 7), "do not divide"),
        (lambda: MultiPeriodDiscriminator(channels=(4, 4))(torch.zeros(1, 1, 100)), r"\(batch, samples\)"),
        (lambda: MultiScaleDiscriminator(channels=[16] * 7)(torch.zeros(100)), r"\(batch, samples\)"),
    ],
)
def test_impossible_sizes_and_shapes_are_refused(build, message):
    with pytest.raises(Lip2SpeechError, match=message):
        build()
