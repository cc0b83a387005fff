"""The flow-matching post-net: its loss, its samples, padding, chunks and guidance."""

import pytest
import torch
from torch.nn.functional import pad

from hf_lip2speech import MelFlowConfig, MelFlowModel
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.models import modeling_mel_flow

from .small import (
    assert_checkpointing_keeps_gradients,
    assert_initialisation_sets_every_tensor,
    assert_saving_keeps_every_tensor,
)

SIZES = {
    "num_units": 12,
    "unit_embedding_dim": 8,
    "speaker_embedding_dim": 5,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "conv_kernel_size": 5,
    "time_embedding_dim": 8,
}


def flow(**changes) -> MelFlowModel:
    """Random, away from the initial zeros."""
    torch.manual_seed(0)
    model = MelFlowModel(MelFlowConfig(**(SIZES | changes))).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model


def inputs(batch: int, units: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(units)
    return {
        "spectrogram": torch.randn(batch, 2 * units, 80, generator=random) - 5,
        "unit_ids": torch.randint(0, 12, (batch, units), generator=random),
        "speaker_embeddings": torch.rand(batch, 5, generator=random),
    }


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def sample(model: MelFlowModel, given: dict, generator=None, **options) -> torch.Tensor:
    generator = seeded() if generator is None else generator
    return model(**given, generator=generator, **options).spectrogram


def test_one_seed_gives_one_sample_and_another_seed_another():
    model, given = flow(), inputs(2, 9)
    one = sample(model, given)
    assert torch.equal(one, sample(model, given))
    assert (one - sample(model, given, seeded(1))).abs().mean() > 0.1
    assert not torch.equal(one, sample(model, given, num_inference_steps=2))


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_a_clip_has_the_same_sample_in_a_padded_batch_as_alone(guidance_scale):
    model, long, short = flow(), inputs(1, 9), inputs(1, 5)
    together = {
        "spectrogram": torch.cat([long["spectrogram"], pad(short["spectrogram"], (0, 0, 0, 8), value=9.0)]),
        "unit_ids": torch.cat([long["unit_ids"], pad(short["unit_ids"], (0, 4), value=7)]),
        "speaker_embeddings": torch.cat([long["speaker_embeddings"], short["speaker_embeddings"]]),
        "unit_attention_mask": torch.tensor([[1] * 9, [1] * 5 + [0] * 4]),
    }
    found = sample(model, together, [seeded(1), seeded(2)], guidance_scale=guidance_scale)
    alone = sample(model, short, seeded(2), guidance_scale=guidance_scale)
    torch.testing.assert_close(found[1, :10], alone[0], atol=1e-5, rtol=0)
    assert not found[1, 10:].any()
    one = seeded(3)  # drawn from clip by clip
    expected = [sample(model, clip, one, guidance_scale=guidance_scale) for clip in (long, short)]
    found = sample(model, together, seeded(3), guidance_scale=guidance_scale)
    torch.testing.assert_close(found[:1], expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1, :10], expected[1][0], atol=1e-5, rtol=0)


def test_a_long_clip_in_chunks_has_the_sample_that_it_has_at_once(monkeypatch):
    model, given = flow(), inputs(2, 40)
    given["unit_attention_mask"] = torch.tensor([[1] * 40, [1] * 11 + [0] * 29])
    at_once = sample(model, given, guidance_scale=1.5)
    monkeypatch.setattr(modeling_mel_flow, "CHUNK_FRAMES", 13)
    torch.testing.assert_close(sample(model, given, guidance_scale=1.5), at_once, atol=1e-5, rtol=0)


def test_a_step_reaches_as_far_as_the_config_says():
    model, given = flow(), inputs(1, 20)
    context = model.config.context_frames
    before = sample(model, given, num_inference_steps=1)
    given["spectrogram"] = given["spectrogram"].clone()
    given["spectrogram"][0, 20] += 3
    moved = (sample(model, given, num_inference_steps=1) - before).abs().amax(-1)[0] > 0
    assert moved.nonzero().flatten().tolist() == list(range(20 - context, 20 + context + 1))


def test_guidance_leads_from_the_unconditional_to_the_conditional_velocity():
    model, given, other = flow(), inputs(1, 9), inputs(1, 9)
    other["unit_ids"] = (other["unit_ids"] + 5) % 12
    other["speaker_embeddings"] = 1 - other["speaker_embeddings"]
    one = {"num_inference_steps": 1}
    free = sample(model, given, guidance_scale=0.0, **one)
    torch.testing.assert_close(free, sample(model, other, guidance_scale=0.0, **one))
    bound = sample(model, given, guidance_scale=1.0, **one)
    assert (bound - sample(model, other, guidance_scale=1.0, **one)).abs().mean() > 0.01
    beyond = sample(model, given, guidance_scale=2.5, **one)
    torch.testing.assert_close(beyond, free + 2.5 * (bound - free), atol=1e-4, rtol=0)


