"""The multi-target model on its front end or on AV-HuBERT: shapes, losses, saving, a frozen encoder.

Padding: test_padding; offloading, hooks, adapters, export: test_contract; published numbers: tests/parity.
"""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig, AutoModel

from hf_lip2speech import AVHubertConfig, AVHubertModel, Lip2SpeechConfig, Lip2SpeechModel
from hf_lip2speech.models.configuration_avhubert import AVHUBERT_LARGE
from hf_lip2speech.models.padding import find_padding

from .small import (
    CONFORMER,
    ENCODER,
    FRONTEND,
    NO_DROPOUT,
    STILL_ENCODER,
    assert_checkpointing_keeps_gradients,
    assert_initialisation_sets_every_tensor,
    assert_saving_keeps_every_tensor,
    clips,
    encoder,
    with_encoder,
    with_frontend,
)

BOTH = pytest.mark.parametrize("build", [with_frontend, with_encoder], ids=["front end", "AV-HuBERT"])


def test_the_papers_size_is_the_default():
    with torch.device("meta"):
        model = Lip2SpeechModel(Lip2SpeechConfig())
    assert sum(p.numel() for p in model.parameters()) == 90_271_788
    assert sum(p.numel() for p in model.frontend.parameters()) == 11_182_784


@pytest.mark.parametrize(("sizes", "count"), [({}, 79_482_732), (AVHUBERT_LARGE, 79_613_804)])
def test_without_its_encoder_the_model_has_the_published_number_of_parameters(sizes, count):
    with torch.device("meta"):
        model = Lip2SpeechModel(Lip2SpeechConfig(encoder=AVHubertConfig(**sizes)))
    trained = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("avhubert."))
    assert trained == count == sum(p.numel() for p in model.parameters() if p.requires_grad)


@BOTH
def test_outputs_have_the_documented_shapes(build):
    videos, mask, speakers = clips(9, 5)
    model = build()
    with torch.no_grad():
        sdpa = model(videos, mask, speakers)
        model.set_attn_implementation("eager")
        output = model(videos, mask, speakers, output_hidden_states=True, output_attentions=True)
    assert output.loss is None
    assert output.unit_logits.shape == (2, 18, 24) and output.spectrogram.shape == (2, 36, 80)
    assert [states.shape for states in output.hidden_states] == [(2, 18, 16)] * 3
    assert [weights.shape for weights in output.attentions] == [(2, 2, 18, 18)] * 2
    ids = model.unit_ids(output.unit_logits)
    assert ids.shape == (2, 18) and ids.min() >= 0 and ids.max() < 20
    torch.testing.assert_close(output.spectrogram, sdpa.spectrogram, atol=1e-5, rtol=0)
    if build is with_encoder:
        assert model.avhubert.config._attn_implementation == "eager"


def test_special_classes_are_never_decoded():
    logits = torch.zeros(1, 3, 24)
    logits[..., 1] = 9.0  # a special class
    logits[0, :, 4 + 7] = 1.0
    assert with_frontend().unit_ids(logits).tolist() == [[7, 7, 7]]


def test_a_window_limits_what_a_position_sees():
    model = with_frontend(attention_window=3)
    videos, _, speakers = clips(40, seed=3)
    changed = videos.clone()
    changed[:, 30:] = 0
    with torch.no_grad():
        a, b = model(videos, None, speakers).spectrogram, model(changed, None, speakers).spectrogram
        model.set_attn_implementation("eager")
        weights = model(videos[:, :9], None, speakers, output_attentions=True).attentions[0]
    # 3 attention and 3 convolution positions per layer, 2 of the mel head: 14 positions; 2 frames of the stem
    assert (a[:, : 4 * 20] - b[:, : 4 * 20]).abs().max() < 1e-5
    assert (a[:, 4 * 30 :] - b[:, 4 * 30 :]).abs().max() > 1e-3
    assert weights[0, :, 0, 4:].abs().max() < 1e-6


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("frames", [9, 10, 23])
def test_blocks_with_a_window_give_what_attention_to_all_with_a_mask_gives(chunk, padded, frames):
    model = with_frontend(attention_window=4).eval()
    videos, mask, speakers = clips(frames, 2)
    valid = mask.bool() if padded else torch.ones_like(mask, dtype=torch.bool)
    found = []
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        output = model(videos, mask if padded else None, speakers, chunk_frames=chunk)
        output.spectrogram[valid.repeat_interleave(4, dim=1)].square().mean().backward()
        gradients = [p.grad for p in model.encoder.parameters()]
        found.append((output.unit_logits[valid.repeat_interleave(2, dim=1)], gradients))
    torch.testing.assert_close(found[0], found[1], atol=2e-5, rtol=1e-4)


def test_long_clips_through_the_front_end_in_parts_are_exact():
    frontend = with_frontend().frontend
    videos, mask, _ = clips(300, 20)
    with torch.no_grad():
        in_parts = frontend(videos)
    torch.testing.assert_close(
        in_parts, frontend(videos).detach(), atol=1e-5, rtol=0
    )  # with gradients: at once


