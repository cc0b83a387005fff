import itertools

import pytest
import torch

from hf_lip2speech.losses.lip2speech import ctc_loss


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


def test_only_paths_that_say_each_character_in_its_time_count():
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 3, requires_grad=True)
    windows = [(0.0, 0.06), (0.02, 0.06), (0.04, 0.1)]  # of 1, 2 and 2 again; a position is 0.02 s
    probabilities = logits.detach().softmax(-1)[0]
    total = 0.0
    for path in itertools.product(range(3), repeat=5):
        groups = [list(group) for _, group in itertools.groupby(enumerate(path), lambda pair: pair[1])]
        said = [group for group in groups if group[0][1]]
        if [group[0][1] for group in said] == [1, 2, 2] and all(
            start <= 0.02 * position + 0.01 <= end
            for group, (start, end) in zip(said, windows, strict=True)
            for position, _ in group
        ):
            total += torch.stack([probabilities[t, index] for t, index in enumerate(path)]).prod()
    labels = torch.tensor([[1, 2, 2]])
    loss = ctc_loss(logits, labels, None, torch.tensor([windows]))
    assert 0 < total and loss.item() == pytest.approx(-total.log().item() / 3)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_times_of_minus_infinity_to_infinity_restrict_nothing_and_impossible_ones_cost_nothing():
    torch.manual_seed(0)
    logits = torch.randn(3, 9, 4, requires_grad=True)
    labels = torch.tensor([[1, 3, 3], [2, -100, -100], [-100, -100, -100]])
    mask = torch.arange(9) < torch.tensor([[9], [7], [9]])
    anywhere = torch.tensor([-torch.inf, torch.inf]).expand(3, 3, 2)
    losses = ctc_loss(logits, labels, mask, anywhere)
    torch.testing.assert_close(losses, ctc_loss(logits, labels, mask))
    assert (losses[:2] > 0).all() and losses[2] == 0  # of two texts and of none
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    (expected,) = torch.autograd.grad(ctc_loss(logits, labels, mask).sum(), logits)
    torch.testing.assert_close(gradient, expected)
    never = anywhere.clone()
    never[0, 1] = 1.0  # after the clip's end
    assert ctc_loss(logits, labels, mask, never)[0] == 0


@pytest.mark.parametrize("times", [None, torch.zeros(2, 0, 2)], ids=["any time", "timed"])
def test_a_batch_without_any_text_costs_nothing(times):
    logits = torch.randn(2, 6, 4, requires_grad=True)
    losses = ctc_loss(logits, torch.zeros(2, 0, dtype=torch.int64), None, times)
    assert losses.tolist() == [0, 0]
    losses.sum().backward()
    assert not logits.grad.any()


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
