"""The command `evaluate`: what it takes for a data set and a recogniser; killed; in several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

import hf_lip2speech_cli
from hf_lip2speech.errors import DatasetError, Lip2SpeechError
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid, choose_recogniser, is_grid_sentence
from hf_lip2speech.evaluation.run import evaluate
from hf_lip2speech.evaluation.syncnet import SyncNet
from hf_lip2speech.evaluation.systems import Systems, find_unit_extractor

from .small_set import TEXTS


@pytest.fixture(scope="module")
def model(untrained, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    untrained.save_pretrained(folder)
    return str(folder)


def empty_videos(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def grid(root: Path) -> Path:
    return empty_videos(root, *(f"s1/b{colour}af{digit}n.mpg" for colour in "bgrw" for digit in range(1, 10)))


def lrs2(root: Path) -> Path:
    for split in ("train", "val", "test", "pretrain"):
        part = "pretrain" if split == "pretrain" else "main"
        empty_videos(root, f"mvlrs_v1/{part}/{split}/00001.mp4", f"mvlrs_v1/{part}/{split}/00001.txt")
        (root / f"{split}.txt").write_text(f"{split}/00001\n")
    return root


def lrs3(root: Path) -> Path:
    parts = [f"{part}/talk/0000{number}" for part in ("pretrain", "trainval", "test") for number in (1, 2)]
    return empty_videos(root, *(f"{part}{suffix}" for part in parts for suffix in (".mp4", ".txt")))


def rendered(root: Path) -> Path:
    for split, clip in (("train", "awb/bbaf1n"), ("val", "slt/bbaf2n"), ("test", "slt/bbaf3n")):
        empty_videos(root, f"{clip}.mp4", "render.json", f"alignments/{clip}.align", "splits/made")
        (root / "splits" / f"{split}.txt").write_text(clip)
    return root


def folder(root: Path) -> Path:
    return empty_videos(root, "train/a.mp4", "val/b.mp4")


@pytest.mark.parametrize(
    ("make", "corpus", "name", "split", "clips"),
    [
        (grid, "grid", "GRID", "test", 1),
        (lrs2, "lrs2", "LRS2", "test", 1),
        (lrs3, "lrs3", "LRS3", "test", 2),
        (rendered, "rendered", "rendered talkers", "test", 1),
        (folder, "folder", "mine", "val", 1),
    ],
)
def test_a_corpus_is_told_by_its_layout_and_test_is_preferred(tmp_path, make, corpus, name, split, clips):
    found = open_evaluation_set(make(tmp_path / "mine"))
    assert (found.corpus, found.name, found.split, len(found.clips)) == (corpus, name, split, clips)
    assert not found.cropped and found.unit_extractor is None
    assert len(open_evaluation_set(tmp_path / "mine", limit=1).clips) == 1


def test_a_prepared_folder_is_known_by_its_manifest(prepared_set):
    prepared = open_evaluation_set(prepared_set)
    assert (prepared.corpus, prepared.cropped) == ("prepared", True) and prepared.unit_extractor is not None
    assert [clip.id for clip in prepared.clips] == ["ann/clip 0", "ann/clip 2", "carl/clip 1"]
    assert prepared.clips[0].text == TEXTS[0]


def test_a_split_that_is_not_there_and_a_folder_that_is_none_are_refused(prepared_set, tmp_path):
    with pytest.raises(DatasetError, match="no clip of the split 'test'; expected one of val"):
        open_evaluation_set(prepared_set, "test")
    with pytest.raises(DatasetError, match="nowhere is not a folder"):
        open_evaluation_set(tmp_path / "nowhere")


def test_an_id_that_leads_out_of_the_folder_is_refused(prepared_set, tmp_path):
    shutil.copytree(prepared_set, tmp_path / "set")
    rows = pyarrow.parquet.read_table(prepared_set / "manifest.parquet").to_pylist()
    rows[0]["id"] = "../../elsewhere"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "set" / "manifest.parquet")
    with pytest.raises(DatasetError, match="elsewhere"):
        open_evaluation_set(tmp_path / "set")


def test_a_sets_fingerprint_changes_with_its_files(tmp_path):
    folder = empty_videos(tmp_path, "a.mp4", "b.mp4")
    before = open_evaluation_set(folder, "train").fingerprint()
    assert open_evaluation_set(folder, "train").fingerprint() == before
    for path in folder.iterdir():
        path.write_bytes(b"more")
    assert open_evaluation_set(folder, "train").fingerprint() != before


def test_the_grammar_is_the_listener_where_every_sentence_is_of_grid():
    assert isinstance(choose_recogniser(None, None, TEXTS, "cpu"), PocketsphinxGrid)
    assert choose_recogniser(None, None, [*TEXTS, "something else"], "cpu") is None
    assert choose_recogniser(None, None, [*TEXTS, ""], "cpu") is None
    assert choose_recogniser("none", None, TEXTS, "cpu") is None
    assert isinstance(choose_recogniser("grid", None, ["something else"], "cpu"), PocketsphinxGrid)
    with pytest.raises(Lip2SpeechError, match="takes no prompt"):
        choose_recogniser("grid", "bin blue", TEXTS, "cpu")
    with pytest.raises(Lip2SpeechError, match="no/such/model"):
        choose_recogniser("no/such/model", None, TEXTS, "cpu")
    assert not is_grid_sentence("bin blue at w two now") and is_grid_sentence("Bin blue at F 2, now!")


def test_the_unit_extractor_comes_with_the_model_or_is_named(prepared_set, model, tmp_path):
    assert find_unit_extractor(None, model) is None
    named = find_unit_extractor(str(prepared_set), model)
    assert named is not None and named.config.num_units == 20
    named.save_pretrained(tmp_path / "unit_extractor")
    assert find_unit_extractor(None, str(tmp_path)) is not None
    with pytest.raises(Lip2SpeechError, match="--units .* holds no unit extractor"):
        find_unit_extractor(str(tmp_path / "nothing"), model)


def test_the_command_prints_the_table_and_names_the_page(model, prepared_set, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["evaluate", model, str(prepared_set), "--out", str(out), "--limit", "1", "--device", "cpu"]
    assert hf_lip2speech_cli.main(line) == 0
    output = capsys.readouterr()
    assert output.out.startswith("## Evaluation") and "| whole path |" in output.out
    assert output.err.splitlines()[-1] == f"Report: {out / 'index.html'}"
    results = json.loads((out / "results.json").read_text())
    assert results["facts"]["command"] == ["hf-lip2speech", *line]
    assert results["facts"]["recogniser"]["recogniser"] == "pocketsphinx"
    assert results["facts"]["units"] == "20 clusters of MFCC"


def test_what_is_wrong_is_said_in_one_line(model, prepared_set, tmp_path, capsys):
    for options, message in (
        (["--split", "test"], "expected one of val"),
        (["--syncnet", "none.model"], "none.model"),
        (["--speaker", "dora"], "'dora' is neither a voice"),
    ):
        line = ["evaluate", model, str(prepared_set), "--out", str(tmp_path / "out"), "--device", "cpu"]
        assert hf_lip2speech_cli.main([*line, *options]) == 1
        assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def start(*arguments: str, processes: int = 1, **kwargs) -> subprocess.Popen:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)] if processes > 1 else []
    sources = str(Path(hf_lip2speech_cli.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "hf_lip2speech", "evaluate", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs
    )


def numbers_of(out: Path) -> tuple[list, bytes]:
    return json.loads((out / "results.json").read_text())["rows"], (out / "per_clip.parquet").read_bytes()


@pytest.mark.slow
def test_two_processes_share_the_clips_and_give_the_numbers_of_one(model, prepared_set, tmp_path):
    for processes in (1, 2):
        process = start(
            model, str(prepared_set), "--out", str(tmp_path / str(processes)), processes=processes
        )
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
        assert output.count("## Evaluation") == 1
    assert numbers_of(tmp_path / "1") == numbers_of(tmp_path / "2")


@pytest.mark.slow
def test_given_syncnets_weights_raw_videos_have_lip_sync_scores(grid_dir, untrained, few_measures, tmp_path):
    torch.manual_seed(0)
    clips = open_evaluation_set(grid_dir, limit=2)
    results = evaluate(Systems(untrained, clips), tmp_path, syncnet=SyncNet(), progress=False)
    scores = {row["row"]: row["scores"]["lse_d"] for row in results["rows"]}
    assert all(
        score["clips"] == 2 and score["value"] > 0 for row, score in scores.items() if row != "shuffled"
    )
    assert scores["shuffled"] is None
    assert {"lse_c", "lse_offset"} <= {measure["key"] for measure in results["measures"]}


@pytest.mark.slow
def test_raw_videos_survive_a_kill_and_give_the_numbers_of_a_run_without_one(
    grid_dir, model, prepared_set, tmp_path
):
    arguments = (model, str(grid_dir), "--limit", "2", "--units", str(prepared_set), "--out")
    killed = start(*arguments, str(tmp_path / "killed"), start_new_session=True)
    markers = tmp_path / "killed" / ".evaluation" / "clips" / "s1"
    deadline = time.monotonic() + 300
    while not list(markers.glob("*.json")):
        assert killed.poll() is None and time.monotonic() < deadline, (
            "it ended, or hangs, before its first clip"
        )
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    (done,) = markers.glob("*.json")
    written = done.stat().st_mtime_ns
    for out in ("killed", "whole"):
        process = start(*arguments, str(tmp_path / out))
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert done.stat().st_mtime_ns == written
    assert not [
        path for path in (tmp_path / "killed").rglob("*") if "partial" in path.name or path.suffix == ".tmp"
    ]
    assert numbers_of(tmp_path / "killed") == numbers_of(tmp_path / "whole")
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert results["facts"]["input"] == "raw videos" and results["facts"]["split"] == "val"
    truth = results["rows"][0]["scores"]
    assert truth["wer"]["total"] == 12 and truth["wer"]["value"] < 0.5
