"""scripts/measure_throughput.py: what it counts, and what it says of a whole run."""

import re
import sys

import pytest
import torch
from torch import nn

from ..conftest import load_script
from .conftest import EXAMPLES


@pytest.fixture(scope="module")
def script():
    return load_script("scripts/measure_throughput.py")


@pytest.mark.parametrize(
    ("layer", "shape", "forward"),
    [
        (nn.Conv1d(6, 6, 5, padding=2, groups=6), (2, 6, 10), 2 * 2 * 6 * 10 * 5),
        (nn.Conv1d(6, 4, 5, padding=2), (2, 6, 10), 2 * 2 * 4 * 10 * 6 * 5),
        (nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1), (2, 6, 10), 2 * 2 * 10 * 6 * 4 * 4),
        (nn.Linear(6, 4), (2, 10, 6), 2 * 2 * 10 * 6 * 4),
    ],
    ids=["depthwise convolution", "convolution", "transposed convolution", "linear"],
)
def test_forward_and_backward_are_three_times_the_products_of_the_forward_pass(script, layer, shape, forward):
    x = torch.randn(shape, requires_grad=True)
    with script.operations() as counted:
        layer(x).sum().backward()
    assert counted.get_total_flops() == 3 * forward


def test_attention_is_counted(script):
    x = torch.randn(1, 2, 7, 4)
    with script.operations() as counted:
        nn.functional.scaled_dot_product_attention(x, x, x)
    assert counted.get_total_flops() == 2 * 2 * 2 * 7 * 7 * 4


@pytest.mark.parametrize("stage", ["train", "train_vocoder"])
def test_the_whole_run_is_reckoned_and_nothing_written(
    script, configuration, monkeypatch, capsys, tmp_path, stage
):
    path = str(configuration(stage))
    few = ["--updates", "2", "--frames-per-update", "100"]
    few.append("gradient_accumulation_steps=1")
    monkeypatch.setattr(sys, "argv", ["", str(EXAMPLES / f"{stage}.py"), path, "max_steps=50", *few])
    script.main()
    said = capsys.readouterr().out
    # two clips of 10 or 8 frames (9 at most), or two segments of 8 units
    frames = {"train": "1[678]", "train_vocoder": "8"}[stage]
    assert re.search(rf"update of ({frames}) video frames, .* padding: [\d.]+ s wall, [\d.]+ s CPU", said)
    assert "whole run: 50 updates x 100 frames = 5e+03 frames" in said
    assert re.search(r"\nmeasured: \d+ core-hours", said)
    per_frame, whole = re.search(
        r"([\d.e-]+) GFLOP a frame.*frames, ([\d.e+]+) FLOP", said, re.DOTALL
    ).groups()
    assert float(whole) == pytest.approx(50 * 100 * float(per_frame) * 1e9, rel=0.02)
    assert not (tmp_path / "run").exists()
