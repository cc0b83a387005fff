"""AV-HuBERT's visual path alone; padding: test_padding; published numbers: tests/parity."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoModel

from hf_lip2speech import AVHubertConfig, AVHubertModel
from hf_lip2speech.models.configuration_avhubert import AVHUBERT_LARGE

from .small import (
    ENCODER,
    STILL_ENCODER,
    assert_checkpointing_keeps_gradients,
    assert_initialisation_sets_every_tensor,
    assert_saving_keeps_every_tensor,
    clips,
    encoder,
)


@pytest.mark.parametrize(
    ("sizes", "count"), [({}, 102_620_288), (AVHUBERT_LARGE, 324_622_976)], ids=["Base", "Large"]
)
def test_base_is_the_default_and_large_is_named(sizes, count):
    with torch.device("meta"):
        model = AVHubertModel(AVHubertConfig(**sizes))
    weights = list(model.parameters()) + list(model.audio_proj.buffers())
    assert sum(p.numel() for p in weights) == count


def test_outputs_have_the_documented_shapes():
    videos, mask, _ = clips(9, 5)
    model = encoder()
    with torch.no_grad():
        output = model(videos, mask, output_hidden_states=True)
        (features,) = model(videos, mask, return_dict=False)
    assert [states.shape for states in output.hidden_states] == [(2, 9, 32)] * 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert torch.equal(features, output.last_hidden_state)


def test_eager_and_sdpa_agree():
    videos, mask, _ = clips(12, 7)
    model = encoder()
    with torch.no_grad():
        sdpa = model(videos, mask).last_hidden_state
        model.set_attn_implementation("eager")
        eager = model(videos, mask, output_attentions=True)
    torch.testing.assert_close(eager.last_hidden_state, sdpa, atol=1e-5, rtol=0)
    assert [weights.shape for weights in eager.attentions] == [(2, 4, 12, 12)] * 2
    assert eager.attentions[0][1, :, :, 7:].abs().max() == 0, "padding is not attended to"
    assert (eager.attentions[0][0] - 1 / 12).abs().max() > 0.05, "sharp enough to tell"


def test_positions_tell_where_a_frame_is():
    model = encoder()
    same = torch.ones(1, 10, 1, 88, 88)
    with torch.no_grad():
        before = model(same).last_hidden_state
        model.positions.magnitude.zero_()
        after = model(same).last_hidden_state
    middle = slice(3, 7)  # past the edges of the front end's convolution
    assert (before[0, middle] - before[0, 5]).abs().max() > 1e-2
    assert (after[0, middle] - after[0, 5]).abs().max() < 1e-4


def test_a_magnitude_scales_its_place_of_the_kernel():
    """The norm is over dim 2: each of the kernel's places has its own magnitude."""
    positions = encoder().positions
    with torch.no_grad():
        positions.bias.zero_()
        positions.magnitude.zero_()
        positions.magnitude[..., 4] = 1.0  # of 8 places, with 4 zeros of padding: the frame itself
        x = torch.zeros(1, 6, 32)
        x[0, 2] = torch.randn(32)
        moved = positions(x)
        assert moved[0].abs().sum(1).nonzero().flatten().tolist() == [2]
        positions.direction.mul_(7)
        torch.testing.assert_close(positions(x), moved)


def test_every_tensor_survives_saving_the_unused_audio_projection_too(tmp_path):
    model = encoder()
    assert "audio_proj.weight" in model.state_dict()
    loaded = assert_saving_keeps_every_tensor(model, tmp_path)
    assert loaded.config.to_dict() == model.config.to_dict() | {"_name_or_path": str(tmp_path)}
    assert type(AutoModel.from_pretrained(tmp_path)) is AVHubertModel


def test_initialisation_leaves_no_tensor_unset():
    torch.manual_seed(0)
    assert_initialisation_sets_every_tensor(lambda: AVHubertModel(AVHubertConfig(**ENCODER)))
    model = AVHubertModel(AVHubertConfig(**ENCODER))
    norms = model.positions.direction.norm(dim=(0, 1), keepdim=True)
    torch.testing.assert_close(model.positions.magnitude, norms)
    assert model.frontend.stem_activation.weight.unique().tolist() == [0.25]


def test_all_that_reads_lips_is_trained_and_the_audio_projection_is_not():
    videos, mask, _ = clips(6, 4)
    model = encoder()
    model(videos, mask).last_hidden_state.square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()
    assert not any("audio_proj" in name for name, _ in model.named_parameters())


def test_activation_checkpointing_gives_the_same_gradients():
    videos, mask, _ = clips(6, 5)
    assert_checkpointing_keeps_gradients(
        lambda: encoder(**STILL_ENCODER).train(),
        lambda model: model(videos, mask).last_hidden_state.sin().sum(),
    )


def test_every_dropout_is_felt_in_training_and_none_at_inference():
    videos, mask, _ = clips(6)
    with torch.no_grad():
        still = encoder(**STILL_ENCODER)(videos, mask).last_hidden_state
        for name in ("input_dropout", "hidden_dropout", "attention_dropout", "activation_dropout"):
            model = encoder(**(STILL_ENCODER | {name: 0.5}))
            assert torch.equal(model(videos, mask).last_hidden_state, still), name
            model.train()
            model.frontend.eval()  # its batch norms would move the features, too
            assert (model(videos, mask).last_hidden_state - still).abs().max() > 1e-2, name


def test_bfloat16_stays_near_float32():
    """At 16 channels per group of the positional convolution; the published sizes have 48 and 64.

    With fewer than 16, an even kernel of 8 or more and a CPU with AMX, the bfloat16 convolution of oneDNN in
    torch 2.13 is wrong: `F.conv1d` of 8 to 8 channels with a kernel of 8 is 100 % off.
    """
    videos, mask, _ = clips(10, 6)
    model = encoder(initializer_range=0.2)
    with torch.no_grad():
        full = model(videos, mask).last_hidden_state[mask.bool()]
        half = model.to(torch.bfloat16)(videos.bfloat16(), mask).last_hidden_state[mask.bool()]
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_size": 30}, "num_attention_heads"),
        ({"position_groups": 5}, "position_groups"),
        ({"frontend_blocks": [1]}, "frontend_blocks"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
    ],
)
def test_impossible_configs_are_refused(changes, word):
    with pytest.raises(StrictDataclassClassValidationError, match=word):
        AVHubertConfig(**(ENCODER | changes))


def test_wrong_inputs_say_what_was_expected():
    videos, mask, _ = clips(5)
    with pytest.raises(ValueError, match=r"\(batch, frames, 1, 88, 88\)"):
        encoder()(videos[:, :, 0], mask)
    with pytest.raises(ValueError, match="one value per frame"):
        encoder()(videos, mask[:, :3])
