import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.data import clip_files
from hf_lip2speech.data.clip_files import common_frames
from hf_lip2speech.data.corpora import GRID, Clip, FaceVideoFolder
from hf_lip2speech.data.layout import Journal
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.errors import ClipLengthError, DatasetError, NoFaceError, UnexpectedError, WorkerDiedError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import open_video
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
from hf_lip2speech.video.mouth import mouth_crops


def quiet(corpus, out, **arguments):
    return prepare(corpus, out, progress=False, **arguments)


class Killed(BaseException):
    """What no part of the package can handle."""


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a prepared folder but the notes on the work."""
    files = [path for path in out.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def records(out: Path) -> list[dict]:
    return list(Journal(out / ".prepare" / "journal").read())


def manifest(out: Path) -> list[dict]:
    return pyarrow.parquet.read_table(out / "manifest.parquet").to_pylist()


@pytest.fixture(scope="module")
def prepared_grid(grid_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("grid")
    report = quiet(GRID(grid_dir), out, unit_extractor="mfcc", num_units=20, limit=2)
    return out, report


class TestRealClips:
    def test_report_counts_clips_and_hours(self, prepared_grid):
        out, report = prepared_grid
        assert report == json.loads((out / "report.json").read_text())
        assert (report["corpus"], report["found"], report["clips"], report["skipped"]) == ("grid", 4, 4, {})
        assert report["hours"] == round(4 * 74 / 25 / 3600, 4)
        hours = round(2 * 74 / 25 / 3600, 4)
        assert report["splits"]["val"] == {"found": 2, "clips": 2, "hours": hours, "speakers": 1}
        assert report["lost"] == {"clips": 0, "hours": 0.0, "unknown": 0}
        assert report["unit_extractor"]["clips"] == 2

    def test_targets_are_those_of_the_source_cut_to_the_common_length(self, prepared_grid, grid_dir):
        out, _ = prepared_grid
        item = PreparedDataset(out, "train")[0]
        sound = read_audio(grid_dir / "audio_16k" / f"{item['id']}.flac")
        frames = 74  # the video has 75, the sound 74.45
        np.testing.assert_array_equal(item["waveform"], sound[: 640 * frames])
        mel = log_mel_spectrogram(torch.from_numpy(sound)).numpy()[: 4 * frames]
        np.testing.assert_allclose(item["mel"], mel, atol=1e-5)
        extractor = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        np.testing.assert_array_equal(item["unit_ids"], extractor(sound[: 640 * frames]))
        speaker = SpeakerEncoder.bundled().embed(sound[: 640 * frames])
        np.testing.assert_allclose(item["speaker_embeddings"], speaker, atol=1e-5)
        assert len(np.unique(item["unit_ids"])) > 5

    def test_stored_crops_are_the_mouth_to_a_gray_level(self, prepared_grid, grid_dir):
        out, _ = prepared_grid
        item = PreparedDataset(out, "val", fields=["frames"])[1]
        with open_video(grid_dir / f"{item['id']}.mp4") as video:
            crops = mouth_crops(video)
        assert item["frames"].shape == (74, 96, 96)
        assert np.abs(item["frames"].astype(int) - crops[:74]).mean() < 1

    def test_manifest_tells_where_everything_is_and_what_is_said(self, prepared_grid):
        out, _ = prepared_grid
        rows = manifest(out)
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
        row = rows[0]
        assert (row["id"], row["speaker"], row["split"], row["frames"]) == ("s1/bbaf3s", "s1", "train", 74)
        assert row["text"] == "bin blue at f three soon"
        assert json.loads(row["words"])[0] == {"word": "bin", "start": 0.71, "end": 0.9}
        for column in ("video", "audio", "mel", "units", "speaker_embedding"):
            assert (out / row[column]).is_file()

    def test_a_clip_as_distributed_brings_its_own_sound(self, prepared_grid, grid_dir, tmp_path):
        out, _ = prepared_grid
        clip = Clip("s1/bwim6p", grid_dir / "original" / "bwim6p.mpg", None, "s1", "train")
        corpus = type("Corpus", (list,), {"name": "one"})([clip])
        quiet(corpus, tmp_path, unit_extractor=out / "unit_extractor")
        item = PreparedDataset(tmp_path)[0]
        sound = read_audio(grid_dir / "audio_16k" / "s1" / "bwim6p.flac")[: len(item["waveform"])]
        assert 73 <= len(item["frames"]) <= 75
        assert np.corrcoef(item["waveform"][: len(sound)], sound)[0, 1] > 0.99


class TestLength:
    @pytest.mark.parametrize(
        ("frames", "samples", "common"),
        [(75, 48_000, 75), (75, 47_648, 74), (75, 49_900, 75), (75, 46_080, 72), (1, 640, 1)],
        ids=["equal", "sound a little shorter", "sound longer", "three frames shorter", "one frame"],
    )
    def test_the_shorter_of_video_and_sound_counts(self, frames, samples, common):
        assert common_frames(frames, samples) == common

    @pytest.mark.parametrize(
        ("frames", "samples"), [(75, 46_079), (75, 49_921), (1, 639)], ids=["short", "long", "not one frame"]
    )
    def test_more_than_three_frames_off_is_refused(self, frames, samples):
        with pytest.raises(ClipLengthError):
            common_frames(frames, samples)


class TestSkipping:
    def test_what_cannot_be_used_is_named_with_the_reason_and_not_tried_again(
        self, clip_maker, cropped, corpus, units, tmp_path, monkeypatch
    ):
        (tmp_path / "corpus" / "text.mp4").write_text("no video")
        sound = corpus[0].audio
        corpus += [
            clip_maker("anna/silent", samples=0),
            clip_maker("anna/short", samples=640 * 6),
            Clip("anna/gone", tmp_path / "gone.mp4", sound, "anna", "train"),
            Clip("anna/text", tmp_path / "corpus" / "text.mp4", sound, "anna", "train"),
        ]
        report = quiet(corpus, tmp_path / "out", unit_extractor=units)
        reasons = {clip["id"]: reason for reason, clips in report["skipped"].items() for clip in clips}
        assert reasons == {
            "anna/silent": "NoAudioError",
            "anna/short": "ClipLengthError",
            "anna/gone": "MissingVideoError",
            "anna/text": "UnreadableVideoError",
        }
        assert "10 frames" in report["skipped"]["ClipLengthError"][0]["message"]
        assert (report["found"], report["clips"]) == (7, 3)
        known = (6 * 640 + 2 * len(read_audio(sound))) / 16_000 / 3600
        assert report["lost"] == {"clips": 4, "hours": round(known, 4), "unknown": 1}
        assert [row["id"] for row in manifest(tmp_path / "out")] == ["anna/one", "anna/two", "ben/one"]
        cropped.clear()
        assert quiet(corpus, tmp_path / "out", unit_extractor=units) == report
        assert cropped == []

    def test_a_bug_is_not_a_skipped_clip_its_traceback_is_kept_and_the_clip_is_tried_again(
        self, cropped, corpus, units, tmp_path, monkeypatch
    ):
        good = clip_files.read_crops
        bad = corpus[1].video

        def fails(source, *, detector):
            return [][0] if source == bad else good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", fails)
        report = quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert (report["clips"], report["lost"]["clips"], report["skipped"]) == (2, 1, {})
        ((where, bug),) = report["failed"].items()
        assert where.startswith("IndexError at test_prepare.py:") and bug["ids"] == ["anna/two"]
        assert "return [][0]" in bug["traceback"]
        assert bug["traceback"] in [record.get("traceback") for record in records(tmp_path / "out")]
        monkeypatch.setattr(clip_files, "read_crops", good)
        report = quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert (report["clips"], report["failed"]) == (3, {})

    def test_one_bug_at_three_clips_stops_the_run_with_its_traceback(
        self, cropped, corpus, clip_maker, units, tmp_path, monkeypatch
    ):
        corpus.append(clip_maker("zoe/one"))
        monkeypatch.setattr(clip_files, "segments_of", lambda clip, frames, limit: frames.length)
        with pytest.raises(UnexpectedError, match="ben/one the last .*(?s:.)*has no attribute 'length'"):
            quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert [record["id"] for record in records(tmp_path / "out")] == ["anna/one", "anna/two", "ben/one"]
        with pytest.raises(
            UnexpectedError, match="No clip could be prepared because of a bug(?s:.)*Traceback"
        ):
            quiet(corpus, tmp_path / "other", unit_extractor=units, limit=1)

    @pytest.mark.parametrize(
        "error",
        [av.error.InvalidDataError(1094995529, "Invalid data"), PermissionError(13, "Permission denied")],
        ids=["FFmpeg's own", "no permission"],
    )
    def test_a_foreign_error_of_reading_the_file_skips_its_clip(
        self, cropped, corpus, units, tmp_path, monkeypatch, error
    ):
        good, bad = clip_files.read_crops, corpus[1].video

        def fails(source, *, detector):
            if source == bad:
                raise error
            return good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", fails)
        report = quiet(corpus, tmp_path / "out", unit_extractor=units)
        ((reason, clips),) = report["skipped"].items()
        assert (reason, clips[0]["id"], report["failed"]) == ("UnreadableVideoError", "anna/two", {})
        assert error.strerror in clips[0]["message"]

    def test_a_full_disk_stops_the_work_and_the_clip_is_named(
        self, cropped, corpus, units, tmp_path, monkeypatch
    ):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("hf_lip2speech.data.clip_files.write_video", full)
        with pytest.raises(OSError, match="No space left") as caught:
            quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert "while preparing anna/one" in caught.value.__notes__[0]
        with pytest.raises(DatasetError, match="preparation was not finished"):
            PreparedDataset(tmp_path / "out")

    def test_no_usable_clip_at_all_is_an_error_that_says_why(
        self, cropped, corpus, units, tmp_path, monkeypatch
    ):
        def faceless(source, *, detector):
            raise NoFaceError("no face was found")

        monkeypatch.setattr("hf_lip2speech.data.clip_files.read_crops", faceless)
        with pytest.raises(DatasetError, match="None of the 3 clips could be prepared: 3 x NoFaceError"):
            quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert len(json.loads((tmp_path / "out" / "report.json").read_text())["skipped"]["NoFaceError"]) == 3

    def test_warnings_of_a_clip_are_in_the_report(self, cropped, corpus, units, tmp_path, monkeypatch):
        good = clip_files.read_crops

        def warns(source, *, detector):
            import warnings

            warnings.warn("two faces", stacklevel=1)
            return good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", warns)
        del corpus[1:]
        report = quiet(corpus, tmp_path / "out", unit_extractor=units)
        assert report["warnings"] == [{"id": "anna/one", "message": "two faces"}]


class TestUnits:
    def test_fitted_on_the_train_split_and_fitted_anew_when_that_changes(self, cropped, corpus, tmp_path):
        out = tmp_path / "out"
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        first = quiet(corpus, out, **arguments)["unit_extractor"]
        assert (first["units"], first["num_units"], first["clips"]) == ("mfcc", 5, 2)
        before = contents(out)
        cropped.clear()
        assert quiet(corpus, out, **arguments)["unit_extractor"] == first
        assert contents(out) == before
        second = quiet(corpus, out, limit=1, **arguments)["unit_extractor"]
        assert second["clips"] == 1 and cropped == []
        assert contents(out)["units/anna/one.npy"] != before["units/anna/one.npy"]

    def test_a_given_extractor_is_the_same_by_hand_and_by_path(self, cropped, corpus, units, tmp_path):
        out = tmp_path / "out"
        quiet(corpus, out, unit_extractor=units)
        units.save_pretrained(tmp_path / "units")
        by_path = quiet(corpus, out, unit_extractor=tmp_path / "units")["unit_extractor"]
        by_hand = quiet(corpus, out, unit_extractor=units)["unit_extractor"]
        assert by_path["fingerprint"] == by_hand["fingerprint"]
        placed = SpeechUnitExtractor.from_pretrained(out / "unit_extractor")
        assert torch.equal(placed.centroids, units.centroids)

    def test_features_to_fit_need_a_train_split(self, corpus, tmp_path):
        with pytest.raises(DatasetError, match="fitted on the train split, but the clips are of val only"):
            quiet(corpus, tmp_path / "out", splits=["val"], unit_extractor="mfcc")

    def test_an_unknown_model_is_named_before_any_work(self, cropped, corpus, tmp_path):
        with pytest.raises(DatasetError, match="'no/such-model' is neither a folder"):
            quiet(corpus, tmp_path / "out", unit_extractor="no/such-model")
        assert cropped == []


class TestChoice:
    def test_splits_and_limit_choose_the_first_clips_of_each(self, cropped, corpus, units, tmp_path):
        quiet(corpus, tmp_path / "a", unit_extractor=units, limit=1)
        assert [row["id"] for row in manifest(tmp_path / "a")] == ["anna/one", "anna/two"]
        quiet(corpus, tmp_path / "b", unit_extractor=units, splits=["val"])
        assert [row["id"] for row in manifest(tmp_path / "b")] == ["anna/two"]

    def test_a_split_that_is_not_there_is_named(self, corpus, units, tmp_path):
        with pytest.raises(DatasetError, match=r"splits=\['dev'\].*expected some of \['train', 'val'\]"):
            quiet(corpus, tmp_path / "out", unit_extractor=units, splits=["dev"])

    @pytest.mark.parametrize("arguments", [{"num_proc": 0}, {"limit": 0}], ids=str)
    def test_nothing_to_do_is_refused(self, corpus, units, tmp_path, arguments):
        with pytest.raises(DatasetError, match="must be at least 1"):
            quiet(corpus, tmp_path / "out", unit_extractor=units, **arguments)


class TestGoingOn:
    def test_done_clips_are_left_alone_and_changed_ones_are_done_anew(
        self, cropped, corpus, clip_maker, units, tmp_path
    ):
        out = tmp_path / "out"
        quiet(corpus, out, unit_extractor=units)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*/anna/*")}
        cropped.clear()
        clip_maker("ben/one", frames=20)
        (out / "mel" / "anna" / "two.npy").unlink()
        quiet(corpus, out, unit_extractor=units)
        assert [path.stem for path in cropped] == ["two", "one"]
        assert [row["frames"] for row in manifest(out)] == [10, 11, 20]
        assert len(PreparedDataset(out)[2]["unit_ids"]) == 40
        assert all(path.stat().st_mtime_ns == time for path, time in before.items() if "one" in path.name)

    def test_stopped_before_any_of_its_files_it_goes_on_to_the_same_folder(
        self, cropped, corpus, units, tmp_path, monkeypatch
    ):
        del corpus[2]
        quiet(corpus, tmp_path / "whole", unit_extractor=units)
        expected = contents(tmp_path / "whole")
        replace = os.replace
        left = 0

        def deadly(source, target):
            nonlocal left
            if "staging" not in str(target):
                left -= 1
                if left < 0:
                    raise Killed
            replace(source, target)

        # The extractor, four files of each of two clips, two of units, contact sheet, report, manifest.
        for count in range(14):
            left = count
            out = tmp_path / f"out{count}"
            monkeypatch.setattr(os, "replace", deadly)
            with pytest.raises(Killed):
                quiet(corpus, out, unit_extractor=units)
            monkeypatch.setattr(os, "replace", replace)
            assert not (out / "manifest.parquet").exists()
            assert contents(out).items() <= expected.items()  # no half file under a final name
            cropped.clear()
            quiet(corpus, out, unit_extractor=units)
            assert contents(out) == expected
            assert len(cropped) == (2 if count < 5 else 1 if count < 9 else 0)
            assert not list(out.rglob("staging/*"))

    def test_two_runs_in_one_folder_are_kept_apart(self, cropped, corpus, units, tmp_path, monkeypatch):
        pytest.importorskip("fcntl")
        out = tmp_path / "out"
        good = clip_files.read_crops

        def again(source, *, detector):
            with pytest.raises(DatasetError, match="Another run is writing"):
                quiet(corpus, out, unit_extractor=units)
            return good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", again)
        assert quiet(corpus, out, unit_extractor=units)["clips"] == 3

    def test_ctrl_c_keeps_what_is_done(self, cropped, corpus, units, tmp_path, monkeypatch):
        good = clip_files.read_crops

        def interrupted(source, *, detector):
            if source == corpus[1].video:
                raise KeyboardInterrupt
            return good(source, detector=detector)

        monkeypatch.setattr(clip_files, "read_crops", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quiet(corpus, tmp_path / "out", unit_extractor=units)
        monkeypatch.setattr(clip_files, "read_crops", good)
        cropped.clear()
        assert quiet(corpus, tmp_path / "out", unit_extractor=units)["clips"] == 3
        assert corpus[0].video not in cropped


RUN = """
import sys
from hf_lip2speech.data.corpora import GRID
from hf_lip2speech.data.prepare import prepare
if __name__ == "__main__":
    prepare(GRID(sys.argv[1]), sys.argv[2], num_proc=2, unit_extractor="mfcc", num_units=20, limit=5)
