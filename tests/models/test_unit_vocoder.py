"""The vocoder: batches, saving, weight norm, precision; published numbers: conversion/test_parity."""

import pytest
import torch

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

from .small import assert_checkpointing_keeps_gradients


def tiny_config(**changes) -> UnitVocoderConfig:
    sizes = {
        "num_units": 12,
        "unit_embedding_dim": 8,
        "num_mel_bins": 6,
        "speaker_embedding_dim": 5,
        "speaker_dim": 4,
        "upsample_initial_channel": 32,
        "upsample_rates": (16, 10),
        "upsample_kernel_sizes": (32, 20),
        "initializer_range": 1.0,  # loud enough for a tolerance of 1e-4 to mean something
    }
    return UnitVocoderConfig(**{**sizes, **changes})


def tiny_model(**changes) -> UnitVocoderModel:
    torch.manual_seed(0)
    return UnitVocoderModel(tiny_config(**changes)).eval()


def tiny_inputs(batch: int, units: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "unit_ids": torch.randint(0, 12, (batch, units), generator=generator),
        "spectrogram": torch.randn(batch, 2 * units, 6, generator=generator) - 5,
        "speaker_embeddings": torch.rand(batch, 5, generator=generator),
    }


def test_weight_norm_adds_a_magnitude_a_filter():
    with torch.device("meta"):
        model = UnitVocoderModel(UnitVocoderConfig())
        assert sum(parameter.numel() for parameter in model.parameters()) == 14_101_185
        model.apply_weight_norm()
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_111_618


SIZES = {
    "the paper's stages": {"upsample_rates": (5, 4, 2, 2, 2), "upsample_kernel_sizes": (11, 8, 4, 4, 4)},
    "three stages": {"upsample_rates": (5, 4, 8), "upsample_kernel_sizes": (11, 8, 16)},
    "two blocks per stage": {"resblock_kernel_sizes": (3, 5), "resblock_dilation_sizes": ((1, 3), (1,))},
    "one block per stage": {"resblock_kernel_sizes": (5,), "resblock_dilation_sizes": ((2,),)},
}
AT_ANY_SIZE = pytest.mark.parametrize("changes", SIZES.values(), ids=SIZES)


@AT_ANY_SIZE
def test_a_unit_gives_320_samples_at_any_size(changes):
    model = tiny_model(**changes)
    with torch.no_grad():
        waveform = model(**tiny_inputs(2, 9)).waveform
        (as_tuple,) = model(**tiny_inputs(2, 9), return_dict=False)
    assert waveform.shape == (2, 2880)
    assert waveform.dtype == torch.float32
    assert 0.1 < waveform.abs().max() <= 1
    assert torch.equal(as_tuple, waveform)


def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone():
    model = tiny_model()
    inputs = tiny_inputs(3, 30)
    lengths = [30, 17, 1]
    mask = (torch.arange(30) < torch.tensor(lengths)[:, None]).long()
    with torch.no_grad():
        together = model(**inputs, unit_attention_mask=mask).waveform
        for row, length in enumerate(lengths):
            alone = model(
                unit_ids=inputs["unit_ids"][row : row + 1, :length],
                spectrogram=inputs["spectrogram"][row : row + 1, : 2 * length],
                speaker_embeddings=inputs["speaker_embeddings"][row : row + 1],
            ).waveform[0]
            torch.testing.assert_close(together[row, : 320 * length], alone, atol=1e-5, rtol=0)
            assert together[row, 320 * length :].abs().sum() == 0
        assert (model(**inputs).waveform[1, : 320 * 17] - together[1, : 320 * 17]).abs().max() > 1e-3


class Reach(torch.nn.Module):
    """Passes samples first to last on."""

    def __init__(self, first: int, last: int):
        super().__init__()
        self.inside = slice(first, last)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 1e-3 * hidden[:, :, self.inside].sum(1, keepdim=True)  # small: tanh would saturate


@AT_ANY_SIZE
def test_context_units_is_the_reach_of_a_unit_and_no_more(changes):
    # By gradients in float64, which are exactly zero where nothing is seen and do not drown at the far end
    # where something is.
    config = tiny_config(**changes)
    units = 2 * config.context_units + 11
    place = config.context_units + 5
    torch.manual_seed(0)
    model = UnitVocoderModel(tiny_config(**changes, num_units=units)).eval().double()
    model.conv_post = Reach(320 * place - 3, 320 * (place + 1) + 3)  # its kernel of 7 sees three more
    inputs = tiny_inputs(1, units) | {"unit_ids": torch.arange(units)[None]}
    inputs["spectrogram"] = inputs["spectrogram"].double().requires_grad_()
    model(**inputs).waveform.sum().backward()
    seen_units = model.unit_embedding.weight.grad.abs().sum(dim=1).nonzero().flatten() - place
    seen_mel = inputs["spectrogram"].grad[0].abs().sum(dim=1).nonzero().flatten() // 2 - place
    seen = torch.cat([seen_units, seen_mel])
    assert max(-int(seen.min()), int(seen.max())) == config.context_units


def test_both_inputs_and_the_speaker_change_the_speech():
    model, inputs = tiny_model(), tiny_inputs(1, 12)
    with torch.no_grad():
        speech = model(**inputs).waveform
        for name, value in inputs.items():
            other = model(**{**inputs, name: torch.zeros_like(value)}).waveform
            assert (other - speech).abs().max() > 1e-3, name


