"""What an evaluation leaves behind, and how it is written: whole or not at all.

OUT/results.json          the table with intervals, and the facts without which its numbers mean nothing
OUT/per_clip.parquet      one line a clip and row: what was heard, every number, the sound's file
OUT/index.html            the page to look at and listen to, without a network
OUT/card/                 README.md: the section of a model card, with its `model-index`; .eval_results/
OUT/samples/ROW/ID.wav    the speech that was scored (the shuffled row's is the whole path's)
OUT/mouth/ID.mp4          what the model saw
OUT/spectrograms/ROW/ID.png
OUT/.evaluation/          what was asked for, and what is done so far
"""

import json
from pathlib import Path
from typing import Any

from ..files import write_text


class EvaluationFolder:
    """Paths in an evaluation's folder `root`, and atomic writing to them."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.settings = self.root / ".evaluation" / "settings.json"
        self.results = self.root / "results.json"
        self.table = self.root / "per_clip.parquet"
        self.page = self.root / "index.html"
        self.card = self.root / "card"

    def marker(self, clip_id: str) -> Path:
        """Says that all of a clip's files are there, with its numbers; or why the clip is skipped."""
        return self.root / ".evaluation" / "clips" / f"{clip_id}.json"

    def sample(self, row: str, clip_id: str) -> Path:
        return self.root / "samples" / row / f"{clip_id}.wav"

    def spectrogram(self, row: str, clip_id: str) -> Path:
        return self.root / "spectrograms" / row / f"{clip_id}.png"

    def mouth(self, clip_id: str) -> Path:
        return self.root / "mouth" / f"{clip_id}.mp4"


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
