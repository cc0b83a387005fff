"""Where the files of a prepared folder lie, and how they are written: whole or not at all.

OUT/manifest.parquet    one row a clip, written last: a folder without it is incomplete
OUT/report.json         counts, hours, what was skipped and why
OUT/contact_sheet.png   the middle frames of random clips, to look at
OUT/unit_extractor/     the SpeechUnitExtractor that made the units
OUT/video/ID.mp4        mouth crops, 96x96 gray, 25 fps, T frames
OUT/audio/ID.flac       16 kHz mono, 640T samples
OUT/mel/ID.npy          log-mel, float32 (4T, 80)
OUT/units/ID.npy        units, int16 (2T,)
OUT/speaker/ID.npy      speaker embedding, float32 (256,)
OUT/.prepare/           what is done so far, and files being written

Where a clip lies follows from its ID alone, so that processes and machines which share the work need not
agree on anything else.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic_file

MANIFEST = "manifest.parquet"
REPORT = "report.json"
CONTACT_SHEET = "contact_sheet.png"
UNIT_EXTRACTOR = "unit_extractor"
COLUMNS = {
    "video": "video/{}.mp4",
    "audio": "audio/{}.flac",
    "mel": "mel/{}.npy",
    "units": "units/{}.npy",
    "speaker_embedding": "speaker/{}.npy",
}


class PreparedFolder:
    """Paths in a prepared folder `root`, and atomic writing to them.

    Args:
        root: The folder.
        part: What of the work this process does, "all" or a shard: each part has a place of its own for
            files that are being written.
    """

    def __init__(self, root: str | Path, part: str = "all"):
        self.root = Path(root)
        self.manifest = self.root / MANIFEST
        self.report = self.root / REPORT
        self.contact_sheet = self.root / CONTACT_SHEET
        self.unit_extractor = self.root / UNIT_EXTRACTOR
        self.state = self.root / ".prepare"
        self.journal = self.state / "journal"
        self.staging = self.state / "staging" / part

    def relative(self, column: str, clip_id: str) -> str:
        """The manifest's entry for a clip's file; `column` is one of COLUMNS."""
        return COLUMNS[column].format(clip_id)

    def path(self, column: str, clip_id: str) -> Path:
        return self.root / self.relative(column, clip_id)

    def existing(self, column: str) -> set[str]:
        """The IDs that have a file in a column; one look at each folder, not one at each file."""
        pattern = COLUMNS[column]
        top = self.root / pattern.split("/")[0]
        suffix = Path(pattern).suffix
        found = set()
        for folder, _, names in os.walk(top):
            inside = os.path.relpath(folder, top).replace(os.sep, "/")
            prefix = "" if inside == "." else f"{inside}/"
            found.update(prefix + name.removesuffix(suffix) for name in names if name.endswith(suffix))
        return found

    def write(self, path: Path, writer: Callable[[Path], Any]) -> None:
        """Let `writer` write a file (or folder) elsewhere, then move it to `path`."""
        with atomic_file(path, self.staging) as unfinished:
            writer(unfinished)

    def write_array(self, path: Path, array: np.ndarray) -> None:
        self.write(path, lambda unfinished: np.save(unfinished, array))

    def write_json(self, path: Path, value: Any) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        self.write(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
