"""A preparation in shards, in batches, of long clips, and before it begins."""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet
import pytest
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from hf_lip2speech.data import clip_files
from hf_lip2speech.data import units as unit_targets
from hf_lip2speech.data.corpora import LRS3, Word
from hf_lip2speech.data.dry_run import estimate
from hf_lip2speech.data.layout import Journal, PreparedFolder
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.data.prepared import PreparedDataset, read_crops
from hf_lip2speech.errors import DatasetError
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor

from ..fake_corpora import make_lrs3


def quiet(corpus, out, **arguments):
    return prepare(corpus, out, progress=False, **arguments)


def table(out: Path) -> pyarrow.Table:
    return pyarrow.parquet.read_table(out / "manifest.parquet")


@pytest.fixture
def larger(corpus, clip_maker):
    """Nine clips, two of them of no use, in no order."""
    corpus += [clip_maker(f"carl/{n}", frames=9 + n, split="train" if n % 2 else "val") for n in (4, 1, 3, 2)]
    corpus += [clip_maker("dora/silent", samples=0), clip_maker("dora/short", samples=640 * 3)]
    return corpus


class TestShards:
    @pytest.mark.parametrize("count", [2, 3, 11])
    def test_the_manifest_is_the_same_whatever_the_sharding(self, cropped, larger, tmp_path, count):
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        whole = quiet(larger, tmp_path / "whole", **arguments)
        cropped.clear()
        out = tmp_path / "shards"
        reports = [quiet(larger, out, shard=(index, count), **arguments) for index in range(count, 0, -1)]
        assert sum(report["clips"] for report in reports) == whole["clips"] == 7
        assert sum(report["lost"]["clips"] for report in reports) == 2
        assert not (out / "manifest.parquet").exists()
        worked_on = len(cropped)
        merged = quiet(larger, out, **arguments)
        assert len(cropped) == worked_on, "merging does nothing again"
        assert merged == whole
        assert table(out).equals(table(tmp_path / "whole"))
        assert (out / "manifest.parquet").read_bytes() == (tmp_path / "whole/manifest.parquet").read_bytes()
        for one, other in zip(PreparedDataset(out), PreparedDataset(tmp_path / "whole"), strict=True):
            for name, value in one.items():
                np.testing.assert_array_equal(value, other[name])

    def test_a_run_of_all_does_what_a_missing_shard_left(self, cropped, larger, units, tmp_path):
        quiet(larger, tmp_path / "whole", unit_extractor=units)
        out = tmp_path / "shards"
        for index in (1, 3):
            quiet(larger, out, shard=(index, 3), unit_extractor=units)
        cropped.clear()
        report = quiet(larger, out, unit_extractor=units)
        assert len(cropped) == len(larger[1::3]) and report["clips"] == 7
        assert table(out).equals(table(tmp_path / "whole"))

    def test_a_shard_that_is_done_leaves_the_manifest_alone(self, cropped, larger, units, tmp_path):
        quiet(larger, tmp_path, unit_extractor=units)
        quiet(larger, tmp_path, unit_extractor=units, shard=(1, 2))
        assert (tmp_path / "manifest.parquet").is_file()
        next((tmp_path / "mel").rglob("*.npy")).unlink()
        for index in (1, 2):
            quiet(larger, tmp_path, unit_extractor=units, shard=(index, 2))
        assert not (tmp_path / "manifest.parquet").is_file()

    def test_shards_run_side_by_side_but_not_one_twice_nor_beside_all(
        self, cropped, larger, units, tmp_path, monkeypatch
    ):
        pytest.importorskip("fcntl")
        good = clip_files.read_crops
        tried = []

        def nested(source, *, detector):
            if not tried:
                tried.append(1)
                quiet(larger, tmp_path, unit_extractor=units, shard=(2, 2))
                for shard in ((1, 2), None):
                    with pytest.raises(DatasetError, match="Another run is writing"):
                        quiet(larger, tmp_path, unit_extractor=units, shard=shard)
            return good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", nested)
        quiet(larger, tmp_path, unit_extractor=units, shard=(1, 2))
        assert quiet(larger, tmp_path, unit_extractor=units)["clips"] == 7

    def test_a_shard_does_not_replace_the_extractor_of_the_others(self, cropped, larger, units, tmp_path):
        quiet(larger, tmp_path, unit_extractor=units, shard=(1, 2))
        with pytest.raises(DatasetError, match="Give every shard the same corpus and arguments"):
            quiet(larger, tmp_path, unit_extractor="mfcc", num_units=5, shard=(2, 2))

    def test_of_two_shards_that_fit_at_once_the_slower_takes_the_others_units(
        self, cropped, larger, tmp_path, monkeypatch
    ):
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        fit = SpeechUnitExtractor.fit

        def slow(self, *args, **kwargs):
            monkeypatch.setattr(SpeechUnitExtractor, "fit", fit)
            quiet(larger, tmp_path, shard=(2, 2), **arguments)
            return fit(self, *args, **kwargs)

        monkeypatch.setattr(SpeechUnitExtractor, "fit", slow)
        quiet(larger, tmp_path, shard=(1, 2), **arguments)
        assert quiet(larger, tmp_path, **arguments)["clips"] == 7
        assert not list(tmp_path.rglob("staging/*"))

    @pytest.mark.parametrize("shard", [(0, 2), (3, 2)])
    def test_an_impossible_shard_is_refused(self, corpus, units, tmp_path, shard):
        with pytest.raises(DatasetError, match="expected i/n with i from 1 to n"):
            quiet(corpus, tmp_path, unit_extractor=units, shard=shard)


