"""A file system of a few kilobytes, to be filled or made read-only; permissions would not stop root."""

import errno
import os
import subprocess
from pathlib import Path

import pytest


class SmallDisk:
    """Mounted at `path`, which must be a new folder.

    Raises:
        pytest.skip.Exception: this user may not mount anything.
    """

    def __init__(self, path: Path, kilobytes: int = 16 << 10):
        self.path = path
        self.filler = path / "filler"
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs")

    def _mount(self, *options: str) -> None:
        try:
            subprocess.run(["mount", *options, str(self.path)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"nothing can be mounted here: {error}")

    def resize(self, kilobytes: int) -> None:
        self._mount("-o", f"remount,size={kilobytes}k")

    def read_only(self) -> None:
        self._mount("-o", "remount,ro")

    def fill(self, free: int = 0) -> None:
        """Leave `free` bytes."""
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        os.truncate(self.filler, max(0, self.filler.stat().st_size - free))

    def empty(self) -> None:
        self.filler.unlink()

    def end(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True)
