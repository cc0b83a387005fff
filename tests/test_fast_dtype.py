"""bfloat16 is chosen by the command line where a CPU is faster in it, and nowhere else."""

import pytest
import torch

from hf_lip2speech import machine, pipeline
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.machine import fast_dtype
from hf_lip2speech_cli import main


@pytest.mark.parametrize(
    ("able", "speedup", "device", "expected"),
    [
        ({"avx2": True, "avx512_f": True}, 2.0, "cpu", "auto"),
        ({"avx2": True, "avx512_bf16": True}, 2.0, "cpu", torch.bfloat16),
        ({"avx2": True, "avx512_bf16": True}, 0.55, "cpu", "auto"),
        ({"avx2": True, "amx_bf16": True}, 6.0, None, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": True}, 6.0, "cuda:0", "auto"),
        ({}, 0.1, None, "auto"),
    ],
)
def test_bfloat16_is_for_cpus_that_are_faster_in_it(monkeypatch, able, speedup, device, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(machine, "bfloat16_speedup", lambda: speedup)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert fast_dtype(device) == expected


def test_the_speedup_is_measured_once_and_is_no_guess():
    assert 0.001 < machine.bfloat16_speedup() < 100
    assert machine.bfloat16_speedup() == machine.bfloat16_speedup()


@pytest.mark.parametrize("command", ["speak", "read", "live"])
@pytest.mark.parametrize(("option", "expected"), [([], torch.bfloat16), (["--dtype", "float32"], "float32")])
def test_commands_take_it_unless_told_otherwise(monkeypatch, tmp_path, capsys, command, option, expected):
    def load(model, device, dtype):
        raise Lip2SpeechError(f"asked for {dtype}")

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(machine, "bfloat16_speedup", lambda: 6.0)
    monkeypatch.setattr(pipeline, "load_pipeline", load)
    (tmp_path / "a.mp4").write_bytes(b"video")
    output = tmp_path / ("a.srt" if command == "read" else "a.wav")
    assert main([command, str(tmp_path / "a.mp4"), "-o", str(output), "--device", "cpu", *option]) == 1
    assert f"asked for {expected}" in capsys.readouterr().err