class TestLongClips:
    @pytest.fixture
    def long(self, clip_maker, corpus):
        words = tuple(Word(f"w{n}", 0.3 * n + 0.1, 0.3 * n + 0.3) for n in range(13))
        corpus[0] = clip_maker("anna/long", frames=100, words=words, text="W0 AND SO ON")
        return corpus

    def test_parts_hold_what_the_whole_clip_holds_there(self, cropped, long, units, tmp_path):
        quiet(long, tmp_path / "whole", unit_extractor=units)
        report = quiet(long, tmp_path / "cut", unit_extractor=units, max_seconds=1)
        assert (report["cut"], report["found"], report["clips"]) == (1, 3, 7)
        assert report["hours"] == round((100 + 11 + 12) / 25 / 3600, 4)
        whole = PreparedDataset(tmp_path / "whole")[0]
        parts = [item for item in PreparedDataset(tmp_path / "cut") if "long" in item["id"]]
        assert all(len(part["frames"]) <= 25 for part in parts)
        for name in ("mel", "waveform"):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole[name])
        frames = np.concatenate([part["frames"] for part in parts]).astype(int)
        assert np.abs(frames - whole["frames"]).mean() < 3, "encoded anew"
        assert [len(part["unit_ids"]) for part in parts] == [2 * len(part["frames"]) for part in parts]
        for part in parts:
            np.testing.assert_array_equal(part["speaker_embeddings"], whole["speaker_embeddings"])
        rows = [row for row in PreparedDataset(tmp_path / "cut").rows if row["source"] == "anna/long"]
        assert " ".join(row["text"] for row in rows) == " ".join(f"w{n}" for n in range(13))
        assert [row["start"] for row in rows] == np.cumsum([0] + [row["frames"] for row in rows])[
            :-1
        ].tolist()

    def test_another_limit_does_only_the_clips_anew_that_it_concerns(self, cropped, long, units, tmp_path):
        quiet(long, tmp_path, unit_extractor=units, max_seconds=1)
        cropped.clear()
        quiet(long, tmp_path, unit_extractor=units, max_seconds=2)
        assert [path.stem for path in cropped] == ["long"]
        assert [row["id"] for row in PreparedDataset(tmp_path).rows][:2] == ["anna/long_00", "anna/long_01"]
        quiet(long, tmp_path, unit_extractor=units)
        assert [path.stem for path in cropped] == ["long"] * 2
        cropped.clear()
        quiet(long, tmp_path, unit_extractor=units, max_seconds=4)
        assert cropped == []


