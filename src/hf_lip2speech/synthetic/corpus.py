"""The rendered speakers as a corpus: which clips there are, where their files are, and reading them back.

OUT/render.json                     what the clips were made with
OUT/splits/{train,val,test}.txt     IDs, one per line; written last: a folder without them is incomplete
OUT/SPEAKER/ID.mp4                  the silent video, 25 fps
OUT/audio_16k/SPEAKER/ID.flac       its sound, 16 kHz mono
OUT/alignments/SPEAKER/ID.align     its words with times, as in GRID
OUT/.render/                        files being written
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.corpora import GRID_SENTENCE, Clip, ListedCorpus, read_grid_alignment
from ..data.corpora.clip import contents, existing_folder
from ..errors import DatasetError
from .looks import SPEAKERS

SPLITS = ("train", "val", "test")
NUM_SENTENCES = math.prod(len(table) for table in GRID_SENTENCE)  # 64,000
ADVICE = "Make it with `hf-lip2speech render FOLDER --clips 800`."


@dataclass(frozen=True)
class ClipPlan:
    """Who says what in one clip. Clip `index` is the same whatever the number of clips."""

    seed: int
    index: int
    speaker: str
    sentence: str  # its GRID name
    split: str

    @property
    def id(self) -> str:
        return f"{self.speaker}/{self.sentence}"


def plan_clips(num_clips: int, seed: int) -> Iterator[ClipPlan]:
    """Speakers take turns, each sentence comes once, and of a speaker's 20 clips 1 is val and 2 are test."""
    speakers = sorted(SPEAKERS)
    sentences = np.random.default_rng(seed).permutation(NUM_SENTENCES)
    for index in range(num_clips):
        turn = index // len(speakers) % 20
        split = {1: "val", 2: "test", 12: "test"}.get(turn, "train")
        sentence = sentence_id(int(sentences[index]))
        yield ClipPlan(seed, index, speakers[index % len(speakers)], sentence, split)


def sentence_id(number: int) -> str:
    """The GRID name of sentence `number` in 0..63999, such as "bbaf2n"."""
    letters = []
    for table in reversed(GRID_SENTENCE):
        number, index = divmod(number, len(table))
        letters.append(list(table)[index])
    return "".join(reversed(letters))


class RenderedFolder:
    """Paths in a folder `root` of rendered clips; a clip's ID is "SPEAKER/SENTENCE", as in "slt/bbaf2n"."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.recipe = self.root / "render.json"
        self.state = self.root / ".render"
        self.staging = self.state / "staging"

    def files(self, clip_id: str) -> list[Path]:
        """Video, sound and words of a clip."""
        folders = {"": "mp4", "audio_16k": "flac", "alignments": "align"}
        return [self.root / folder / f"{clip_id}.{suffix}" for folder, suffix in folders.items()]

    def list_of(self, split: str) -> Path:
        return self.root / "splits" / f"{split}.txt"

    def is_done(self, clip_id: str) -> bool:
        """Whether all files of a clip are there; each appears under its name only when it is complete."""
        return all(path.is_file() for path in self.files(clip_id))


class RenderedTalker(ListedCorpus):
    """Drawn faces that speak GRID's sentences with flite's voices; see `render`.

    The speakers "awb", "kal", "rms" and "slt" are the people whose voices come with flite. No sentence comes
    twice, so those of val and test are unseen in training.

    Args:
        data_dir: The folder that `render` wrote.
        speakers: Only these speakers; default: all.

    Raises:
        DatasetError: It holds no rendered clips, not all that it should, or none of a speaker.
    """

    name = "rendered"

    def __init__(self, data_dir: str | Path, *, speakers: Iterable[str] | None = None):
        self.data_dir = existing_folder(data_dir, "rendered speakers", ADVICE)
        self._folder = RenderedFolder(self.data_dir)
        lists = {split: self._folder.list_of(split) for split in SPLITS}
        splits = {
            clip_id: split
            for split, path in lists.items()
            if path.is_file()
            for clip_id in path.read_text(encoding="utf-8").split()
        }
        if not splits:
            raise DatasetError(
                f"{self.data_dir} holds {contents(self.data_dir)}; expected the lists splits/train.txt, "
                f"val.txt and test.txt, which are written when all clips are there. {ADVICE} The same "
                "command resumes an interrupted run."
            )
        found = sorted({_speaker(clip_id) for clip_id in splits})
        wanted = found if speakers is None else list(speakers)
        if missing := [speaker for speaker in wanted if speaker not in found]:
            raise DatasetError(
                f"{self.data_dir} has no clip of {', '.join(missing)}; expected some of {', '.join(found)}."
            )
        self.splits = {clip: split for clip, split in sorted(splits.items()) if _speaker(clip) in wanted}

    def clip(self, clip_id: str) -> Clip:
        video, audio, alignment = self.files(clip_id)
        words = read_grid_alignment(alignment)
        text = " ".join(word.word for word in words)
        return Clip(clip_id, video, audio, _speaker(clip_id), self.splits[clip_id], text, words)

    def files(self, clip_id: str) -> list[Path]:
        return self._folder.files(clip_id)


def _speaker(clip_id: str) -> str:
    return clip_id.split("/")[0]
