"""AV-HuBERT's visual path alone and inside the multi-target model; equal numbers: conversion/test_parity."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, AutoModel

from hf_lip2speech import AVHubertConfig, AVHubertModel, Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.models.configuration_avhubert import AVHUBERT_LARGE

SIZES = {
    "frontend_stem_channels": 4,
    "frontend_channels": [4, 8],
    "frontend_blocks": [1, 1],
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "position_kernel_size": 8,
    "position_groups": 4,
    "audio_feature_size": 6,
    "initializer_range": 0.4,  # attention sharp enough for a tolerance of 1e-4 to mean something
}
REST = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_kernel_size": 5,
    "num_units": 20,
    "mel_head_size": 16,
}
NO_DROPOUT = dict.fromkeys(("input_dropout", "hidden_dropout", "attention_dropout"), 0.0)


def off_initial(model):
    """Batch-norm statistics, gains and slopes away from where they start."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def encoder(seed: int = 0, **changes) -> AVHubertModel:
    torch.manual_seed(seed)
    return off_initial(AVHubertModel(AVHubertConfig(**(SIZES | changes))))


def lip2speech(seed: int = 0, sizes: dict = SIZES, **changes) -> Lip2SpeechModel:
    torch.manual_seed(seed)
    return off_initial(Lip2SpeechModel(Lip2SpeechConfig(encoder=sizes, **(REST | changes))))


def clips(*lengths: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    videos = torch.zeros(len(lengths), max(lengths), 1, 88, 88)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        videos[row, :length] = torch.randn(length, 1, 88, 88, generator=generator)
        mask[row, :length] = 1
    return videos, mask, torch.rand(len(lengths), 256, generator=generator)


# ------------------------------------------------------------------------------------------------ the encoder


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
    with torch.no_grad():
        output = encoder()(videos, mask, output_hidden_states=True)
    assert output.last_hidden_state.shape == (2, 9, 32)
    assert len(output.hidden_states) == 4 and output.hidden_states[0].shape == (2, 9, 32)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    with torch.no_grad():
        (features,) = encoder()(videos, mask, return_dict=False)
    assert torch.equal(features, output.last_hidden_state)


@pytest.mark.parametrize("kernel", [8, 7, 64], ids=["even", "odd", "longer than the clips"])
@pytest.mark.parametrize("garbage", [False, True], ids=["zeros in the padding", "garbage in the padding"])
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone(garbage, kernel):
    model = encoder(position_kernel_size=kernel)
    videos, mask, _ = clips(20, 7, 13)
    padded = videos.clone()
    if garbage:
        padded[mask == 0] = 5.0
    with torch.no_grad():
        together = model(padded, mask).last_hidden_state
        for row, length in enumerate([20, 7, 13]):
            alone = model(videos[row : row + 1, :length]).last_hidden_state
            torch.testing.assert_close(together[row, :length], alone[0], atol=1e-4, rtol=0)


def test_eager_and_sdpa_agree():
    videos, mask, _ = clips(12, 7)
    model = encoder()
    with torch.no_grad():
        sdpa = model(videos, mask).last_hidden_state
        model.set_attn_implementation("eager")
        eager = model(videos, mask, output_attentions=True)
    torch.testing.assert_close(eager.last_hidden_state, sdpa, atol=1e-5, rtol=0)
    assert len(eager.attentions) == 3 and eager.attentions[0].shape == (2, 4, 12, 12)
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
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is AVHubertModel
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == model.config.to_dict() | {
        "_name_or_path": str(tmp_path)
    }


def test_initialisation_leaves_no_tensor_unset():
    torch.manual_seed(0)
    model = AVHubertModel(AVHubertConfig(**SIZES))
    with torch.device("meta"):
        empty = AVHubertModel(AVHubertConfig(**SIZES))
    empty.to_empty(device="cpu")
    for tensor in empty.state_dict().values():
        tensor.fill_(77)
    empty.init_weights()
    for name, tensor in empty.state_dict().items():
        other = model.state_dict()[name]
        assert not (tensor == 77).any(), name
        assert tensor.ndim < 2 or tensor.float().std().isclose(other.float().std(), atol=0.1), name
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
    gradients = []
    for checkpointing in (False, True):
        model = encoder(**NO_DROPOUT).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(videos, mask).last_hidden_state.sin().sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3)


