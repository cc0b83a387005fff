"""The parts of a corpus: clips, each with its files, its speaker, its words; long ones are cut."""

import hashlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from ...constants import FRAME_RATE
from ...errors import DatasetError

VIDEO_SUFFIXES = (".mp4", ".mpg", ".mpeg", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ogv", ".mts", ".3gp")
SHOWN = 3  # names in a message about many


@dataclass(frozen=True)
class Word:
    """A spoken word and its times in the clip, in seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """One talking-face clip of a corpus.

    Attributes:
        id: Unique in the corpus, made of path parts joined by "/" ("s1/bbaf2n").
        video: The video file, at any frame rate and size, with the speaker's whole face.
        audio: The sound's file, or None where the sound is inside `video`.
        speaker: Who speaks.
        split: "train", "val" or "test".
        text: What is said, lower or upper case as the corpus has it; "" where unknown.
        words: The same with times; empty where the times are unknown.
        problem: What is wrong with the file that should hold `text` or `words`; "" if nothing is.
    """

    id: str
    video: Path
    audio: Path | None
    speaker: str
    split: str
    text: str = ""
    words: tuple[Word, ...] = ()
    problem: str = ""

    @property
    def files(self) -> list[Path]:
        """Video and, where it has a file of its own, sound."""
        return [self.video] if self.audio is None else [self.video, self.audio]


class Corpus(Protocol):
    """What `prepare` needs of a corpus."""

    name: str

    def __iter__(self) -> Iterator[Clip]: ...


class ListedCorpus(ABC):
    """A corpus in a folder: names alone tell its clips, transcripts are read clip by clip.

    `splits` has the split of each clip, in the order of the IDs. `draw_seed` is that of the random draw of
    held-out clips; None where lists or folders give the splits. `names_speakers` says whether `Clip.speaker`
    is a speaker that the corpus names, and not a substitute for one.
    """

    name: str
    data_dir: Path
    splits: dict[str, str]
    draw_seed: int | None = None
    names_speakers = True

    def __iter__(self) -> Iterator[Clip]:
        return map(self.clip, self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    @abstractmethod
    def clip(self, clip_id: str) -> Clip:
        """One clip with its text and words, which are read now. Its video may be missing."""

    @abstractmethod
    def files(self, clip_id: str) -> list[Path]:
        """The files, present or not, on which the clip depends."""

    def drawn_from(self, clip_id: str) -> str:
        """A name that the clips share among which a held-out clip was drawn."""
        return ""


def existing_folder(path: str | Path | None, corpus: str, layout: str) -> Path:
    """The corpus's folder, as the user gave it.

    Raises:
        DatasetError: None was given, or it is not a folder; with the corpus's usual name and its `layout`.
    """
    if path is None:
        raise DatasetError(f"{corpus} needs data_dir=, the folder that holds it. {layout}")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{path} is not a folder; expected that of {corpus}. {layout}")
    return folder


def videos_in(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """Video files in a folder (and all below it), hidden ones left out, sorted."""
    for path in sorted(folder.rglob("*") if recursive else folder.glob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file():
            yield path


def file_signature(paths: Sequence[Path]) -> list[list[int] | None]:
    """Size and modification time of files; None for one that is missing."""
    signature: list[list[int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
            signature.append([stat.st_size, stat.st_mtime_ns])
        except (FileNotFoundError, NotADirectoryError):
            signature.append(None)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error}.") from error
    return signature


def read_text(path: Path) -> str:
    """A text file of a corpus; a DatasetError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not text in UTF-8 ({error.reason} at byte {error.start}).") from None


def contents(folder: Path) -> str:
    """The first names in a folder, for a message."""
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") or "nothing"


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that depends on them and `seed` only.

    A hash and not a random generator decides, so that one new clip changes the split of hardly any other.
    """
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def some(names: Sequence[object]) -> str:
    """The first few of many names, and how many more there are."""
    shown = ", ".join(map(str, names[:SHOWN]))
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def warn_of_ignored(files: Sequence[Path], expected: str) -> None:
    """Warn once of the files of a corpus folder whose names are not those of clips."""
    if files:
        message = f"{len(files)} files are not named as clips ({expected}) and are left out"
        warnings.warn(f"{message}: {some(sorted(files))}.", stacklevel=3)


@dataclass(frozen=True)
class Segment:
    """A part of a clip that is stored as a clip: its ID, the clip's, with a number appended where there are
    several ("pretrain/VIDEO/00001_00"), its first video frame in the clip, and how many it has."""

    id: str
    start: int
    frames: int


def segments_of(clip: Clip, frames: int, limit: int) -> list[Segment]:
    """The whole clip if it has at most `limit` frames or no word times, else its parts, in order."""
    edges = [0, *cuts(clip.words, frames, limit), frames]
    if len(edges) == 2:
        return [Segment(clip.id, 0, frames)]
    return [
        Segment(f"{clip.id}_{number:02d}", start, end - start)
        for number, (start, end) in enumerate(pairwise(edges))
    ]


def cuts(words: Sequence[Word], frames: int, limit: int) -> list[int]:
    """The frames (25 fps) at which a clip is cut so that no part is longer than `limit` and all are about as
    long.

    A cut is in the middle of the pause between two words. Where no word begins or ends for half the limit,
    nobody speaks, and the cut is at the limit. Without words there is no cut.
    """
    if not words:
        return []
    seconds = [
        words[0].start,
        *((word.end + after.start) / 2 for word, after in pairwise(words)),
        words[-1].end,
    ]
    pauses = [round(FRAME_RATE * second) for second in seconds]
    found: list[int] = []
    start = 0
    while frames - start > limit:
        rest = frames - start
        aim = start + rest / math.ceil(rest / limit)
        near = [pause for pause in pauses if start + limit / 2 <= pause <= min(start + limit, frames - 1)]
        start = min(near, key=lambda pause: abs(pause - aim)) if near else start + limit
        found.append(start)
    return found


def words_of(clip: Clip, segment: Segment) -> tuple[str, list[Word]]:
    """The text of a segment, and its words with times from the segment's start."""
    if segment.id == clip.id:
        return clip.text, list(clip.words)
    start, end = segment.start / FRAME_RATE, (segment.start + segment.frames) / FRAME_RATE
    inside = [word for word in clip.words if start <= (word.start + word.end) / 2 < end]
    shifted = [
        Word(word.word, round(max(0.0, word.start - start), 3), round(min(word.end, end) - start, 3))
        for word in inside
    ]
    return " ".join(word.word for word in inside), shifted
