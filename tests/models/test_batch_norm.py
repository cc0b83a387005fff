"""Batch norm over channels-last frames against float64 and against torch's own."""

import pytest
import torch
from torch import nn

from hf_lip2speech.models.visual_frontend import FrameBatchNorm


def frames(*shape: int) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1.5
    return x.contiguous(memory_format=torch.channels_last)


def norms(channels: int, kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    norm = kind(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


def test_the_statistics_of_many_frames_are_right():
    x = frames(400, 16, 44, 44)
    norm = FrameBatchNorm(16, momentum=1.0).train()
    norm(x)
    exact = x.double()
    torch.testing.assert_close(norm.running_mean.double(), exact.mean((0, 2, 3)), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), exact.var((0, 2, 3)), rtol=2e-6, atol=0)
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("shape", [(3, 8, 5, 6), (40, 8, 30, 30)], ids=["a few", "several parts of rows"])
def test_outputs_and_gradients_are_those_of_torch(shape):
    results = []
    for kind in (FrameBatchNorm, nn.BatchNorm2d):
        norm = norms(shape[1], kind).train().double() if kind is nn.BatchNorm2d else norms(shape[1], kind)
        x = frames(*shape).to(norm.weight.dtype).requires_grad_()
        output = norm(x)
        (output.sin() * torch.linspace(0, 1, shape[3], dtype=x.dtype)).sum().backward()
        results.append([output, x.grad, norm.weight.grad, norm.bias.grad, norm.running_var])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", ["eval", "contiguous", "bfloat16"])
def test_all_else_is_torchs_own(change):
    ours, theirs = norms(8, FrameBatchNorm), norms(8, nn.BatchNorm2d)
    x = frames(3, 8, 5, 5)
    if change == "eval":
        ours, theirs = ours.eval(), theirs.eval()
    elif change == "contiguous":
        x = x.contiguous()
    else:
        x = x.bfloat16()
    assert torch.equal(ours(x), theirs(x))
