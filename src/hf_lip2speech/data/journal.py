"""What was done to which clip: a line of JSON a clip, in a file for each process that works on the folder.

Many lines in one file instead of a file a clip: 150,000 of them are read in seconds, over a network too. A
line that a killed process left half is not counted, and its clip is done again.
"""

import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4


class Journal:
    """The journals in a folder; `write` adds to this process's own.

    Args:
        directory: `PreparedFolder.journal`.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self._file: int | None = None

    def write(self, record: dict[str, Any]) -> None:
        """Add one line, in one step."""
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            path = self.directory / f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        if os.write(self._file, line) < len(line):
            self._file = None  # the half line ends that file
            raise OSError(errno.ENOSPC, "No space left on device", str(self.directory))

    def read(self) -> Iterator[dict[str, Any]]:
        """The complete lines of all processes, those of one process in order."""
        for path in sorted(self.directory.glob("*.jsonl")):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    if line.endswith("\n"):
                        yield json.loads(line)