@pytest.mark.parametrize(("heard", "deaf_to"), [("mel", "unit_ids"), ("units", "spectrogram")])
def test_with_one_input_the_other_changes_nothing(heard, deaf_to):
    model, inputs = tiny_model(inputs=heard), tiny_inputs(2, 9)
    others = tiny_inputs(2, 9, seed=1)
    with torch.no_grad():
        speech = model(**inputs).waveform
        for name in ("unit_ids", "spectrogram"):
            changed = model(**inputs | {name: others[name]}).waveform
            assert torch.equal(changed, speech) == (name == deaf_to)
    assert model.state_dict().keys() == tiny_model().state_dict().keys()


def test_one_speaker_embedding_serves_a_batch():
    model, inputs = tiny_model(), tiny_inputs(2, 6)
    one = inputs["speaker_embeddings"][:1]
    with torch.no_grad():
        shared = model(**{**inputs, "speaker_embeddings": one}).waveform
        repeated = model(**{**inputs, "speaker_embeddings": one.repeat(2, 1)}).waveform
    torch.testing.assert_close(shared, repeated, atol=1e-6, rtol=0)


@pytest.mark.parametrize("normed", [False, True], ids=["plain", "in the middle of training"])
def test_saving_keeps_the_function_and_never_the_weight_norm(tmp_path, normed):
    model, inputs = tiny_model(), tiny_inputs(1, 8)
    if normed:
        model.apply_weight_norm()
        with torch.no_grad():  # as a training step would, away from g = |v|
            model.conv_pre.parametrizations.weight.original0.mul_(1.3)
    model.save_pretrained(tmp_path)
    loaded, report = UnitVocoderModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).waveform, model(**inputs).waveform, atol=1e-5, rtol=0)
    assert not any("parametrizations" in name for name in loaded.state_dict())
    model.remove_weight_norm()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, msg=name)


def test_applying_weight_norm_does_not_change_the_speech_and_trains_magnitudes():
    model, inputs = tiny_model(), tiny_inputs(1, 8)
    with torch.no_grad():
        before = model(**inputs).waveform
    model.apply_weight_norm()
    model.apply_weight_norm()  # a second call changes nothing
    after = model(**inputs).waveform
    torch.testing.assert_close(after.detach(), before, atol=1e-5, rtol=0)
    after.square().mean().backward()
    assert model.conv_pre.parametrizations.weight.original0.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("channels", [32, 128], ids=["narrow", "wider"])
def test_new_weights_keep_the_size_of_the_signal_at_any_width(channels):
    torch.manual_seed(0)
    model = UnitVocoderModel(tiny_config(upsample_initial_channel=channels)).eval()
    assert all(
        parameter.abs().sum() == 0 for name, parameter in model.named_parameters() if name.endswith("bias")
    )
    with torch.no_grad():
        waveform = model(**tiny_inputs(4, 20)).waveform
    assert 0.05 < waveform.std() < 0.9


def test_the_config_survives_a_round_trip(tmp_path):
    config = tiny_config(upsample_rates=(8, 5, 4), upsample_kernel_sizes=(16, 11, 8))
    config.save_pretrained(tmp_path)
    loaded = UnitVocoderConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert loaded.resblock_dilation_sizes == [[1, 3, 5]] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsample_rates": (5, 4, 2, 2), "upsample_kernel_sizes": (11, 8, 4, 4)}, "multiply to 80"),
        ({"upsample_kernel_sizes": (32,)}, "one kernel"),
        ({"upsample_kernel_sizes": (31, 20)}, "even number"),
        ({"upsample_initial_channel": 42}, "multiple of 4"),
        ({"resblock_kernel_sizes": (3, 4, 11)}, "odd"),
        ({"resblock_dilation_sizes": ((1, 3),)}, "one list of dilations"),
        ({"resblock_dilation_sizes": ((1,), (0,), (1,))}, "positive integers"),
        ({"unit_dropout": 1.0}, "unit_dropout"),
        ({"num_units": 0}, "num_units"),
    ],
)
def test_an_impossible_config_is_refused_with_the_reason(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("unit_ids", torch.zeros(9, dtype=torch.long), "unit_ids"),
        ("spectrogram", torch.zeros(2, 9, 6), "two mel frames per unit"),
        ("speaker_embeddings", torch.zeros(2, 256), "speaker_embeddings"),
        ("unit_attention_mask", torch.ones(2, 8), "unit_attention_mask"),
    ],
)
def test_inputs_that_do_not_fit_are_named(name, value, message):
    with pytest.raises(Lip2SpeechError, match=message):
        tiny_model()(**{**tiny_inputs(2, 9), name: value})


def test_bfloat16_speaks_float32_samples_close_to_float32():
    model, inputs = tiny_model(), tiny_inputs(1, 20)
    with torch.no_grad():
        expected = model(**inputs).waveform
        actual = model.to(torch.bfloat16)(**inputs).waveform
    assert actual.dtype == torch.float32
    assert (actual - expected).square().mean() < 1e-2 * expected.square().mean()
    assert len(torch.unique(actual)) > 3000  # bfloat16 samples would repeat


def test_activation_checkpointing_gives_the_same_gradients():
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    assert_checkpointing_keeps_gradients(
        lambda: tiny_model(unit_dropout=0.0).train(),
        lambda model: model(**tiny_inputs(2, 6), unit_attention_mask=mask).waveform.square().mean(),
    )
