"""bfloat16 is chosen by the command line where a CPU has units for it, and nowhere else."""

import pytest
import torch

from hf_lip2speech import pipeline
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.pipeline import fast_dtype
from hf_lip2speech_cli import main


@pytest.mark.parametrize(
    ("able", "device", "expected"),
    [
        ({"avx2": True, "avx512_f": True}, "cpu", "auto"),
        ({"avx2": True, "avx512_bf16": True}, "cpu", torch.bfloat16),
        ({"avx2": True, "amx_bf16": True}, None, torch.bfloat16),
        ({"avx512_bf16": True, "amx_bf16": True}, "cuda:0", "auto"),
        ({}, None, "auto"),
    ],
)
def test_bfloat16_is_for_cpus_with_units_for_it(monkeypatch, able, device, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert fast_dtype(device) == expected


@pytest.mark.parametrize("command", ["speak", "read", "live"])
@pytest.mark.parametrize(("option", "expected"), [([], torch.bfloat16), (["--dtype", "float32"], "float32")])
def test_commands_take_it_unless_told_otherwise(monkeypatch, tmp_path, capsys, command, option, expected):
    def load(model, device, dtype):
        raise Lip2SpeechError(f"asked for {dtype}")

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    monkeypatch.setattr(pipeline, "load_pipeline", load)
    (tmp_path / "a.mp4").write_bytes(b"video")
    output = tmp_path / ("a.srt" if command == "read" else "a.wav")
    assert main([command, str(tmp_path / "a.mp4"), "-o", str(output), "--device", "cpu", *option]) == 1
    assert f"asked for {expected}" in capsys.readouterr().err
