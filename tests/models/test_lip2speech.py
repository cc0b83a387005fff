"""The multi-target model: shapes, losses, padding, saving; published numbers: conversion/test_parity."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechModel

SMALL = {
    "frontend_stem_channels": 8,
    "frontend_channels": [8, 12, 16, 24],
    "frontend_blocks": [1, 1, 1, 1],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_kernel_size": 7,
    "num_units": 20,
    "mel_head_size": 24,
}


def small_model(seed: int = 0, **changes) -> Lip2SpeechModel:
    """A small model whose batch-norm statistics are away from their initial values."""
    torch.manual_seed(seed)
    model = Lip2SpeechModel(Lip2SpeechConfig(**(SMALL | changes)))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model.eval()


def clips(*lengths: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A padded batch: videos (B, T, 1, 88, 88), attention_mask (B, T), speaker embeddings (B, 256)."""
    generator = torch.Generator().manual_seed(seed)
    videos = torch.zeros(len(lengths), max(lengths), 1, 88, 88)
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
    for row, length in enumerate(lengths):
        videos[row, :length] = torch.randn(length, 1, 88, 88, generator=generator)
        mask[row, :length] = 1
    return videos, mask, torch.rand(len(lengths), 256, generator=generator)


def test_the_papers_size_is_the_default():
    with torch.device("meta"):
        model = Lip2SpeechModel(Lip2SpeechConfig())
    assert sum(p.numel() for p in model.parameters()) == 90_271_788
    assert sum(p.numel() for p in model.frontend.parameters()) == 11_182_784


def test_outputs_have_the_documented_shapes():
    videos, mask, speakers = clips(9, 5)
    model = small_model()
    with torch.no_grad():
        output = model(videos, mask, speakers, output_hidden_states=True)
    assert output.loss is None
    assert output.unit_logits.shape == (2, 18, 24)
    assert output.spectrogram.shape == (2, 36, 80)
    assert len(output.hidden_states) == 3 and output.hidden_states[0].shape == (2, 18, 32)
    ids = model.unit_ids(output.unit_logits)
    assert ids.shape == (2, 18) and ids.min() >= 0 and ids.max() < 20


def test_special_classes_are_never_decoded():
    logits = torch.zeros(1, 3, 24)
    logits[..., 1] = 9.0  # a special class
    logits[0, :, 4 + 7] = 1.0
    assert small_model().unit_ids(logits).tolist() == [[7, 7, 7]]


@pytest.mark.parametrize("window", [None, 6], ids=["full attention", "windowed attention"])
@pytest.mark.parametrize("garbage", [False, True], ids=["zeros in the padding", "garbage in the padding"])
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone(window, garbage):
    model = small_model(attention_window=window)
    videos, mask, speakers = clips(40, 11, 23)
    padded = videos.clone()
    if garbage:
        padded[mask == 0] = 5.0
    with torch.no_grad():
        together = model(padded, mask, speakers)
        for row, length in enumerate([40, 11, 23]):
            alone = model(videos[row : row + 1, :length], None, speakers[row : row + 1])
            torch.testing.assert_close(
                together.unit_logits[row, : 2 * length], alone.unit_logits[0], atol=1e-4, rtol=0
            )
            torch.testing.assert_close(
                together.spectrogram[row, : 4 * length], alone.spectrogram[0], atol=1e-4, rtol=0
            )


def test_published_padding_leaks_only_when_asked_for():
    videos, mask, speakers = clips(30, 9)
    correct, published = small_model(), small_model(masked_convolutions=False)
    with torch.no_grad():
        difference = (
            correct(videos, mask, speakers).spectrogram - published(videos, mask, speakers).spectrogram
        )
    assert difference[0].abs().max() < 1e-5
    assert difference[1, :36].abs().max() > 1e-3


def test_eager_and_sdpa_agree():
    videos, mask, speakers = clips(12, 7)
    model = small_model(attention_window=5)
    with torch.no_grad():
        sdpa = model(videos, mask, speakers).spectrogram
        model.set_attn_implementation("eager")
        eager = model(videos, mask, speakers, output_attentions=True)
    torch.testing.assert_close(eager.spectrogram, sdpa, atol=1e-5, rtol=0)
    weights = eager.attentions[0]
    assert weights.shape == (2, 4, 24, 24)
    assert weights[0, :, 0, 6:].abs().max() < 1e-6, "beyond the window"


