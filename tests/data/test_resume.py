"""Preparations that are interrupted, shared out in shards, or done by several processes."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.data.corpora import GRID
from hf_lip2speech.data.layout import Journal
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.workers import local_pool
from hf_lip2speech.errors import DatasetError, WorkerDiedError
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor

from .conftest import contents, manifest, records


class Killed(BaseException):
    """What no part of the package can handle."""


class TestResume:
    def test_done_clips_are_left_alone_and_changed_ones_are_done_anew(
        self, cropped, corpus, clip_maker, run, out
    ):
        run(corpus, out)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*/anna/*")}
        cropped.clear()
        clip_maker("ben/one", frames=20)
        (out / "mel" / "anna" / "two.npy").unlink()
        run(corpus, out)
        assert [path.stem for path in cropped] == ["two", "one"]
        assert [row["frames"] for row in manifest(out)] == [10, 11, 20]
        assert len(PreparedDataset(out)[2]["unit_ids"]) == 40
        assert all(path.stat().st_mtime_ns == time for path, time in before.items() if "one" in path.name)

    def test_stopped_before_any_of_its_files_it_goes_on_to_the_same_folder(
        self, cropped, corpus, run, tmp_path, monkeypatch
    ):
        del corpus[2]
        run(corpus, tmp_path / "whole")
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
                run(corpus, out)
            monkeypatch.setattr(os, "replace", replace)
            assert not (out / "manifest.parquet").exists()
            assert contents(out).items() <= expected.items()  # no half file under a final name
            cropped.clear()
            run(corpus, out)
            assert contents(out) == expected
            assert len(cropped) == (2 if count < 5 else 1 if count < 9 else 0)
            assert not list(out.rglob("staging/*"))

    def test_a_full_disk_is_named_and_the_run_goes_on_to_the_same_folder_where_there_is_room(
        self, cropped, corpus, run, tmp_path, disk
    ):
        run(corpus, tmp_path / "whole")
        expected = contents(tmp_path / "whole")
        failures = 0
        for kilobytes in (24, 48, 80, 120, 160, 16 << 10):
            disk.resize(kilobytes)
            try:
                run(corpus, disk.path / "out")
            except OSError as error:
                assert "No space left on device" in str(error) and str(disk.path / "out") in str(error)
                failures += 1
                assert contents(disk.path / "out").items() <= expected.items()
                assert not list(disk.path.rglob("*.partial*"))
        assert failures >= 4 and contents(disk.path / "out") == expected

    def test_a_read_only_folder_is_named(self, cropped, corpus, run, disk):
        disk.read_only()
        with pytest.raises(OSError, match=f"Read-only file system.*{disk.path}|{disk.path}.*Read-only"):
            run(corpus, disk.path / "out")

    def test_two_runs_in_one_folder_are_kept_apart(self, corpus, run, out, before_crops):
        pytest.importorskip("fcntl")

        def again(video):
            with pytest.raises(DatasetError, match="Another run is writing"):
                run(corpus, out)

        before_crops(again)
        assert run(corpus, out)["clips"] == 3

    def test_where_a_file_system_has_no_locks_a_warning_says_so_and_the_run_goes_on(
        self, cropped, corpus, run, out, monkeypatch
    ):
        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
        with pytest.warns(UserWarning, match="out cannot be locked .*No locks available.*only one process"):
            assert run(corpus, out)["clips"] == 3

    def test_ctrl_c_keeps_what_is_done(self, cropped, corpus, run, out, before_crops):
        def interrupt(video):
            if video == corpus[1].video:
                raise KeyboardInterrupt

        before_crops(interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(corpus, out)
        before_crops(lambda video: None)
        cropped.clear()
        assert run(corpus, out)["clips"] == 3
        assert corpus[0].video not in cropped


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
        self, cropped, corpus, run, out, damage
    ):
        run(corpus, out)
        (path,) = (out / ".prepare/journal").iterdir()
        *lines, last = path.read_bytes().splitlines(keepends=True)
        assert damage(last) != last
        path.write_bytes(b"".join([*lines, damage(last)]))
        assert len(records(out)) == 2
        cropped.clear()
        assert run(corpus, out)["clips"] == 3
        assert [path.stem for path in cropped] == ["one"]

    def test_no_file_stays_open_behind_it(self, tmp_path):
        open_files = Path("/proc/self/fd")
        before = len(os.listdir(open_files)) if open_files.is_dir() else 0
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            for name in "abc":
                Journal(tmp_path / name).write({"id": name})
        assert not before or len(os.listdir(open_files)) == before

    def test_a_clip_that_was_skipped_by_older_rules_is_tried_again(
        self, cropped, corpus, clip_maker, run, out
    ):
        corpus.append(clip_maker("zoe/long", frames=20, samples=640 * 24))
        run(corpus, out)
        (path,) = (out / ".prepare/journal").iterdir()
        *lines, last = path.read_text().splitlines()
        old = json.loads(last) | {"skipped": "ClipLengthError", "message": "4 frames"}
        del old["segments"], old["rules"]
        path.write_text("\n".join([*lines, json.dumps(old)]) + "\n")
        cropped.clear()
        assert run(corpus, out)["clips"] == 4 and [path.stem for path in cropped] == ["long"]

    def test_the_newest_line_counts(self, cropped, corpus, clip_maker, run, out):
        run(corpus, out)
        clip_maker("anna/one", samples=0)
        corpus[0].audio.unlink()
        assert run(corpus, out)["lost"]["clips"] == 1
        clip_maker("anna/one", frames=14)
        assert run(corpus, out)["lost"]["clips"] == 0
        assert PreparedDataset(out).lengths[0] == 14


class TestShards:
    def test_the_manifest_is_the_same_whatever_the_sharding(self, cropped, larger, run, tmp_path):
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        whole = run(larger, tmp_path / "whole", **arguments)
        for count in (2, 11):
            cropped.clear()
            out = tmp_path / f"shards{count}"
            reports = [run(larger, out, shard=(index, count), **arguments) for index in range(count, 0, -1)]
            assert sum(report["clips"] for report in reports) == whole["clips"] == 7
            assert sum(report["lost"]["clips"] for report in reports) == 2
            assert not (out / "manifest.parquet").exists()
            worked_on = len(cropped)
            merged = run(larger, out, **arguments)
            assert len(cropped) == worked_on, "merging does nothing again"
            assert merged == whole
            assert contents(out) == contents(tmp_path / "whole")

    def test_a_run_of_all_does_what_a_missing_shard_left(self, cropped, larger, run, out, tmp_path):
        run(larger, tmp_path / "whole")
        for index in (1, 3):
            run(larger, out, shard=(index, 3))
        cropped.clear()
        report = run(larger, out)
        assert len(cropped) == len(larger[1::3]) and report["clips"] == 7
        assert manifest(out) == manifest(tmp_path / "whole")

    def test_a_shard_that_is_done_leaves_the_manifest_alone(self, cropped, larger, run, out):
        run(larger, out)
        run(larger, out, shard=(1, 2))
        assert (out / "manifest.parquet").is_file()
        next((out / "mel").rglob("*.npy")).unlink()
        for index in (1, 2):
            run(larger, out, shard=(index, 2))
        assert not (out / "manifest.parquet").is_file()

    def test_shards_run_side_by_side_but_not_one_twice_nor_beside_all(self, larger, run, out, before_crops):
        pytest.importorskip("fcntl")
        tried = []

        def nested(video):
            if not tried:
                tried.append(1)
                run(larger, out, shard=(2, 2))
                for shard in ((1, 2), None):
                    with pytest.raises(DatasetError, match="Another run is writing"):
                        run(larger, out, shard=shard)

        before_crops(nested)
        run(larger, out, shard=(1, 2))
        assert run(larger, out)["clips"] == 7

    def test_a_shard_does_not_replace_the_extractor_of_the_others(self, cropped, larger, run, out):
        run(larger, out, shard=(1, 2))
        with pytest.raises(DatasetError, match="Give every shard the same corpus and arguments"):
            run(larger, out, unit_extractor="mfcc", num_units=5, shard=(2, 2))

    def test_of_two_shards_that_fit_at_once_the_slower_takes_the_others_units(
        self, cropped, larger, run, out, monkeypatch
    ):
        arguments = {"unit_extractor": "mfcc", "num_units": 5}
        fit = SpeechUnitExtractor.fit

        def slow(self, *args, **kwargs):
            monkeypatch.setattr(SpeechUnitExtractor, "fit", fit)
            run(larger, out, shard=(2, 2), **arguments)
            return fit(self, *args, **kwargs)

        monkeypatch.setattr(SpeechUnitExtractor, "fit", slow)
        run(larger, out, shard=(1, 2), **arguments)
        assert run(larger, out, **arguments)["clips"] == 7
        assert not list(out.rglob("staging/*"))


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


class Interruptible:
    def now(self) -> bool:
        return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="not on Windows")
def test_ctrl_c_while_processes_start_is_the_parents_alone():
    with local_pool(Interruptible, 2, "testing") as run:
        assert not any(run("now", [(), ()]))
        assert Interruptible().now()


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
def test_a_worker_that_dies_is_an_error_that_says_what_to_do(grid_dir, run, out):
    def kill_one():
        wait_for(lambda: journal(out))
        for child in children_of(os.getpid()):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(WorkerDiedError, match="same command again to resume, with a smaller num_proc"):
        run(GRID(grid_dir), out, num_proc=2, unit_extractor="mfcc", num_units=20, limit=5)
    killer.join()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning:ray")
def test_of_two_ray_machines_one_is_killed_half_way_and_the_other_does_its_work(
    grid_dir, run, out, tmp_path, monkeypatch
):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # A head without a CPU, so that all work is done on machines that are added.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    arguments = {"unit_extractor": "mfcc", "num_units": 20, "limit": 4}
    try:
        machines = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)

        def kill_one():
            wait_for(lambda: len(set(journal(out))) >= 3, 300)
            cluster.remove_node(machines[0], allow_graceful=False)

        killer = threading.Thread(target=kill_one)
        killer.start()
        report = run(GRID(grid_dir), out, engine="ray", **arguments)
        killer.join()
        # The head and the machine that is left; Ray notices the death with a delay.
        wait_for(lambda: sum(node["Alive"] for node in ray.nodes()) == 2, 120)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert (report["clips"], report["lost"]["clips"]) == (8, 0)
    assert len(list((out / ".prepare" / "journal").iterdir())) >= 2, "both machines did something"
    assert len(journal(out)) - len(set(journal(out))) <= 1, "only the clip at hand may be done twice"
    local = run(GRID(grid_dir), tmp_path / "local", **arguments)
    assert {**report, "contact_sheet": None} == {**local, "contact_sheet": None}
    assert manifest(out) == manifest(tmp_path / "local")
    for one, other in zip(PreparedDataset(out), PreparedDataset(tmp_path / "local"), strict=True):
        np.testing.assert_array_equal(one["unit_ids"], other["unit_ids"])
