"""Corpora of talking faces as lists of clips: where each video and its sound lie, who speaks, what is said.

A corpus is anything with a `name` that iterates over `Clip`s; nothing is decoded here. GRID is that of Cooke,
Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech recognition",
JASA 2006.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import DatasetError

VIDEO_SUFFIXES = (".mp4", ".mpg", ".mpeg", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ogv", ".mts", ".3gp")
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

GRID_CLOCK = 25_000  # the unit of the times in GRID's alignments, ticks a second
GRID_SILENCES = ("sil", "sp")
GRID_SOUND_FOLDERS = ("audio_16k", "audio_50k", "audio_25k")  # in this order of preference
GRID_SENTENCE = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},  # GRID says no "w": its name is too long
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


@dataclass(frozen=True)
class Word:
    """A spoken word and where it lies in the clip, in seconds."""

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
    """

    id: str
    video: Path
    audio: Path | None
    speaker: str
    split: str
    text: str = ""
    words: tuple[Word, ...] = ()


class Corpus(Protocol):
    """What `prepare` needs of a corpus."""

    name: str

    def __iter__(self) -> Iterator[Clip]: ...


def spell_grid_id(clip_id: str) -> str:
    """The sentence that a GRID clip's name spells: "bbaf2n" -> "bin blue at f two now"; else ""."""
    if len(clip_id) != len(GRID_SENTENCE):
        return ""
    words = [table.get(letter) for table, letter in zip(GRID_SENTENCE, clip_id.lower(), strict=True)]
    return "" if None in words else " ".join(word for word in words if word)


def read_grid_alignment(path: Path) -> tuple[Word, ...]:
    """The words of one .align file (lines "start end word", in 1/25000 s), without the silences.

    Raises:
        DatasetError: A line is not of that form.
    """
    words = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if match is None:
            raise DatasetError(
                f"{path}, line {number} is {line!r}; expected 'start end word', times in 1/{GRID_CLOCK} s. "
                "Put the corpus's own file there, or none: the words are then spelled from the name."
            )
        start, end, word = match.groups()
        if word.lower() not in GRID_SILENCES:
            words.append(Word(word, int(start) / GRID_CLOCK, int(end) / GRID_CLOCK))
    return tuple(words)


