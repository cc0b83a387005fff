import itertools

import pytest
import torch

from hf_lip2speech.losses.ctc import ctc_loss


def collapsed(path):
    return [index for index, _ in itertools.groupby(path) if index]


def test_it_is_the_negative_log_of_the_probability_of_every_path_that_spells_the_text():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3)
    probabilities = logits.softmax(-1)[0]
    total = sum(
        torch.stack([probabilities[t, index] for t, index in enumerate(path)]).prod()
        for path in itertools.product(range(3), repeat=4)
        if collapsed(path) == [1, 2]
    )
    assert ctc_loss(logits, torch.tensor([[1, 2]]), None).item() == pytest.approx(-total.log().item() / 2)


def test_a_padded_clip_has_its_loss_and_one_without_text_or_room_none():
    torch.manual_seed(0)
    logits = torch.randn(3, 6, 4).bfloat16().requires_grad_()
    labels = torch.tensor([[1, 3, -100], [-100, -100, -100], [2, 2, 2]])
    mask = torch.arange(6) < torch.tensor([[5], [6], [4]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = ctc_loss(logits, labels, mask)
    alone = ctc_loss(logits[:1, :5].detach(), labels[:1, :2], None)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses[:1], alone)
    assert losses[1:].tolist() == [0, 0]
    losses.sum().backward()
    assert logits.grad.isfinite().all() and not logits.grad[1:].any() and not logits.grad[0, 5:].any()
