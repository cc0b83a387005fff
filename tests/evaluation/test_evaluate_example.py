"""examples/evaluate.py from the corpus to the table, on a few clips and an untrained model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_lip2speech import Lip2SpeechFeatureExtractor, Lip2SpeechWithVocoder, Lip2SpeechWithVocoderConfig
from hf_lip2speech.audio.io import read_audio
from hf_lip2speech.data.corpora import GRID
from hf_lip2speech.data.prepare import prepare

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "evaluate.py"
CLIPS = {"train": 3, "val": 3}


@pytest.fixture(scope="module")
def small_grid(grid_dir, tmp_path_factory) -> Path:
    """The first clips of each split, as links."""
    folder = tmp_path_factory.mktemp("grid")
    for name in ("s1", "audio_16k", "alignments"):
        (folder / name).symlink_to(grid_dir / name)
    (folder / "splits").mkdir()
    for split, count in CLIPS.items():
        ids = (grid_dir / "splits" / f"s1_{split}.txt").read_text().split()
        (folder / "splits" / f"s1_{split}.txt").write_text("\n".join(ids[:count]))
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """An untrained model, small, but of the real shapes outside."""
    torch.manual_seed(0)
    config = Lip2SpeechWithVocoderConfig(
        lip2speech={
            "frontend_stem_channels": 8,
            "frontend_channels": [8, 8, 8, 8],
            "frontend_blocks": [1, 1, 1, 1],
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_kernel_size": 3,
            "num_units": 12,
            "mel_head_size": 8,
        },
        vocoder={"num_units": 12, "upsample_initial_channel": 64, "initializer_range": 0.2},
        voices={"flat": [1 / 16] * 256},
    )
    folder = tmp_path_factory.mktemp("model")
    Lip2SpeechWithVocoder(config).save_pretrained(folder)
    Lip2SpeechFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_the_example_prints_every_row_and_keeps_speech_and_what_was_heard(small_grid, model_dir, tmp_path):
    prepare(GRID(small_grid), tmp_path / "prepared", unit_extractor="mfcc", num_units=12, progress=False)
    command = [sys.executable, str(EXAMPLE), str(model_dir), str(small_grid), "--split", "val"]
    command += ["--prepared", str(tmp_path / "prepared"), "--save-audio", str(tmp_path / "wavs")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "table.json")],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "table.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == [
        "true speech",
        "vocoder, true inputs",
        "vocoder, true inputs, mel zeroed",
        "vocoder, true inputs, units zeroed",
        "whole path",
        "shuffled",
    ]
    assert all(name in done.stdout for name in rows)
    assert all(row["words"]["words"] == 18 for row in rows.values())
    assert rows["true speech"]["stoi"] == pytest.approx(1) and rows["true speech"]["wer"] < 0.5
    assert rows["shuffled"]["heard"] == rows["whole path"]["heard"]
    assert rows["vocoder, true inputs, mel zeroed"]["change"] > 0
    assert rows["vocoder, true inputs, units zeroed"]["change"] > 0
    assert report["facts"]["recogniser"].startswith("pocketsphinx")
    assert "--split val" in report["facts"]["command"]
    for clip in report["facts"]["ids"]:
        assert len(read_audio(tmp_path / "wavs" / "whole_path" / f"{clip}.wav")) == 75 * 640
