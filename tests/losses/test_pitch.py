import math

import pytest
import torch

from hf_lip2speech.losses.gan import pitch_loss


def test_pitch_counts_where_it_is_voiced_and_voicing_everywhere():
    f0 = torch.tensor([[100.0, 200.0, 0.0, 0.0]])
    log_f0 = torch.tensor([[math.log(110), math.log(200), 9.0, -9.0]], requires_grad=True)
    certain = torch.tensor([[50.0, 50.0, -50.0, -50.0]])
    loss = pitch_loss(log_f0, certain, f0)
    assert loss.item() == pytest.approx(2 * math.log(1.1) / 2, rel=1e-4)
    loss.backward()
    assert log_f0.grad[0, 0] > 0 and not log_f0.grad[0, 2:].any()
    undecided = pitch_loss(log_f0.detach(), torch.zeros(1, 4), f0)
    assert (undecided - loss).item() == pytest.approx(math.log(2) / 2, rel=1e-4)


def test_a_silent_batch_has_a_loss_of_voicing_alone():
    assert pitch_loss(torch.zeros(2, 3), torch.full((2, 3), -50.0), torch.zeros(2, 3)).item() == 0