def test_an_untrained_model_samples_noise_around_the_prediction_and_its_loss_is_that_of_standing_still():
    torch.manual_seed(0)
    model, given = MelFlowModel(MelFlowConfig(**SIZES, noise_std=0.5)).eval(), inputs(4, 50)
    noise = (sample(model, given) - given["spectrogram"]) / 0.5
    torch.testing.assert_close(noise, torch.randn(4, 100, 80, generator=seeded()), atol=1e-4, rtol=0)
    labels = given["spectrogram"] + 2.0
    loss = model(**given, mel_labels=labels, generator=seeded()).loss
    torch.testing.assert_close(loss, (2.0 / 0.5 - noise).square().mean(), atol=1e-4, rtol=1e-4)


def test_padding_changes_no_loss():
    model, given = flow(), inputs(2, 6)
    labels = given["spectrogram"] + 1
    given["unit_attention_mask"] = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    changed = {name: value.clone() for name, value in given.items()}
    changed["spectrogram"][1, 8:] = 50.0
    losses = [model(**one, mel_labels=labels, generator=seeded()).loss for one in (given, changed)]
    assert losses[0] == losses[1] and losses[0].dtype == torch.float32


def test_trained_it_samples_what_is_there_where_the_mean_is_not():
    """Recordings are 1 above or 1 below the prediction, whose mean is therefore of no use."""
    torch.manual_seed(0)
    sizes = SIZES | {"num_mel_bins": 4, "hidden_size": 32, "intermediate_size": 64}
    model = MelFlowModel(MelFlowConfig(**sizes, noise_std=1.0)).train()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)

    def batch(size: int) -> dict[str, torch.Tensor]:
        return inputs(size, 3) | {"spectrogram": torch.full((size, 6, 4), -5.0)}

    for _ in range(300):
        sign = torch.randint(0, 2, (32, 1, 1)) * 2.0 - 1
        loss = model(**batch(32), mel_labels=-5.0 + sign.expand(32, 6, 4)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    change = sample(model, batch(200), num_inference_steps=10) + 5.0
    assert 0.8 < change.abs().mean() < 1.2 and abs(change.mean()) < 0.3
    assert (change.sign() == change.mean((1, 2), keepdim=True).sign()).float().mean() > 0.9
    in_one_step = sample(model, batch(200), num_inference_steps=1) + 5.0
    assert in_one_step.abs().mean() < 0.8 * change.abs().mean()


def test_in_training_some_clips_are_learned_without_their_condition():
    model, given = flow(condition_dropout=0.5).train(), inputs(1, 5)
    labels = given["spectrogram"]
    losses = {model(**given, mel_labels=labels, generator=seeded(seed)).loss.item() for seed in range(8)}
    assert len(losses) == 8
    model.config.condition_dropout = 0.0
    same = {model(**given, mel_labels=labels, generator=seeded(seed)).loss.item() for seed in range(8)}
    assert 0 < len(losses & same) < 8


def test_bfloat16_samples_nearly_the_same_in_float32():
    model, given = flow(), inputs(2, 9)
    expected = sample(model, given)
    found = sample(model.to(torch.bfloat16), given)
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.1 * (expected - given["spectrogram"]).abs().mean()


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"unit_ids": torch.zeros(2, 0, dtype=torch.long)}, {}, "units >= 1"),
        (
            {"spectrogram": torch.zeros(2, 9, 80)},
            {},
            r"spectrogram has shape \(2, 9, 80\).*need \(2, 18, 80\)",
        ),
        ({"speaker_embeddings": torch.zeros(3, 5)}, {}, r"speaker_embeddings has shape \(3, 5\)"),
        ({"unit_attention_mask": torch.ones(2, 8)}, {}, r"unit_attention_mask has shape \(2, 8\)"),
        ({"mel_labels": torch.zeros(2, 18, 79)}, {}, "mel_labels has shape"),
        ({}, {"num_inference_steps": 0}, "num_inference_steps is 0; expected a whole number, 1 to 100"),
        ({}, {"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
        ({}, {"guidance_scale": float("nan")}, "guidance_scale is nan; expected a number of at least 0"),
        ({}, {"generator": [torch.Generator()]}, "1 generators were given for 2 clips"),
    ],
)
def test_what_cannot_be_sampled_is_refused(changes, options, message):
    with pytest.raises(Lip2SpeechError, match=message):
        flow()(**inputs(2, 9) | changes, **options)


@pytest.mark.parametrize(
    "changes",
    [{"conv_kernel_size": 4}, {"time_embedding_dim": 7}, {"noise_std": 0}, {"num_inference_steps": 101}],
)
def test_a_config_that_cannot_work_is_refused(changes):
    with pytest.raises(Exception, match=next(iter(changes))):
        MelFlowConfig(**changes)


def test_it_is_made_saved_and_checkpointed_as_every_model(tmp_path):
    assert_initialisation_sets_every_tensor(lambda: MelFlowModel(MelFlowConfig(**SIZES)))
    assert_saving_keeps_every_tensor(flow(), tmp_path)
    given = inputs(2, 5)

    def loss(model):
        return model(**given, mel_labels=given["spectrogram"] + 1, generator=seeded()).loss

    assert_checkpointing_keeps_gradients(lambda: flow(condition_dropout=0.0).train(), loss)


def test_the_default_size_is_the_one_that_the_config_states():
    with torch.device("meta"):
        model = MelFlowModel(MelFlowConfig())
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in MelFlowConfig.__doc__
