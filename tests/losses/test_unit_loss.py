"""The loss of units, by hand."""

import pytest
import torch

from hf_lip2speech.losses.lip2speech import unit_loss


def test_smoothing_is_spread_over_the_other_classes_and_positions_without_a_label_cost_nothing():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5), torch.tensor([[0, 4, 2], [1, -100, -100]])
    expected = 0.0
    for clip, position in ((0, 0), (0, 1), (0, 2), (1, 0)):
        target = torch.full((5,), 0.2 / 4)
        target[labels[clip, position]] = 0.8
        expected -= (target * logits[clip, position].log_softmax(-1)).sum().item()
    assert unit_loss(logits, labels, 0.2).item() == pytest.approx(expected / 2)