class GRID:
    """The GRID corpus, as its authors distribute it or with its videos re-encoded and its sound beside.

    Expected in `data_dir`: videos sN/ID.mpg (or any other container), and where present sound beside them as
    audio_16k|audio_50k|audio_25k/sN/ID.wav|flac (else the sound inside the video is taken), word times as
    alignments/sN/ID.align (else the sentence is spelled from the ID, without times), and split lists as
    splits/sN_train.txt, sN_val.txt, sN_test.txt: one ID a line.

    Args:
        data_dir: The corpus's folder.
        speakers: Names such as ("s1", "s4"); default: every sN folder that holds videos.
        split_dir: The folder of the split lists; default: `data_dir`/splits where it exists. Without any list
            each speaker's clips are shuffled with `seed` and cut 90 / 5 / 5 into train, val and test.
        seed: Of that shuffle.

    Raises:
        DatasetError: No speaker, no clip or no list is where it should be.
    """

    name = "grid"

    def __init__(
        self,
        data_dir: str | Path,
        *,
        speakers: Iterable[str] | None = None,
        split_dir: str | Path | None = None,
        seed: int = 0,
    ):
        self.data_dir = _existing_folder(data_dir, "the GRID corpus (s1/*.mpg, alignments/s1/*.align, ...)")
        lists = self.data_dir / "splits" if split_dir is None else Path(split_dir)
        if split_dir is not None and not lists.is_dir():
            raise DatasetError(
                f"split_dir={lists} is not a folder; expected lists such as s1_train.txt in it."
            )
        self.speakers = self._find_speakers(speakers)
        self.clips: list[Clip] = []
        for speaker in self.speakers:
            videos = {path.stem: path for path in _videos(self.data_dir / speaker, recursive=False)}
            splits = _read_split_lists(lists, speaker) if lists.is_dir() else _random_splits(videos, seed)
            for split, ids in splits.items():
                if not videos.keys() & set(ids):
                    raise DatasetError(
                        f"None of the {len(ids)} clips of {speaker}'s {split} list ({', '.join(ids[:3])}, "
                        f"...) is in {self.data_dir / speaker}, which holds {', '.join(sorted(videos)[:3])}, "
                        "... Unpack the videos there, or point split_dir to lists of these videos' names."
                    )
                # A listed video that is missing stays in: its preparation fails and the report names it.
                self.clips += [self._clip(speaker, clip, split, videos.get(clip)) for clip in ids]
        self.clips.sort(key=lambda clip: clip.id)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def _find_speakers(self, wanted: Iterable[str] | None) -> list[str]:
        folders = [
            path for path in self.data_dir.iterdir() if re.fullmatch(r"s\d+", path.name) and path.is_dir()
        ]
        found = sorted(
            (path.name for path in folders if any(_videos(path, recursive=False))), key=_speaker_number
        )
        names = found if wanted is None else list(wanted)
        missing = [name for name in names if name not in found]
        if missing or not names:
            held = ", ".join(sorted(path.name for path in self.data_dir.iterdir())[:12]) or "nothing"
            raise DatasetError(
                f"{self.data_dir} holds {held}; expected one folder of videos a speaker "
                f"({'s1/, s2/, ...' if not missing else ', '.join(f'{name}/' for name in missing)}), as in "
                "s1/bbaf2n.mpg. Give the folder that holds the speakers' folders."
            )
        return names

    def _clip(self, speaker: str, clip: str, split: str, video: Path | None) -> Clip:
        folders = (self.data_dir / folder / speaker for folder in GRID_SOUND_FOLDERS)
        sounds = (folder / f"{clip}{suffix}" for folder in folders for suffix in (".flac", ".wav"))
        alignment = self.data_dir / "alignments" / speaker / f"{clip}.align"
        words = read_grid_alignment(alignment) if alignment.is_file() else ()
        return Clip(
            id=f"{speaker}/{clip}",
            video=video or self.data_dir / speaker / f"{clip}.mpg",
            audio=next((sound for sound in sounds if sound.is_file()), None),
            speaker=speaker,
            split=split,
            text=" ".join(word.word for word in words) or spell_grid_id(clip),
            words=words,
        )


