"""`speak` on a full and on a read-only disk; other commands' tests of the same are with their others."""

import os

import pytest

import hf_lip2speech_cli as cli
from hf_lip2speech.media.video import write_video

from .tiny_model import noise_mouth, save_model

FRAMES = 25
SOUND = 44 + 2 * 640 * FRAMES  # bytes


@pytest.fixture
def speak(disk, tmp_path, capsys):
    """Runs `speak` with its outputs on the disk; gives the exit code and what it said."""
    save_model(tmp_path / "model")
    write_video(tmp_path / "clip.mp4", noise_mouth(FRAMES))

    def run(*more: str) -> tuple[int, str]:
        line = ["speak", str(tmp_path / "clip.mp4"), "-m", str(tmp_path / "model"), "--cropped", *more]
        code = cli.main([*line, "-o", str(disk.path / "out.wav"), "--device", "cpu"])
        return code, capsys.readouterr().err

    return run


def test_a_full_disk_is_named_and_earlier_files_stay(speak, disk):
    (disk.path / "out.wav").write_bytes(b"earlier")
    for more, free, name in (
        ((), 4096, "out.wav"),
        (("--video", str(disk.path / "out.mp4")), SOUND + 2 * 4096, "out.mp4"),
        (("--plot", str(disk.path / "out.png")), SOUND + 2 * 4096, "out.png"),
    ):
        disk.fill(free)
        code, said = speak(*more)
        assert code == 1 and f"{name}' cannot be written: No space left on device" in said
        assert "Traceback" not in said and sorted(os.listdir(disk.path)) == ["filler", "out.wav"]
        whole = (disk.path / "out.wav").read_bytes()
        assert whole == b"earlier" if name == "out.wav" else len(whole) == SOUND
        disk.empty()
    assert speak("--video", str(disk.path / "out.mp4"))[0] == 0


def test_a_read_only_disk_is_named_before_the_work(speak, disk):
    disk.read_only()
    code, said = speak()
    assert code == 1 and f"{disk.path / 'out.wav'} (Read-only file system)" in said
    assert "loading" not in said
