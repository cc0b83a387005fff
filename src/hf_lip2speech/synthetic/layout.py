"""Where the files of rendered clips lie: as in GRID.

OUT/render.json                     what the clips were made with
OUT/splits/{train,val,test}.txt     IDs, one a line; written last: a folder without them is incomplete
OUT/TALKER/ID.mp4                   the silent video, 25 fps
OUT/audio_16k/TALKER/ID.flac        its sound, 16 kHz mono
OUT/alignments/TALKER/ID.align      its words with times
OUT/.render/                        files being written
"""

from pathlib import Path

SPLITS = ("train", "val", "test")


class RenderedFolder:
    """Paths in a folder `root` of rendered clips; a clip's ID is "TALKER/SENTENCE", as in "slt/bbaf2n"."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.recipe = self.root / "render.json"
        self.state = self.root / ".render"
        self.staging = self.state / "staging"

    def video(self, clip_id: str) -> Path:
        return self.root / f"{clip_id}.mp4"

    def audio(self, clip_id: str) -> Path:
        return self.root / "audio_16k" / f"{clip_id}.flac"

    def alignment(self, clip_id: str) -> Path:
        return self.root / "alignments" / f"{clip_id}.align"

    def files(self, clip_id: str) -> list[Path]:
        """Video, sound and words of a clip."""
        return [self.video(clip_id), self.audio(clip_id), self.alignment(clip_id)]

    def list_of(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt"

    def read_list(self, split: str) -> list[str]:
        """The IDs of a split; none where there is no list."""
        path = self.list_of(split)
        return path.read_text(encoding="utf-8").split() if path.is_file() else []

    def is_done(self, clip_id: str) -> bool:
        """Whether all files of a clip are there; each appears under its name only when it is whole."""
        return all(path.is_file() for path in self.files(clip_id))