def test_a_window_limits_what_a_position_sees():
    model = small_model(attention_window=3)
    videos, _, speakers = clips(60, seed=3)
    changed = videos.clone()
    changed[:, 50:] = 0
    with torch.no_grad():
        a, b = model(videos, None, speakers).spectrogram, model(changed, None, speakers).spectrogram
    # 3 attention and 3 convolution positions a layer, 3 of the mel head: 15 positions; 2 frames of the stem
    assert (a[:, : 4 * 40] - b[:, : 4 * 40]).abs().max() < 1e-5
    assert (a[:, 4 * 50 :] - b[:, 4 * 50 :]).abs().max() > 1e-3


def test_long_clips_through_the_front_end_in_chunks_are_exact():
    model = small_model()
    videos, _, _ = clips(300)
    with torch.no_grad():
        chunked = model.frontend(videos)
    whole = model.frontend(videos)  # with gradients: at once
    torch.testing.assert_close(chunked, whole.detach(), atol=1e-5, rtol=0)


def test_loss_is_made_of_its_named_parts():
    videos, mask, speakers = clips(8, 6)
    units = torch.full((2, 16), -100)
    units[0], units[1, :12] = 5, 9
    mel = torch.randn(2, 32, 80)
    output = small_model()(videos, mask, speakers, unit_labels=units, mel_labels=mel)
    expected = output.unit_loss + 10 * (output.mel_loss + output.spectral_convergence_loss)
    torch.testing.assert_close(output.loss, expected)
    units_only = small_model()(videos, mask, speakers, unit_labels=units)
    torch.testing.assert_close(units_only.loss, output.unit_loss)
    assert units_only.mel_loss is None


def test_ignored_positions_do_not_move_the_loss():
    videos, mask, speakers = clips(8, 6)
    units = torch.full((2, 16), 7)
    units[1, 12:] = -100
    mel = torch.randn(2, 32, 80)
    model = small_model()
    first = model(videos, mask, speakers, unit_labels=units, mel_labels=mel)
    mel[1, 24:] = 99.0
    second = model(videos, mask, speakers, unit_labels=units, mel_labels=mel)
    torch.testing.assert_close(first.loss, second.loss)


def test_every_tensor_survives_saving(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded, info = Lip2SpeechModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    videos, mask, speakers = clips(7, 4)
    with torch.no_grad():
        assert torch.equal(
            model(videos, mask, speakers).spectrogram, loaded(videos, mask, speakers).spectrogram
        )


def test_initialisation_leaves_no_parameter_unset():
    model = Lip2SpeechModel(Lip2SpeechConfig(**SMALL))
    with torch.device("meta"):
        empty = Lip2SpeechModel(Lip2SpeechConfig(**SMALL))
    empty.to_empty(device="cpu")
    for tensor in empty.state_dict().values():
        tensor.fill_(77)
    empty.init_weights()
    for name, tensor in empty.state_dict().items():
        assert not (tensor == 77).any(), name
        assert (
            tensor.float().std().isclose(model.state_dict()[name].float().std(), atol=0.1) or tensor.ndim < 2
        ), name


def test_activation_checkpointing_gives_the_same_gradients():
    videos, mask, speakers = clips(6, 5)
    gradients = []
    for checkpointing in (False, True):
        model = small_model(hidden_dropout=0.0, attention_dropout=0.0).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(videos, mask, speakers, mel_labels=torch.ones(2, 24, 80)).loss.backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4)


def test_bfloat16_stays_near_float32():
    videos, mask, speakers = clips(10, 6)
    model = small_model()
    with torch.no_grad():
        full = model(videos, mask, speakers).spectrogram
        half = model.to(torch.bfloat16)(videos.bfloat16(), mask, speakers.bfloat16()).spectrogram
    assert half.dtype == torch.bfloat16
    assert (half.float() - full).abs().mean() < 0.05 * full.abs().mean() + 0.02


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"hidden_size": 30}, "num_attention_heads"),
        ({"conv_kernel_size": 8}, "odd"),
        ({"frontend_blocks": [1, 1]}, "frontend_blocks"),
        ({"attention_window": 0}, "attention_window"),
        ({"num_units": 0}, "num_units"),
    ],
)
def test_impossible_configs_are_refused(changes, word):
    with pytest.raises(StrictDataclassClassValidationError, match=word):
        Lip2SpeechConfig(**(SMALL | changes))


def test_wrong_inputs_say_what_was_expected():
    model = small_model()
    videos, mask, speakers = clips(5)
    with pytest.raises(ValueError, match=r"\(batch, frames, 1, 88, 88\)"):
        model(videos.transpose(1, 2), mask, speakers)
    with pytest.raises(ValueError, match=r"\(1, 256\)"):
        model(videos, mask)
    with pytest.raises(ValueError, match="one value per frame"):
        model(videos, mask[:, :3], speakers)
