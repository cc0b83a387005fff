"""models/visual_frontend.py: without gradients shorter ways to the same numbers, unseen by hooks; batch norm
over channels-last frames against float64 and against torch's own."""

import pytest
import torch
from torch import nn

from hf_lip2speech.models.convolution import FewPixelsConv2d
from hf_lip2speech.models.visual_frontend import BasicBlock, FrameBatchNorm

from .small import ENCODER, with_encoder, with_frontend


def block(kind: str, stride: int = 1) -> BasicBlock:
    torch.manual_seed(0)
    made = BasicBlock(6, 8 if stride > 1 else 6, stride, kind).eval()
    for norm in (made.bn1, made.bn2):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(values, 0.5, 2)
    return made


def frames(side: int) -> torch.Tensor:
    torch.manual_seed(side)
    return torch.randn(5, 6, side, side).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [2, 3, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_convolution_of_few_pixels_is_torchs(side, dtype):
    conv = FewPixelsConv2d(6, 9, 3, 1, 1, bias=side == 3).to(dtype)
    x = frames(side).to(dtype)
    with torch.no_grad():
        expected = nn.functional.conv2d(x, conv.weight, conv.bias, 1, 1)
        torch.testing.assert_close(conv(x), expected, atol=1e-5 if dtype is torch.float32 else 0.02, rtol=0)


@pytest.mark.parametrize("encoder", [None, ENCODER])
def test_mixed_precision_without_gradients_is_near_float32(encoder):
    stages = {"frontend_channels": [4, 8, 8, 8], "frontend_blocks": [1, 1, 1, 1]}  # down to 3 x 3 pixels
    if encoder is None:
        model = with_frontend(**stages)
    else:
        model = with_encoder(encoder | stages)
    videos, speakers = torch.randn(2, 4, 1, 88, 88), torch.randn(2, 256)
    with torch.no_grad():
        expected = model(videos, speaker_embeddings=speakers).last_hidden_state
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = model(videos, speaker_embeddings=speakers).last_hidden_state
    assert (mixed.float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("kind", ["silu", "prelu", "relu"])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (8, 1), (8, 2)])
def test_a_block_gives_the_same_without_gradients(kind, side, stride):
    made, x = block(kind, stride), frames(side)
    given = x.clone()
    expected = made(x)
    assert expected.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(made(x), expected, atol=1e-5, rtol=0)
    assert torch.equal(x, given)


@pytest.mark.parametrize("part", ["conv1", "bn1", "activation1", "conv2", "bn2", "activation2"])
def test_what_a_hook_keeps_is_not_overwritten(part):
    made, x, kept = block("silu"), frames(8), []
    made.get_submodule(part).register_forward_hook(lambda _, given, output: kept.extend([*given, output]))
    with torch.no_grad():
        made(x)
    found = list(kept)
    kept.clear()
    made(x)
    assert len(found) == 2
    for now, before in zip(found, kept, strict=True):
        torch.testing.assert_close(now, before.detach(), atol=1e-5, rtol=0)


def sheets(*shape: int) -> torch.Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1.5
    return x.contiguous(memory_format=torch.channels_last)


def norms(channels: int, kind: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    norm = kind(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


def test_the_statistics_of_many_frames_are_right():
    x = sheets(400, 16, 44, 44)
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
        x = sheets(*shape).to(norm.weight.dtype).requires_grad_()
        output = norm(x)
        (output.sin() * torch.linspace(0, 1, shape[3], dtype=x.dtype)).sum().backward()
        results.append([output, x.grad, norm.weight.grad, norm.bias.grad, norm.running_var])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", ["eval", "contiguous", "bfloat16"])
def test_all_else_is_torchs_own(change):
    ours, theirs = norms(8, FrameBatchNorm), norms(8, nn.BatchNorm2d)
    x = sheets(3, 8, 5, 5)
    if change == "eval":
        ours, theirs = ours.eval(), theirs.eval()
    elif change == "contiguous":
        x = x.contiguous()
    else:
        x = x.bfloat16()
    assert torch.equal(ours(x), theirs(x))