def test_loss_is_made_of_its_named_parts():
    videos, mask, speakers = clips(8, 6)
    units = torch.full((2, 16), -100)
    units[0], units[1, :12] = 5, 9
    mel = torch.randn(2, 32, 80)
    output = with_frontend()(videos, mask, speakers, unit_labels=units, mel_labels=mel)
    expected = output.unit_loss + 10 * (output.mel_loss + output.spectral_convergence_loss)
    torch.testing.assert_close(output.loss, expected)
    units_only = with_frontend()(videos, mask, speakers, unit_labels=units)
    torch.testing.assert_close(units_only.loss, output.unit_loss)
    assert units_only.mel_loss is None
    mel[1, 24:] = 99.0  # after the clip's end
    after = with_frontend()(videos, mask, speakers, unit_labels=units, mel_labels=mel)
    torch.testing.assert_close(after.loss, output.loss)


def test_losses_are_float32_at_any_precision():
    videos, mask, speakers = clips(6, 4)
    model = with_frontend(correlation_loss_weight=1.0).to(torch.bfloat16)
    labels = {"unit_labels": torch.full((2, 12), 5), "mel_labels": torch.randn(2, 24, 80)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(videos.bfloat16(), mask, speakers.bfloat16(), **labels)
    names = ("unit_loss", "mel_loss", "spectral_convergence_loss", "correlation_loss", "loss")
    assert {output[name].dtype for name in names} == {torch.float32}


@BOTH
def test_every_tensor_survives_saving(build, tmp_path):
    model = build()
    loaded = assert_saving_keeps_every_tensor(model, tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert type(AutoModel.from_pretrained(tmp_path)) is Lip2SpeechModel
    inputs = clips(7, 4)
    with torch.no_grad():
        assert torch.equal(model(*inputs).spectrogram, loaded(*inputs).spectrogram)
    if build is with_encoder:
        assert loaded.encoder_is_frozen
        assert not any(p.requires_grad for p in loaded.avhubert.parameters())


def test_initialisation_leaves_no_parameter_unset():
    assert_initialisation_sets_every_tensor(
        lambda: Lip2SpeechModel(Lip2SpeechConfig(**(FRONTEND | CONFORMER)))
    )


@BOTH
def test_activation_checkpointing_gives_the_same_gradients(build):
    videos, mask, speakers = clips(6, 5)
    changes = NO_DROPOUT if build is with_frontend else NO_DROPOUT | {"freeze_encoder": False}
    sizes = {} if build is with_frontend else {"sizes": ENCODER | STILL_ENCODER}
    assert_checkpointing_keeps_gradients(
        lambda: build(**sizes, **changes).train(),
        lambda model: model(videos, mask, speakers, mel_labels=torch.ones(2, 24, 80)).loss,
    )


def test_bfloat16_stays_near_float32():
    videos, mask, speakers = clips(10, 6)
    model = with_frontend()
    with torch.no_grad():
        full = model(videos, mask, speakers).spectrogram
        half = model.to(torch.bfloat16)(videos.bfloat16(), mask, speakers.bfloat16()).spectrogram
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean() + 0.02


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_size": 31}, "num_attention_heads"),
        ({"conv_kernel_size": 8}, "odd"),
        ({"frontend_blocks": [1]}, "frontend_blocks"),
        ({"attention_window": 0}, "attention_window"),
        ({"num_units": 0}, "num_units"),
        ({"max_av_offset": -1}, "max_av_offset cannot be negative: got -1"),
        ({"encoder": Lip2SpeechConfig()}, "lip2speech_avhubert"),
        ({"encoder": ENCODER | {"crop_size": 96}}, "give one size"),
    ],
)
def test_impossible_configs_are_refused(changes, word):
    with pytest.raises(StrictDataclassClassValidationError, match=word):
        Lip2SpeechConfig(**(FRONTEND | CONFORMER | changes))


def test_wrong_inputs_say_what_was_expected():
    model = with_frontend()
    videos, mask, speakers = clips(5)
    with pytest.raises(ValueError, match=r"\(batch, frames, 1, 88, 88\)"):
        model(videos.transpose(1, 2), mask, speakers)
    with pytest.raises(ValueError, match=r"\(1, 256\)"):
        model(videos, mask)
    with pytest.raises(ValueError, match="one value per frame"):
        model(videos, mask[:, :3], speakers)
    with pytest.raises(ValueError, match="one of pixel_values_videos and inputs_embeds"):
        model(speaker_embeddings=speakers)
    with pytest.raises(ValueError, match=r"inputs_embeds .*expected \(batch, frames, 8\)"):
        model(inputs_embeds=torch.zeros(1, 5, 7), speaker_embeddings=speakers)


@BOTH
def test_features_that_are_known_are_taken_in_place_of_frames(build):
    model = build().eval()
    videos, mask, speakers = clips(5, 3)
    with torch.no_grad():
        expected = model(videos, mask, speakers)
        features = model.frame_features(videos, find_padding(videos, mask))
        output = model(inputs_embeds=features, attention_mask=mask, speaker_embeddings=speakers)
    for name in ("unit_logits", "spectrogram", "last_hidden_state"):
        assert torch.equal(output[name], expected[name])