"""


def journal(out: Path) -> list[str]:
    """The IDs of the clips that are done, as often as they were."""
    return [record["id"] for record in records(out)]


def wait_for(condition, seconds=600):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_two_processes_die_with_their_parent_and_the_next_run_goes_on(grid_dir, tmp_path, sent):
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(RUN)
    command = [sys.executable, str(script), str(grid_dir), str(out)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(journal(out)) >= 2)
    workers = children_of(process.pid)
    if sent == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, sent)  # as a terminal does
    assert process.wait(60) != 0
    wait_for(lambda: not any(Path(f"/proc/{worker}/exe").exists() for worker in workers), 30)
    assert len(workers) >= 2
    with pytest.raises(DatasetError, match="was not finished"):
        PreparedDataset(out)
    done = journal(out)
    assert 2 <= len(done) < 10
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert sorted(journal(out)) == sorted(row["id"] for row in manifest(out)), "each clip was done once"
    assert set(done) < set(journal(out))
    dataset = PreparedDataset(out)
    assert len(dataset) == 10
    assert all(len(item["unit_ids"]) == 148 for item in dataset)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_a_worker_that_dies_is_an_error_that_says_what_to_do(grid_dir, tmp_path):
    import threading

    def kill_one():
        wait_for(lambda: journal(tmp_path / "out"))
        for child in children_of(os.getpid()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(
        WorkerDiedError, match="run the same command again to resume, with a smaller num_proc"
    ):
        quiet(GRID(grid_dir), tmp_path / "out", num_proc=2, unit_extractor="mfcc", num_units=20, limit=5)
    killer.join()


class TestCommandLine:
    @pytest.fixture
    def main(self):
        import hf_lip2speech_cli

        return hf_lip2speech_cli.main

    def test_prepares_a_folder_and_says_what_was_skipped(self, main, cropped, tmp_path, grid_dir, capsys):
        videos = tmp_path / "videos" / "s1"
        videos.mkdir(parents=True)
        for path in (grid_dir / "original").iterdir():
            (videos / path.name).symlink_to(path)
        (videos / "silent.mp4").symlink_to(grid_dir / "s1" / "bbaf3s.mp4")
        out = tmp_path / "out"
        arguments = ["folder", str(tmp_path / "videos"), str(out), "--units", "mfcc", "--num-units", "20"]
        assert main(["prepare", *arguments, "--speaker", "carla"]) == 0
        printed = capsys.readouterr().err
        assert "Skipped 1, NoAudioError:" in printed and "s1/silent: " in printed
        assert f"3 clips (train 2, val 1), 0.00 hours in {out}" in printed
        assert "Lost 1 of 4 clips: 0.00 hours, and 1 of unknown length." in printed
        assert {row["speaker"] for row in manifest(out)} == {"carla"}

    def test_another_folder_than_the_corpus_fails_with_one_line(self, main, tmp_path, capsys):
        assert main(["prepare", "grid", str(tmp_path), str(tmp_path / "out"), "--units", "mfcc"]) == 1
        assert "holds nothing; expected one folder of videos per speaker" in capsys.readouterr().err

    def test_ctrl_c_says_how_to_go_on(self, main, tmp_path, capsys, monkeypatch, clip_maker):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        clip_maker("anna/one")
        monkeypatch.setattr("hf_lip2speech.data.prepare.prepare", interrupted)
        assert main(["prepare", "folder", str(tmp_path / "corpus"), str(tmp_path / "out")]) == 130
        assert "run the same command again to resume" in capsys.readouterr().err


def test_a_users_folder_takes_speakers_from_its_folders(cropped, units, tmp_path, grid_dir):
    for speaker, name in (("anna", "bwim6p"), ("ben", "pbwx3a")):
        folder = tmp_path / "videos" / speaker
        folder.mkdir(parents=True)
        (folder / f"{name}.mpg").symlink_to(grid_dir / "original" / f"{name}.mpg")
    quiet(FaceVideoFolder(tmp_path / "videos"), tmp_path / "out", unit_extractor=units)
    assert [(row["id"], row["speaker"]) for row in manifest(tmp_path / "out")] == [
        ("anna/bwim6p", "anna"),
        ("ben/pbwx3a", "ben"),
    ]
