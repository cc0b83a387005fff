"""The command `evaluate`: its data sets and output; killed; in several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

import hf_lip2speech
import hf_lip2speech_cli
from hf_lip2speech.errors import DatasetError, Lip2SpeechError, NoSpeechError, UndefinedMetricError
from hf_lip2speech.evaluation import measures, results, run
from hf_lip2speech.evaluation.clips import PROTOCOLS, Protocol, find_protocol, open_evaluation_set
from hf_lip2speech.evaluation.lip_sync import SyncNet
from hf_lip2speech.evaluation.run import evaluate
from hf_lip2speech.evaluation.systems import RowSpeaker
from hf_lip2speech.evaluation.voice import XVectorEncoder
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig

from .small_set import TEXTS


@pytest.fixture(scope="module")
def model(untrained, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    untrained.save_pretrained(folder)
    return str(folder)


def empty_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def grid(root: Path) -> Path:
    return empty_files(root, *(f"s1/b{colour}af{digit}n.mpg" for colour in "bgrw" for digit in range(1, 10)))


def lrs2(root: Path) -> Path:
    for split in ("train", "val", "test", "pretrain"):
        part = "pretrain" if split == "pretrain" else "main"
        empty_files(root, *(f"mvlrs_v1/{part}/{split}/00001.{suffix}" for suffix in ("mp4", "txt")))
        (root / f"{split}.txt").write_text(f"{split}/00001\n")
    return root


def lrs3(root: Path) -> Path:
    parts = [f"{part}/talk/0000{number}" for part in ("pretrain", "trainval", "test") for number in (1, 2)]
    return empty_files(root, *(f"{part}{suffix}" for part in parts for suffix in (".mp4", ".txt")))


def rendered(root: Path) -> Path:
    for split, clip in (("train", "awb/bbaf1n"), ("val", "slt/bbaf2n"), ("test", "slt/bbaf3n")):
        empty_files(root, f"{clip}.mp4", "render.json", f"alignments/{clip}.align", "splits/made")
        (root / "splits" / f"{split}.txt").write_text(clip)
    return root


def folder(root: Path) -> Path:
    return empty_files(root, "train/a.mp4", "val/b.mp4")


@pytest.mark.parametrize(
    ("make", "corpus", "name", "split", "clips"),
    [
        (grid, "grid", "GRID", "test", 1),
        (lrs2, "lrs2", "LRS2", "test", 1),
        (lrs3, "lrs3", "LRS3", "test", 2),
        (rendered, "rendered", "rendered speakers", "test", 1),
        (folder, "folder", "mine", "val", 1),
    ],
)
def test_a_corpus_is_recognised_by_its_layout_and_test_is_preferred(
    tmp_path, make, corpus, name, split, clips
):
    found = open_evaluation_set(make(tmp_path / "mine"))
    assert (found.corpus, found.name, found.split, len(found.clips)) == (corpus, name, split, clips)
    assert not found.cropped and found.unit_extractor is None
    assert len(open_evaluation_set(tmp_path / "mine", limit=1).clips) == 1


def test_a_prepared_folder_is_known_by_its_manifest_and_named_after_its_corpus(prepared_set, tmp_path):
    prepared = open_evaluation_set(prepared_set)
    assert (prepared.corpus, prepared.cropped) == ("prepared", True) and prepared.unit_extractor is not None
    assert [clip.id for clip in prepared.clips] == ["ann/clip 0", "ann/clip 2", "carl/clip 1"]
    assert prepared.clips[0].text == TEXTS[0] and prepared.name == prepared_set.name
    shutil.copytree(prepared_set, tmp_path / "set")
    for corpus, name in (("grid", "GRID"), ("refaced grid", "set")):
        report = {"corpus": corpus, "clips": 3, "hours": 0, "splits": {}, "skipped": {}}
        (tmp_path / "set" / "report.json").write_text(json.dumps(report))
        assert open_evaluation_set(tmp_path / "set").name == name


def test_a_missing_split_a_missing_folder_and_an_id_that_leaves_the_folder_are_refused(
    prepared_set, tmp_path
):
    with pytest.raises(DatasetError, match="no clip in the split 'test'; expected one of val"):
        open_evaluation_set(prepared_set, "test")
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        open_evaluation_set(tmp_path / "nowhere")
    rows = pyarrow.parquet.read_table(prepared_set / "manifest.parquet").to_pylist()
    rows[0]["id"] = "../../elsewhere"
    (tmp_path / "set").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "set" / "manifest.parquet")
    with pytest.raises(DatasetError, match="elsewhere"):
        open_evaluation_set(tmp_path / "set")


def test_a_sets_fingerprint_changes_with_its_files(tmp_path):
    clips = empty_files(tmp_path, "a.mp4", "b.mp4")
    before = open_evaluation_set(clips, "train").fingerprint()
    assert open_evaluation_set(clips, "train").fingerprint() == before
    for path in clips.iterdir():
        path.write_bytes(b"more")
    assert open_evaluation_set(clips, "train").fingerprint() != before


def test_the_command_prints_a_table_that_fits_a_terminal_and_names_the_page(
    model, prepared_set, tmp_path, capsys, quick_measures
):
    out = tmp_path / "out"
    line = ["evaluate", model, str(prepared_set), "--out", str(out), "--limit", "1", "--device", "cpu"]
    assert hf_lip2speech_cli.main(line) == 0
    output = capsys.readouterr()
    table = output.out.splitlines()[2:]
    assert output.out.startswith(f"{prepared_set.name}, split val, 1 clips; words recognised by pocketsphinx")
    assert [row.split("|")[1].strip() for row in table[2:]] == [
        "ground truth",
        "copy synthesis",
        "end-to-end",
        "noise",
    ]
    assert len({len(row) for row in table}) == 1 and len(table[0]) <= 80
    assert output.err.splitlines()[-1] == f"Report: {out / 'index.html'}"
    facts = json.loads((out / "results.json").read_text())["facts"]
    assert facts["command"] == ["hf-lip2speech", *line] and facts["units"] == "20 clusters of MFCC"
    assert facts["recogniser"]["recogniser"] == "pocketsphinx"


def test_a_clip_that_is_left_out_and_what_is_not_measured_are_told(
    model, prepared_set, tmp_path, capsys, quick_measures
):
    dataset = shutil.copytree(prepared_set, tmp_path / "set")
    (dataset / "video" / "ann" / "clip 2.mp4").write_bytes(b"no video")
    line = ["evaluate", model, str(dataset), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert hf_lip2speech_cli.main([*line, "--recogniser", "none", "--limit", "2"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert "note: no word error rate: name a recogniser (--recogniser)" in told
    assert [line for line in told if line.startswith("left out: ann/clip 2: ")]
    (skipped,) = json.loads((tmp_path / "out" / "results.json").read_text())["skipped"]
    assert skipped["id"] == "ann/clip 2"


def test_errors_are_one_line(model, prepared_set, tmp_path, capsys):
    for options, message in (
        (["--split", "test"], "expected one of val"),
        (["--syncnet", "none.model"], "none.model"),
        (["--speaker", "dora"], "'dora' is neither a voice"),
    ):
        line = ["evaluate", model, str(prepared_set), "--out", str(tmp_path / "out"), "--device", "cpu"]
        assert hf_lip2speech_cli.main([*line, *options]) == 1
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
    config = Lip2SpeechWithVocoderConfig.from_pretrained(model, default_voice=None)
    shutil.copytree(model, tmp_path / "mute")
    config.save_pretrained(tmp_path / "mute")
    assert hf_lip2speech_cli.main(["evaluate", str(tmp_path / "mute"), *line[2:]]) == 1
    assert "no default voice: give --speaker own" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def start(*arguments: str, processes: int = 1, **kwargs) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    sources = str(Path(hf_lip2speech.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "hf_lip2speech", "evaluate", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **kwargs)


def numbers_of(out: Path) -> tuple[list, bytes]:
    return json.loads((out / "results.json").read_text())["rows"], (out / "per_clip.parquet").read_bytes()


@pytest.mark.slow
def test_two_processes_share_the_clips_and_give_the_numbers_of_one(model, prepared_set, tmp_path):
    for processes in (1, 2):
        out = str(tmp_path / str(processes))
        process = start(model, str(prepared_set), "--out", out, processes=processes)
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert output.count("| end-to-end ") == 1
    assert numbers_of(tmp_path / "1") == numbers_of(tmp_path / "2")


@pytest.mark.slow
def test_given_syncnets_weights_raw_videos_have_lip_sync_scores(
    grid_dir, untrained, quick_measures, tmp_path
):
    torch.manual_seed(0)
    clips = open_evaluation_set(grid_dir, limit=2)
    results = evaluate(RowSpeaker(untrained, clips), tmp_path, syncnet=SyncNet(), progress=False)
    scores = {row["row"]: row["scores"]["lse_d"] for row in results["rows"]}
    assert scores.pop("shuffled") is None
    assert all(score["clips"] == 2 and score["value"] > 0 for score in scores.values())
    assert {"lse_c", "lse_offset"} <= {measure["key"] for measure in results["measures"]}


@pytest.mark.slow
def test_raw_videos_survive_a_kill_and_give_the_numbers_of_a_run_without_one(
    grid_dir, model, prepared_set, tmp_path
):
    arguments = (
        model,
        str(grid_dir),
        "--split",
        "val",
        "--limit",
        "2",
        "--units",
        str(prepared_set),
        "--out",
    )
    killed = start(*arguments, str(tmp_path / "killed"), start_new_session=True)
    markers = tmp_path / "killed" / ".evaluation" / "clips" / "s1"
    deadline = time.monotonic() + 300
    while not list(markers.glob("[!.]*.json")):
        assert killed.poll() is None and time.monotonic() < deadline, (
            "it ended, or hangs, before its first clip"
        )
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (done,) = markers.glob("[!.]*.json")
    written = done.stat().st_mtime_ns
    for out in ("killed", "whole"):
        process = start(*arguments, str(tmp_path / out))
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert done.stat().st_mtime_ns == written
    assert numbers_of(tmp_path / "killed") == numbers_of(tmp_path / "whole")
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert results["facts"]["input"] == "raw videos" and results["facts"]["split"] == "val"
    truth = results["rows"][0]["scores"]
    assert truth["wer"]["total"] == 12 and truth["wer"]["value"] < 0.5


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory) -> Path:
    """An untrained WavLM with an x-vector head of 32 channels."""
    folder = tmp_path_factory.mktemp("wavlm")
    torch.manual_seed(0)
    convolutions = {"conv_dim": (16, 16), "conv_stride": (80, 4), "conv_kernel": (80, 4)}
    heads = {
        "tdnn_dim": (16, 16, 16),
        "tdnn_kernel": (3, 3, 1),
        "tdnn_dilation": (1, 2, 1),
        "xvector_output_dim": 24,
    }
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    positions = {
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "num_feat_extract_layers": 2,
    }
    WavLMForXVector(WavLMConfig(**convolutions, **heads, **sizes, **positions)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def test_a_protocol_sets_recogniser_normaliser_and_speaker_encoder_and_says_whose_table_it_follows(
    model, prepared_set, wavlm, tmp_path, monkeypatch
):
    small = Protocol("some table", "a smaller encoder", "grid", "whisper", str(wavlm))
    monkeypatch.setitem(PROTOCOLS, "whisper", small)
    kept = tuple(
        measure for measure in measures.MEASURES if measure.key in ("wer", "estoi", "speaker_similarity")
    )
    for module in (run, results):
        monkeypatch.setattr(module, "MEASURES", kept)
    out = tmp_path / "out"
    line = ["evaluate", model, str(prepared_set), "--out", str(out), "--limit", "2", "--protocol", "whisper"]
    assert hf_lip2speech_cli.main([*line, "--device", "cpu"]) == 0
    facts = json.loads((out / "results.json").read_text())["facts"]
    assert facts["protocol"] == "whisper: follows some table; a smaller encoder"
    assert facts["recogniser"]["text_normalisation"].startswith(
        "Whisper's English normaliser (transformers), without"
    )
    assert facts["speaker_encoder"].startswith(f"WavLMForXVector, {wavlm.name}, sha256 ")
    lines = [json.loads(line) for line in (out / "per_clip.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(out / "per_clip.parquet").to_pylist()
    assert [(line["id"], line["row"]) for line in lines] == [(line["id"], line["row"]) for line in table]
    truth = next(line for line in lines if line["row"] == "ground_truth")
    assert truth["speaker_similarity"] == pytest.approx(1.0) and truth["words"] == 6  # "two" is "2"
    page = (out / "index.html").read_text()
    assert "some table" in page
    with pytest.raises(Lip2SpeechError, match="no protocol 'lrs9': expected one of grid, aligndit, whisper"):
        find_protocol("lrs9")


def test_a_speaker_encoder_tells_what_it_cannot_embed(wavlm, tmp_path):
    encoder = XVectorEncoder(wavlm)
    assert encoder.embed(np.random.default_rng(0).uniform(-1, 1, 16000)).shape == (24,)
    with pytest.raises(UndefinedMetricError, match="0.25 s do not show who speaks"):
        encoder.embed(np.ones(4000))
    with pytest.raises(NoSpeechError, match="silent"):
        encoder.embed(np.zeros(16000))
    with pytest.raises(Lip2SpeechError, match="cannot be loaded as a speaker encoder"):
        XVectorEncoder(tmp_path)