# -------------------------------------------------------------------------------------- with an AV-HuBERT


@pytest.mark.parametrize("sizes", [ENCODER, AVHubertConfig(**ENCODER)], ids=["a dict", "a config"])
def test_the_config_chooses_what_reads_lips(sizes):
    model = with_encoder(sizes=sizes)
    assert isinstance(model.avhubert, AVHubertModel) and not hasattr(model, "frontend")
    assert isinstance(model.config.encoder, AVHubertConfig)
    assert hasattr(with_frontend(), "frontend") and not hasattr(with_frontend(), "avhubert")


@pytest.mark.parametrize("encoder_sizes", [ENCODER, None], ids=["with an encoder", "without"])
def test_a_config_survives_saving(encoder_sizes, tmp_path):
    config = Lip2SpeechConfig(encoder=encoder_sizes, **CONFORMER)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict() | {"_name_or_path": str(tmp_path)}
    assert type(loaded.encoder) is type(config.encoder)


def test_a_config_from_before_there_were_encoders_still_means_the_front_end():
    saved = Lip2SpeechConfig(**CONFORMER).to_dict()
    for name in ("encoder", "freeze_encoder", "frozen_encoder_eval", "frontend_activation"):
        del saved[name]
    config = Lip2SpeechConfig.from_dict(saved)
    assert config.encoder is None and config.frontend_activation == "silu"


def test_a_trained_encoder_is_taken_over_whole(tmp_path):
    encoder(seed=3).save_pretrained(tmp_path)
    trained = AVHubertModel.from_pretrained(tmp_path)
    model = Lip2SpeechModel.with_encoder(trained, **CONFORMER)
    assert model.avhubert is trained and model.encoder_is_frozen
    assert not any(p.requires_grad for p in trained.parameters())
    assert "_name_or_path" not in model.config.to_dict()["encoder"]
    open_model = Lip2SpeechModel.with_encoder(encoder(), freeze_encoder=False, **CONFORMER)
    assert all(p.requires_grad for p in open_model.avhubert.parameters())


def train_step(model: Lip2SpeechModel) -> dict[str, torch.Tensor]:
    """The encoder's buffers that moved."""
    videos, mask, speakers = clips(6, 4)
    model.train()
    before = {name: buffer.clone() for name, buffer in model.avhubert.named_buffers()}
    model(videos, mask, speakers, mel_labels=torch.ones(2, 24, 80)).loss.backward()
    return {name: b for name, b in model.avhubert.named_buffers() if not torch.equal(b, before[name])}


def test_a_frozen_encoder_is_left_as_it_is_while_the_rest_trains():
    model = with_encoder()
    assert train_step(model) == {}, "statistics that moved"
    assert model.training and not any(module.training for module in model.avhubert.modules())
    assert all(p.grad is None for p in model.avhubert.parameters())
    assert all(p.grad is not None for n, p in model.named_parameters() if n.startswith("avhubert_proj"))


def test_a_frozen_encoder_whose_weights_already_require_gradients_gets_none():
    model = with_encoder()
    model.avhubert.requires_grad_(True)
    train_step(model)
    assert all(p.grad is None for p in model.avhubert.parameters())


def test_as_published_a_frozen_encoders_batch_norms_go_along():
    model = with_encoder(frozen_encoder_eval=False)
    moved = train_step(model)
    assert any(name.endswith("running_var") for name in moved)
    assert all("frontend" in name for name in moved)
    assert all(p.grad is None for p in model.avhubert.parameters())


def test_an_unfrozen_encoder_trains_with_the_rest():
    for model in (with_encoder(freeze_encoder=False), with_encoder()):
        if model.encoder_is_frozen:
            model.train()
            model.unfreeze_encoder()
            assert all(module.training for module in model.avhubert.modules())
        assert train_step(model)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.avhubert.parameters())


@pytest.mark.parametrize("window", [None, 3])
def test_in_chunks_no_output_depends_on_a_later_chunk(window):
    videos, _, speakers = clips(11)
    model, changed = with_frontend(attention_window=window), videos.clone()
    changed[:, 8:] += 1
    with torch.no_grad():
        before, after = (
            model(video, speaker_embeddings=speakers, chunk_frames=4) for video in (videos, changed)
        )
        whole = model(videos, speaker_embeddings=speakers)
        one = model(videos, speaker_embeddings=speakers, chunk_frames=11)
    torch.testing.assert_close(after.unit_logits[:, :16], before.unit_logits[:, :16])
    torch.testing.assert_close(after.spectrogram[:, :32], before.spectrogram[:, :32])
    assert (after.unit_logits[:, 16:] - before.unit_logits[:, 16:]).abs().amax((0, 2)).min() > 1e-3
    torch.testing.assert_close(one.spectrogram, whole.spectrogram)
    assert (before.unit_logits[:, 7] - whole.unit_logits[:, 7]).abs().max() > 1e-3


def test_an_avhubert_has_no_chunks():
    videos, _, speakers = clips(8)
    with pytest.raises(ValueError, match="AV-HuBERT sees the whole clip"):
        with_encoder()(videos, speaker_embeddings=speakers, chunk_frames=4)