def test_every_dropout_is_felt_in_training_and_none_at_inference():
    videos, mask, _ = clips(6)
    with torch.no_grad():
        still = encoder(**NO_DROPOUT)(videos, mask).last_hidden_state
        for name in ("input_dropout", "hidden_dropout", "attention_dropout", "activation_dropout"):
            model = encoder(**(NO_DROPOUT | {name: 0.5}))
            assert torch.equal(model(videos, mask).last_hidden_state, still), name
            model.train()
            model.frontend.eval()  # its batch norms would move the features, too
            assert (model(videos, mask).last_hidden_state - still).abs().max() > 1e-2, name


def test_bfloat16_stays_near_float32():
    videos, mask, _ = clips(10, 6)
    model = encoder()
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
        AVHubertConfig(**(SIZES | changes))


def test_wrong_inputs_say_what_was_expected():
    videos, mask, _ = clips(5)
    with pytest.raises(ValueError, match=r"\(batch, frames, 1, 88, 88\)"):
        encoder()(videos[:, :, 0], mask)
    with pytest.raises(ValueError, match="one value per frame"):
        encoder()(videos, mask[:, :3])


# ----------------------------------------------------------------------------- inside the multi-target model


@pytest.mark.parametrize("sizes", [SIZES, AVHubertConfig(**SIZES)], ids=["a dict", "a config"])
def test_the_config_chooses_what_reads_lips(sizes):
    model = lip2speech(sizes=sizes)
    assert isinstance(model.avhubert, AVHubertModel) and not hasattr(model, "frontend")
    assert isinstance(model.config.encoder, AVHubertConfig)
    plain = Lip2SpeechModel(Lip2SpeechConfig(**REST))
    assert hasattr(plain, "frontend") and not hasattr(plain, "avhubert")


def test_without_its_encoder_the_model_has_the_published_number_of_parameters():
    for sizes, count in (({}, 79_482_732), (AVHUBERT_LARGE, 79_613_804)):
        with torch.device("meta"):
            model = Lip2SpeechModel(Lip2SpeechConfig(encoder=AVHubertConfig(**sizes)))
        trained = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("avhubert."))
        assert trained == count
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def test_configs_with_and_without_an_encoder_survive_saving(tmp_path):
    for config in (Lip2SpeechConfig(encoder=SIZES, **REST), Lip2SpeechConfig(**REST)):
        config.save_pretrained(tmp_path)
        loaded = AutoConfig.from_pretrained(tmp_path)
        assert loaded.to_dict() == config.to_dict() | {"_name_or_path": str(tmp_path)}
        assert type(loaded.encoder) is type(config.encoder)


def test_a_config_from_before_there_were_encoders_still_means_the_front_end():
    saved = Lip2SpeechConfig(**REST).to_dict()
    for name in ("encoder", "freeze_encoder", "frozen_encoder_eval", "frontend_activation"):
        del saved[name]
    config = Lip2SpeechConfig.from_dict(saved)
    assert config.encoder is None and config.frontend_activation == "silu"


def test_an_encoder_of_another_kind_or_frame_size_is_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="lip2speech_avhubert"):
        Lip2SpeechConfig(encoder=Lip2SpeechConfig(), **REST)
    with pytest.raises(StrictDataclassClassValidationError, match="give one size"):
        Lip2SpeechConfig(encoder=SIZES | {"crop_size": 96}, **REST)


def test_every_tensor_survives_saving_and_the_encoder_stays_frozen(tmp_path):
    model = lip2speech()
    model.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert loaded.encoder_is_frozen
    assert not any(p.requires_grad for p in loaded.avhubert.parameters())
    videos, mask, speakers = clips(7, 4)
    with torch.no_grad():
        assert torch.equal(
            model(videos, mask, speakers).spectrogram, loaded(videos, mask, speakers).spectrogram
        )


