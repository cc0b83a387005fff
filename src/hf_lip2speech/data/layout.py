"""Where the files of a prepared folder lie, and how they are written: whole or not at all.

OUT/manifest.parquet    one row a clip, written last: a folder without it is incomplete
OUT/report.json         counts, hours, what was skipped and why
OUT/unit_extractor/     the SpeechUnitExtractor that made the units
OUT/video/ID.mp4        mouth crops, 96x96 gray, 25 fps, T frames
OUT/audio/ID.flac       16 kHz mono, 640T samples
OUT/mel/ID.npy          log-mel, float32 (4T, 80)
OUT/units/ID.npy        units, int16 (2T,)
OUT/speaker/ID.npy      speaker embedding, float32 (256,)
OUT/.prepare/           what is done so far, and files being written
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

MANIFEST = "manifest.parquet"
REPORT = "report.json"
UNIT_EXTRACTOR = "unit_extractor"
COLUMNS = {
    "video": "video/{}.mp4",
    "audio": "audio/{}.flac",
    "mel": "mel/{}.npy",
    "units": "units/{}.npy",
    "speaker_embedding": "speaker/{}.npy",
}


class PreparedFolder:
    """Paths in a prepared folder `root`, and atomic writing to them."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.manifest = self.root / MANIFEST
        self.report = self.root / REPORT
        self.unit_extractor = self.root / UNIT_EXTRACTOR
        self.state = self.root / ".prepare"
        self.staging = self.state / "staging"

    def relative(self, column: str, clip_id: str) -> str:
        """The manifest's entry for a clip's file; `column` is one of COLUMNS."""
        return COLUMNS[column].format(clip_id)

    def path(self, column: str, clip_id: str) -> Path:
        return self.root / self.relative(column, clip_id)

    def marker(self, clip_id: str) -> Path:
        """Says that all files of a clip but its units are there, or why the clip is skipped."""
        return self.state / "clips" / f"{clip_id}.json"

    def write(self, path: Path, writer: Callable[[Path], Any]) -> None:
        """Let `writer` write a file (or folder) elsewhere, then move it to `path`."""
        self.staging.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.staging / f"{uuid4().hex}{path.suffix}"
        writer(unfinished)
        os.replace(unfinished, path)

    def write_array(self, path: Path, array: np.ndarray) -> None:
        self.write(path, lambda unfinished: np.save(unfinished, array))

    def write_json(self, path: Path, value: Any) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        self.write(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
