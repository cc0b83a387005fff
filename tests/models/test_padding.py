"""Padding changes no clip, at inference as in training, and costs nothing in the front end."""

import pytest
import torch
from torch import nn

from hf_lip2speech import AVHubertModel
from hf_lip2speech.models.padding import Padding

from .small import clips, encoder, with_encoder, with_frontend

LENGTHS = (11, 4, 7)


def model(kind: str, **changes) -> nn.Module:
    if kind == "encoder alone":
        return encoder(**changes)
    if kind == "with AV-HuBERT":
        return with_encoder(freeze_encoder=False, **changes)
    return with_frontend(**changes, attention_window=6 if kind == "windowed attention" else None)


KINDS = ["front end", "windowed attention", "with AV-HuBERT", "encoder alone"]


def outputs(model: nn.Module, videos, mask, speakers) -> list[torch.Tensor]:
    if isinstance(model, AVHubertModel):
        return [model(videos, mask).last_hidden_state]
    output = model(videos, mask, speakers)
    return [output.unit_logits, output.spectrogram]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone_whatever_is_in_the_padding(kind):
    tiny = model(kind)
    videos, mask, speakers = clips(*LENGTHS)
    garbage = videos.clone()
    garbage[mask == 0] = float("nan")
    with torch.no_grad():
        together = outputs(tiny, garbage, mask, speakers)
        for row, length in enumerate(LENGTHS):
            alone = outputs(tiny, videos[row : row + 1, :length], None, speakers[row : row + 1])
            for ours, theirs in zip(together, alone, strict=True):
                torch.testing.assert_close(ours[row, : theirs.shape[1]], theirs[0], atol=1e-4, rtol=0)
                assert (
                    kind == "encoder alone" or ours.shape[2] != 80 or not ours[row, theirs.shape[1] :].any()
                )


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_outputs_nor_gradients_nor_statistics_in_training(kind):
    """The same two clips, without and with five padded frames each."""
    results = []
    for extra in (0, 5):
        tiny = without_dropout(model(kind)).train().double()
        videos, _, speakers = (x.double() for x in clips(6, 6))
        videos = nn.functional.pad(videos, (0, 0, 0, 0, 0, 0, 0, extra), value=3.0)
        mask = torch.ones(2, 6 + extra).cumsum(1) <= 6
        values = outputs(tiny, videos, mask, speakers)
        steps = 6 * values[0].shape[1] // (6 + extra)
        values = [value[:, : steps * value.shape[1] // values[0].shape[1]] for value in values]
        sum(value.sin().sum() for value in values).backward()
        gradients = [p.grad for p in tiny.parameters() if p.grad is not None]
        results.append([*values, *gradients, *(b for b in tiny.buffers() if b.is_floating_point())])
    for without, with_padding in zip(*results, strict=True):
        torch.testing.assert_close(with_padding, without, atol=1e-9, rtol=1e-7)


def without_dropout(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for config in (model.config, getattr(model.config, "encoder", None)):
        if config is not None:
            config.attention_dropout = 0.0
    return model


@pytest.mark.parametrize("kind", ["front end", "with AV-HuBERT"])
def test_the_front_end_computes_no_padded_frame_and_looks_at_the_mask_once(kind, monkeypatch):
    tiny = model(kind)
    frontend = tiny.frontend if kind == "front end" else tiny.avhubert.frontend
    computed, looks = [], []
    frontend.stem.register_forward_pre_hook(lambda module, inputs: computed.append(len(inputs[0])))
    find = Padding.from_mask.__func__
    monkeypatch.setattr(
        Padding, "from_mask", classmethod(lambda cls, mask: looks.append(1) or find(cls, mask))
    )
    videos, mask, speakers = clips(*LENGTHS)
    with torch.no_grad():
        tiny(videos, mask, speakers)
        assert sum(computed) == sum(LENGTHS) and len(looks) == 2  # of frames, and of units
        tiny(videos, torch.ones_like(mask), speakers)
        assert sum(computed) == sum(LENGTHS) + mask.numel() and len(looks) == 2


def test_published_padding_leaks_only_when_asked_for():
    videos, mask, speakers = clips(14, 5)
    with torch.no_grad():
        correct, published = (
            with_frontend(masked_convolutions=masked)(videos, mask, speakers).spectrogram
            for masked in (True, False)
        )
    assert (correct - published)[0].abs().max() < 1e-5
    assert (correct - published)[1, :20].abs().max() > 1e-3