class TestJournal:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda line: line[:-20],
            lambda line: b"no JSON\n",
            lambda line: bytes(range(128, 256)) + b"\n",
            lambda line: b"{}\n",
            lambda line: b"[1, 2]\n",
            lambda line: b"[" * 100_000 + b"\n",
            lambda line: line.replace(b'"time": ', b'"time": "now", "then": '),
            lambda line: line.replace(b'"segments": [[', b'"segments": [[7, '),
            lambda line: line.replace(b'"sources": [[', b'"sources": [["'),
            lambda line: line.replace(b'"limit"', b'"boundary"'),
        ],
        ids="cut text binary empty list deep time segments quotes field".split(),
    )
    def test_a_damaged_line_is_passed_over_and_its_clip_prepared_again(
        self, cropped, corpus, units, tmp_path, damage
    ):
        quiet(corpus, tmp_path, unit_extractor=units)
        (path,) = (tmp_path / ".prepare/journal").iterdir()
        *lines, last = path.read_bytes().splitlines(keepends=True)
        assert damage(last) != last
        path.write_bytes(b"".join([*lines, damage(last)]))
        assert len(list(Journal(path.parent).read())) == 2
        cropped.clear()
        assert quiet(corpus, tmp_path, unit_extractor=units)["clips"] == 3
        assert [path.stem for path in cropped] == ["one"]

    def test_no_file_stays_open_behind_it(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            open_files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
            for name in "abc":
                Journal(tmp_path / name).write({"id": name})
            if open_files:
                assert len(os.listdir("/proc/self/fd")) == open_files

    def test_the_newest_line_counts(self, cropped, corpus, clip_maker, units, tmp_path):
        quiet(corpus, tmp_path, unit_extractor=units)
        clip_maker("anna/one", samples=0)
        corpus[0].audio.unlink()
        assert quiet(corpus, tmp_path, unit_extractor=units)["lost"]["clips"] == 1
        clip_maker("anna/one", frames=14)
        assert quiet(corpus, tmp_path, unit_extractor=units)["lost"]["clips"] == 0
        assert PreparedDataset(tmp_path).lengths[0] == 14


def test_of_a_damaged_lrs3_every_clip_is_stored_or_named_with_its_reason(cropped, talks, units, tmp_path):
    fake = make_lrs3(tmp_path / "lrs3", talks)
    with pytest.warns(UserWarning, match="files are not named as clips"):
        corpus = LRS3(tmp_path / "lrs3")
    report = quiet(corpus, tmp_path / "out", unit_extractor=units, max_seconds=2)
    reasons = {clip["id"]: reason for reason, clips in report["skipped"].items() for clip in clips}
    assert fake.unwatchable <= set(reasons) <= fake.unwatchable | fake.cut_off
    assert reasons["trainval/_0bAdFiLeS_/50004"] == "MissingVideoError"
    assert reasons["trainval/_0bAdFiLeS_/50003"] in ("EmptyVideoError", "UnreadableVideoError")
    rows = table(tmp_path / "out").to_pylist()
    assert {row["source"] for row in rows} | set(reasons) == set(fake.splits)
    assert fake.untold <= {warning["id"] for warning in report["warnings"]}
    long = [row for row in rows if row["source"] == "pretrain/-pAQW3_1dEk/00002"]
    assert len(long) > 1 and max(row["frames"] for row in long) <= 50
    assert report["cut"] >= 1 and len(PreparedDataset(tmp_path / "out")) == report["clips"]


@pytest.fixture(scope="module")
def tiny_hubert(tmp_path_factory) -> Path:
    """A HuBERT with random weights, whose first normalisation is over time as in the Base models."""
    torch.manual_seed(0)
    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    folder = tmp_path_factory.mktemp("hubert")
    HubertModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


class TestUnitBatches:
    def test_clips_of_one_length_go_through_the_model_together_and_get_what_each_gets_alone(
        self, cropped, corpus, clip_maker, tiny_hubert, tmp_path, monkeypatch
    ):
        corpus += [clip_maker(f"carl/{n}", frames=12) for n in range(5)]
        sizes = []
        extract = SpeechUnitExtractor.extract

        def watched(self, waveforms, lengths=None):
            sizes.append(tuple(waveforms.shape))
            return extract(self, waveforms, lengths)

        monkeypatch.setattr(SpeechUnitExtractor, "extract", watched)
        quiet(corpus, tmp_path / "out", unit_extractor=tiny_hubert, num_units=6)
        assert sorted(sizes) == [(1, 10 * 640), (1, 11 * 640), (6, 12 * 640)]
        extractor = SpeechUnitExtractor.from_pretrained(tmp_path / "out/unit_extractor")
        for item in PreparedDataset(tmp_path / "out"):
            np.testing.assert_array_equal(item["unit_ids"], extractor(item["waveform"]))

    def test_where_there_is_a_gpu_this_process_makes_the_units_there(
        self, cropped, corpus, units, tmp_path, monkeypatch
    ):
        placed = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            SpeechUnitExtractor, "to", lambda self, device: placed.append((device, os.getpid())) or self
        )
        quiet(corpus, tmp_path, unit_extractor=units)
        assert placed == [("cuda", os.getpid())]
        assert len(PreparedDataset(tmp_path)[0]["unit_ids"]) == 20

    def test_the_fit_reads_no_more_sound_than_it_needs(
        self, cropped, corpus, clip_maker, tmp_path, monkeypatch
    ):
        corpus += [clip_maker(f"carl/{n}", frames=25) for n in range(30)]
        monkeypatch.setattr(unit_targets, "FITTING_SECONDS", 3)
        read = []
        good = unit_targets.read_sound
        monkeypatch.setattr(unit_targets, "read_sound", lambda clip: read.append(clip.id) or good(clip))
        quiet(corpus, tmp_path, unit_extractor="mfcc", num_units=5)
        assert 3 <= len(read) <= 5 and "anna/two" not in read, "train only"