class FaceVideoFolder:
    """Any folder of talking-face videos with sound: a user's own data.

    Videos are looked for in `data_dir` and all folders below it; a clip's ID is its path in `data_dir`
    without the suffix. A .txt file of the same name beside a video is its transcript.

    Args:
        data_dir: The folder.
        speaker: Who speaks in all of them; default: the name of the first folder below `data_dir` (below its
            train/, val/ or test/ where these exist), or that of `data_dir` for videos directly in it.
        validation_fraction: Part of the clips (at least one of two or more) that becomes "val", the rest
            being "train". Unused where `data_dir` holds train/ and val/ folders: these then are the splits.
            Clips cut out of one recording are alike, so give them such folders rather than a random split.
        seed: Of the draw, which depends on it and on the IDs only.

    Raises:
        DatasetError: No video, two videos with one ID, or videos outside the train/ and val/ folders.
    """

    name = "folder"

    def __init__(
        self,
        data_dir: str | Path,
        *,
        speaker: str | None = None,
        validation_fraction: float = 0.05,
        seed: int = 0,
    ):
        if not 0 <= validation_fraction < 1:
            raise DatasetError(
                f"validation_fraction={validation_fraction}; expected at least 0 and less than 1."
            )
        self.data_dir = _existing_folder(data_dir, "a folder of talking-face videos")
        videos: dict[str, Path] = {}
        for path in _videos(self.data_dir, recursive=True):
            clip = path.relative_to(self.data_dir).with_suffix("").as_posix()
            if clip in videos:
                raise DatasetError(
                    f"{videos[clip].name} and {path.name} in {path.parent} are two videos of one name; "
                    "expected one a name, since the prepared files are called after it. Rename or remove one."
                )
            videos[clip] = path
        if not videos:
            raise DatasetError(
                f"No video in {self.data_dir} or below; expected files ending in {', '.join(VIDEO_SUFFIXES)}."
            )
        splits = self._splits(videos, validation_fraction, seed)
        self.clips = [self._clip(clip, path, splits[clip], speaker) for clip, path in sorted(videos.items())]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def _splits(self, videos: dict[str, Path], fraction: float, seed: int) -> dict[str, str]:
        tops = {clip: clip.split("/")[0] if "/" in clip else "" for clip in videos}
        self.has_split_folders = "train" in tops.values()
        if self.has_split_folders:
            outside = [clip for clip, top in tops.items() if top not in SPLIT_FOLDERS]
            if outside:
                raise DatasetError(
                    f"{self.data_dir} holds a train/ folder, but {len(outside)} videos lie outside train/, "
                    f"val/ and test/ ({', '.join(sorted(outside)[:3])}). Move them into one of these, or "
                    "rename train/."
                )
            return {clip: SPLIT_FOLDERS[top] for clip, top in tops.items()}
        count = max(1, round(fraction * len(videos))) if fraction and len(videos) > 1 else 0
        held_out = set(_shuffled(videos, seed)[:count])
        return {clip: "val" if clip in held_out else "train" for clip in videos}

    def _clip(self, clip: str, video: Path, split: str, speaker: str | None) -> Clip:
        folders = clip.split("/")[1 if self.has_split_folders else 0 : -1]
        transcript = video.with_suffix(".txt")
        return Clip(
            id=clip,
            video=video,
            audio=None,
            speaker=speaker or (folders[0] if folders else self.data_dir.resolve().name),
            split=split,
            text=" ".join(transcript.read_text(encoding="utf-8").split()) if transcript.is_file() else "",
        )


def _existing_folder(path: str | Path, what: str) -> Path:
    if not Path(path).is_dir():
        raise DatasetError(f"{path} is not a folder; expected {what}. Check the path.")
    return Path(path)


def _videos(folder: Path, *, recursive: bool) -> Iterator[Path]:
    for path in sorted(folder.rglob("*") if recursive else folder.glob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file():
            yield path


def _speaker_number(name: str) -> int:
    return int(name[1:])


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    # By a hash and not by a random generator: one new clip then changes the split of hardly any other.
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest())


def _random_splits(names: Iterable[str], seed: int) -> dict[str, list[str]]:
    order = _shuffled(names, seed)
    held_out = len(order) // 20
    splits = {"val": order[:held_out], "test": order[held_out : 2 * held_out], "train": order[2 * held_out :]}
    return {split: sorted(ids) for split, ids in splits.items() if ids}


def _read_split_lists(folder: Path, speaker: str) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = folder / f"{speaker}_{split}.txt"
        if not path.is_file():
            continue
        splits[split] = [Path(line.strip()).stem for line in path.read_text().splitlines() if line.strip()]
        for clip in splits[split]:
            if clip in seen:
                raise DatasetError(
                    f"{clip} is listed twice, in {speaker}_{seen[clip]}.txt and in {path.name} of {folder}; "
                    "expected each clip once. Remove it from one of them."
                )
            seen[clip] = split
    if not any(splits.values()):
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        raise DatasetError(
            f"{folder} has no list of {speaker}'s clips; expected {speaker}_train.txt and {speaker}_val.txt "
            f"with one ID a line, found {held}. Add the lists, or choose other speakers."
        )
    return {split: ids for split, ids in splits.items() if ids}