def test_a_trained_encoder_is_taken_over_whole(tmp_path):
    encoder(seed=3).save_pretrained(tmp_path)
    trained = AVHubertModel.from_pretrained(tmp_path)
    model = Lip2SpeechModel.with_encoder(trained, **REST)
    assert model.avhubert is trained and model.encoder_is_frozen
    assert not any(p.requires_grad for p in trained.parameters())
    assert "_name_or_path" not in model.config.to_dict()["encoder"]
    open_model = Lip2SpeechModel.with_encoder(encoder(), freeze_encoder=False, **REST)
    assert all(p.requires_grad for p in open_model.avhubert.parameters())


def test_a_clip_in_a_padded_batch_gives_the_same_speech_as_alone():
    model = lip2speech()
    videos, mask, speakers = clips(20, 7)
    with torch.no_grad():
        together = model(videos, mask, speakers)
        alone = model(videos[1:, :7], None, speakers[1:])
    torch.testing.assert_close(together.unit_logits[1:, :14], alone.unit_logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(together.spectrogram[1:, :28], alone.spectrogram, atol=1e-4, rtol=0)
    assert together.spectrogram[1, 28:].abs().max() == 0


def test_hidden_states_and_attentions_are_those_of_the_conformer():
    videos, mask, speakers = clips(6)
    model = lip2speech()
    with torch.no_grad():
        sdpa = model(videos, mask, speakers).spectrogram
        model.set_attn_implementation("eager")
        output = model(videos, mask, speakers, output_hidden_states=True, output_attentions=True)
    assert model.avhubert.config._attn_implementation == "eager"
    assert [h.shape for h in output.hidden_states] == [(1, 12, 16)] * 2
    assert [a.shape for a in output.attentions] == [(1, 2, 12, 12)]
    torch.testing.assert_close(output.spectrogram, sdpa, atol=1e-5, rtol=0)


def train_step(model: Lip2SpeechModel) -> dict[str, torch.Tensor]:
    videos, mask, speakers = clips(6, 4)
    model.train()
    before = {name: buffer.clone() for name, buffer in model.avhubert.named_buffers()}
    model(videos, mask, speakers, mel_labels=torch.ones(2, 24, 80)).loss.backward()
    return {
        name: buffer
        for name, buffer in model.avhubert.named_buffers()
        if not torch.equal(buffer, before[name])
    }


def test_a_frozen_encoder_is_left_as_it_is_while_the_rest_trains():
    model = lip2speech()
    assert train_step(model) == {}, "statistics that moved"
    assert model.training and not any(module.training for module in model.avhubert.modules())
    assert all(p.grad is None for p in model.avhubert.parameters())
    assert all(p.grad is not None for n, p in model.named_parameters() if n.startswith("avhubert_proj"))


def test_as_published_a_frozen_encoders_batch_norms_go_along():
    model = lip2speech(frozen_encoder_eval=False)
    moved = train_step(model)
    assert any(name.endswith("running_var") for name in moved)
    assert all("frontend" in name for name in moved)
    assert all(p.grad is None for p in model.avhubert.parameters())


def test_an_unfrozen_encoder_trains_with_the_rest():
    for model in (lip2speech(freeze_encoder=False), lip2speech()):
        if model.encoder_is_frozen:
            model.train()
            model.unfreeze_encoder()
            assert all(module.training for module in model.avhubert.modules())
        assert train_step(model)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.avhubert.parameters())


def test_activation_checkpointing_reaches_the_encoder():
    videos, mask, speakers = clips(6, 5)
    gradients = []
    for checkpointing in (False, True):
        quiet = {"freeze_encoder": False, "hidden_dropout": 0.0, "attention_dropout": 0.0}
        model = lip2speech(sizes=SIZES | NO_DROPOUT, **quiet).train()
        if checkpointing:
            model.activation_checkpointing_enable()
            assert all(layer.gradient_checkpointing for layer in model.avhubert.layers)
        model(videos, mask, speakers, mel_labels=torch.ones(2, 24, 80)).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-4, rtol=1e-3)