class TestContactSheet:
    def test_shows_the_middle_of_each_clip_where_the_report_says(self, cropped, larger, units, tmp_path):
        report = quiet(larger, tmp_path, unit_extractor=units)
        with av.open(str(tmp_path / "contact_sheet.png")) as picture:
            page = next(picture.decode(video=0)).to_ndarray(format="gray")
        assert page.shape == (96, 7 * 98 - 2) and len(report["contact_sheet"]) == 7
        for number, clip in enumerate(report["contact_sheet"]):
            crops = read_crops(PreparedFolder(tmp_path).path("video", clip))
            np.testing.assert_array_equal(page[:, 98 * number : 98 * number + 96], crops[len(crops) // 2])


class TestDryRun:
    def test_tells_what_the_preparation_then_takes_and_leaves_nothing(
        self, cropped, larger, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        (tmp_path / "tmp").mkdir()
        cost = estimate(larger, unit_extractor="mfcc", num_units=5)
        assert not list((tmp_path / "tmp").iterdir())
        quiet(larger, tmp_path / "out", unit_extractor="mfcc", num_units=5)
        folders = ("video", "audio", "mel", "units", "speaker")
        files = [path for name in folders for path in (tmp_path / "out" / name).rglob("*") if path.is_file()]
        assert cost["files"] == len(files) == 35
        disk = sum(path.stat().st_blocks * 512 for path in files)
        assert cost["gigabytes"] * 1e9 == pytest.approx(disk, rel=0.1)
        assert (cost["clips"], cost["sample"]) == (9, 9)
        assert cost["skipped"] == {"NoAudioError": 1, "ClipLengthError": 1}
        took = [record["took"] for record in Journal(tmp_path / "out/.prepare/journal").read()]
        assert 0.1 < cost["crop_hours"] * 3600 / sum(took) < 10
        assert cost["wall_hours"] >= cost["crop_hours"] + cost["unit_hours"]

    def test_a_sample_stands_for_the_rest(self, cropped, clip_maker, units, tmp_path):
        corpus = type("Corpus", (list,), {"name": "many"})(clip_maker(f"a/{n}", frames=25) for n in range(6))
        cost = estimate(corpus, unit_extractor=units, sample=2)
        assert cost["hours"] == pytest.approx(6 / 3600) and cost["sample"] == 2 and cost["fit_hours"] == 0
        assert cost["files"] == 30

    def test_the_command_prints_it_and_writes_nothing(self, cropped, tmp_path, grid_dir, capsys):
        import hf_lip2speech_cli

        arguments = ["prepare", "grid", str(grid_dir), str(tmp_path / "out"), "--units", "mfcc"]
        assert hf_lip2speech_cli.main([*arguments, "--limit", "2", "--dry-run"]) == 0
        printed = capsys.readouterr().out
        assert "From 4 of 4 clips" in printed and "GB in 20 files" in printed
        assert not (tmp_path / "out").exists()


class TestCommandLine:
    @pytest.fixture
    def main(self):
        import hf_lip2speech_cli

        return hf_lip2speech_cli.main

    def test_shards_and_then_all(self, main, cropped, tmp_path, grid_dir, capsys):
        arguments = ["prepare", "grid", str(grid_dir), str(tmp_path), "--units", "mfcc", "--num-units", "20"]
        for shard in ("1/2", "2/2"):
            assert main([*arguments, "--limit", "2", "--shard", shard]) == 0
        assert "the same command without --shard writes the manifest" in capsys.readouterr().err
        assert main([*arguments, "--limit", "2"]) == 0
        assert len(cropped) == 4 and table(tmp_path).num_rows == 4

    @pytest.mark.parametrize("shard", ["2", "0/2", "3/2", "a/b"])
    def test_what_is_no_shard_is_wrong_usage(self, main, shard, capsys):
        with pytest.raises(SystemExit) as stop:
            main(["prepare", "grid", "a", "b", "--shard", shard])
        assert stop.value.code == 2 and "expected i/n" in capsys.readouterr().err

    def test_an_option_of_another_corpus_is_refused(self, main, tmp_path, capsys):
        assert main(["prepare", "lrs3", str(tmp_path), str(tmp_path), "--speaker", "s1"]) == 1
        assert "--speaker is not for lrs3; expected one of the corpora grid" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="runs a shell script")
def test_the_job_array_script_runs_each_shard_and_then_all(tmp_path):
    """Slurm's variables are set by hand, and the command is one that notes how it was called."""
    script = Path(__file__).parents[2] / "examples" / "prepare_array.sh"
    fake = tmp_path / "hf-lip2speech"
    fake.write_text('#!/bin/sh\necho "$@" >> "$CALLS"\n')
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    common = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls), "SLURM_CPUS_PER_TASK": "16"}
    arguments = ["bash", str(script), "lrs3", "/data/lrs3", "/data/out"]
    for index in (1, 2):
        array = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_ARRAY_TASK_COUNT": "2"}
        subprocess.run(arguments, env=common | array, check=True)
    subprocess.run(arguments, env=common, check=True)
    expected = "prepare lrs3 /data/lrs3 /data/out --num-proc 16"
    assert calls.read_text().splitlines() == [f"{expected} --shard 1/2", f"{expected} --shard 2/2", expected]


def test_the_report_is_whole_json(cropped, larger, units, tmp_path):
    report = quiet(larger, tmp_path, unit_extractor=units)
    assert json.loads((tmp_path / "report.json").read_text()) == report
