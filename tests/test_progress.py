"""How far a long work is, on a terminal and in a log; and lines of libraries that are held back."""

import os
import subprocess
import sys
import threading

import pytest

from hf_lip2speech import progress
from hf_lip2speech.progress import Progress, tracked, without_foreign_lines


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that it is; a test sets it."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_for_each_tenth(clock, capsys):
    for _ in tracked(range(400), "clips"):
        clock[0] += 2.0
    assert lines(capsys) == [
        f"clips: {done} of 400, {2 * (400 - done) // 60:02}:{2 * (400 - done) % 60:02} left"
        for done in range(40, 401, 40)
    ]


def test_of_a_short_work_a_log_says_nothing(clock, capsys):
    for _ in tracked(range(9), "clips"):
        clock[0] += 1.0
    assert lines(capsys) == []


def test_lines_are_ten_seconds_apart_at_least_and_ten_minutes_at_most(clock, capsys):
    with Progress("clips", 50) as bar:
        for _ in range(50):
            clock[0] += 1.0
            bar.update()
    assert [line.split(",")[0] for line in lines(capsys)] == [
        f"clips: {n} of 50" for n in (10, 20, 30, 40, 50)
    ]
    with Progress("clips", 1000) as bar:
        for _ in range(3):
            clock[0] += 400.0
            bar.update()
    assert [line.split(",")[0] for line in lines(capsys)] == ["clips: 2 of 1000"]


def test_the_time_left_is_that_of_this_run(clock, capsys):
    with Progress("clips", 100, done=60) as bar:
        clock[0] = 40.0
        bar.update(20)
    assert lines(capsys) == ["clips: 80 of 100, 00:40 left"]


def test_without_a_total_the_count_is_said(clock, capsys):
    with Progress("landmarks", None) as bar:
        clock[0] = 700.0
        bar.at(1200, None)
    assert lines(capsys) == ["landmarks: 1200"]


@pytest.mark.parametrize("hidden", [{"shown": False}, {"done": 3}], ids=["asked for", "nothing to do"])
def test_nothing_is_shown(hidden, clock, capsys, monkeypatch):
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with Progress("clips", 3, **hidden) as bar:
            clock[0] += 700.0
            bar.update(3 - bar.done)
    assert lines(capsys) == []


def test_a_terminal_has_a_bar_with_total_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("clips", 4, done=1) as bar:
        bar.update()
        bar.at(5, 5)
    assert "clips: 100%" in (shown := capsys.readouterr().err) and "5/5 [" in shown


def test_foreign_lines_are_held_back_and_others_written_after(capfd):
    with without_foreign_lines():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nanother line\n")
        assert not capfd.readouterr().err
    assert capfd.readouterr().err == "another line\n"


def test_two_threads_that_hold_lines_back_leave_standard_error_as_it_was(capfd):
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with without_foreign_lines():
            inside.set()
            leave.wait(5)

    def second() -> None:
        with without_foreign_lines():
            leave.set()

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    inside.wait(5)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join()
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_loading_the_landmark_detector_writes_nothing_to_standard_error():
    load = "from hf_lip2speech.video.landmarks import MeshLandmarkDetector; MeshLandmarkDetector()"
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
