"""GRID: six-word sentences, spoken by 33 people whose video was published.

Cooke, Barker, Cunningham and Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", JASA 2006. docs/data.md lists the sources of layout and splits.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import DatasetError
from .clip import (
    Clip,
    ListedCorpus,
    Word,
    contents,
    existing_folder,
    read_text,
    shuffled,
    some,
    videos_in,
    warn_of_ignored,
)

LAYOUT = (
    "GRID is free for research from its authors, https://zenodo.org/records/3625687 (s1.zip to s34.zip and "
    "alignments.zip). The folder must hold s1/bbaf2n.mpg, ..., s2/..., and for the word times "
    "alignments/s1/bbaf2n.align, ..."
)
CLOCK = 25_000  # ticks per second of the times in GRID's alignments
SILENCES = ("sil", "sp")
# Not audio_25k, which the corpus ships as well: its recordings are cut to the speech and so are not in sync
# with the video.
SOUND_FOLDERS = ("audio_16k", "audio_50k")
GRID_SENTENCE = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},  # GRID says no "w": its name is too long
    dict(zip("z123456789", "zero one two three four five six seven eight nine".split(), strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)
SETTINGS = ("speaker-dependent", "33-speaker", "unseen-speaker")
ALL_SPEAKERS = tuple(f"s{number}" for number in range(1, 35) if number != 21)  # no video of s21 was published
UNSEEN = {
    "val": ("s9", "s20", "s23", "s27", "s29", "s30", "s34"),
    "test": ("s2", "s4", "s11", "s13", "s15", "s18", "s19", "s25", "s31", "s33"),
}


def spell_grid_id(clip_id: str) -> str:
    """The sentence of a GRID clip's name: "bbaf2n" -> "bin blue at f two now"; other names -> ""."""
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
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if match is None:
            raise DatasetError(
                f"{path}, line {number} is {line!r}; expected 'start end word', times in 1/{CLOCK} s. "
                "Put the corpus's own file there, or none."
            )
        start, end, word = match.groups()
        if word.lower() not in SILENCES:
            words.append(Word(word, int(start) / CLOCK, int(end) / CLOCK))
    return tuple(words)


class GRID(ListedCorpus):
    """The GRID corpus, as its authors distribute it or with its videos re-encoded and its sound beside.

    Expected in `data_dir`: videos sN/ID.mpg (or any other container), and where present sound beside them as
    audio_16k|audio_50k/sN/ID.wav|flac (else the sound inside the video is taken), word times as
    alignments/sN/ID.align (else the sentence is spelled from the ID, without times), and split lists as
    splits/sN_train.txt, sN_val.txt, sN_test.txt: one ID per line.

    Args:
        data_dir: The corpus's folder.
        setting: Which clips are train, val and test. "speaker-dependent": each speaker's clips are cut in
            three, by the lists, or without them 90 / 5 / 5 after a shuffle with `seed`. "33-speaker": the
            same for all 33 speakers together, none of whom may be missing. "unseen-speaker": each speaker
            is in one split, as in the lists of VCA-GAN (16 / 7 / 10).
        speakers: Names such as ("s1", "s4"); default: every sN folder that holds videos.
        split_dir: The folder of the split lists; default: `data_dir`/splits where it exists.
        seed: Of the shuffle.

    Raises:
        DatasetError: No speaker, no clip or no list is where it should be, or the arguments contradict.
    """

    name = "grid"

    def __init__(
        self,
        data_dir: str | Path | None,
        *,
        setting: str = "speaker-dependent",
        speakers: Iterable[str] | None = None,
        split_dir: str | Path | None = None,
        seed: int = 0,
    ):
        self.data_dir = existing_folder(data_dir, "GRID", LAYOUT)
        if setting not in SETTINGS:
            raise DatasetError(f"setting={setting!r}; expected one of {', '.join(SETTINGS)}.")
        if setting == "33-speaker":
            if speakers is not None:
                raise DatasetError("setting='33-speaker' takes all speakers; leave speakers= out.")
            speakers = ALL_SPEAKERS
        if setting == "unseen-speaker" and split_dir is not None:
            raise DatasetError(
                "setting='unseen-speaker' splits by speakers; expected one or the other of it and split_dir=."
            )
        lists = self.data_dir / "splits" if split_dir is None else Path(split_dir)
        if split_dir is not None and not lists.is_dir():
            raise DatasetError(f"split_dir={lists} is not a folder; expected s1_train.txt and so on.")
        self.speakers = self._find_speakers(speakers)
        self.draw_seed = None if setting == "unseen-speaker" or lists.is_dir() else seed
        self._videos: dict[str, Path] = {}
        self.splits = {}
        ignored: list[Path] = []
        for speaker in self.speakers:
            paths = list(videos_in(self.data_dir / speaker, recursive=False))
            videos = {path.stem: path for path in paths if spell_grid_id(path.stem)}
            ignored += [path.relative_to(self.data_dir) for path in paths if path.stem not in videos]
            if not videos:
                raise DatasetError(
                    f"None of the {len(paths)} videos in {paths[0].parent} has a GRID name. {LAYOUT}"
                )
            if setting == "unseen-speaker":
                split = next((split for split, names in UNSEEN.items() if speaker in names), "train")
                splits = {split: sorted(videos)}
            else:
                splits = _read_split_lists(lists, speaker) if lists.is_dir() else _random_splits(videos, seed)
            for split, ids in splits.items():
                if not videos.keys() & set(ids):
                    raise DatasetError(
                        f"None of the {len(ids)} clips of {speaker}'s {split} list ({some(ids)}) is in "
                        f"{self.data_dir / speaker}, which holds {some(sorted(videos))}. Unpack the videos "
                        "there, or point split_dir to lists of these videos' names."
                    )
                # A listed video that is missing is kept: its preparation fails and the report names it.
                self.splits |= {f"{speaker}/{clip}": split for clip in ids}
            self._videos |= {f"{speaker}/{name}": path for name, path in videos.items()}
        self.splits = dict(sorted(self.splits.items()))
        warn_of_ignored(ignored, "bbaf2n.mpg")

    def clip(self, clip_id: str) -> Clip:
        video, alignment, *sounds = self.files(clip_id)
        speaker, name = clip_id.split("/")
        words, problem = (), ""
        try:
            words = read_grid_alignment(alignment) if alignment.is_file() else ()
        except DatasetError as error:
            problem = str(error)
        text = " ".join(word.word for word in words) or spell_grid_id(name)
        sound = next((sound for sound in sounds if sound.is_file()), None)
        return Clip(clip_id, video, sound, speaker, self.splits[clip_id], text, words, problem)

    def files(self, clip_id: str) -> list[Path]:
        video = self._videos.get(clip_id, self.data_dir / f"{clip_id}.mpg")
        sounds = [f"{folder}/{clip_id}.{suffix}" for folder in SOUND_FOLDERS for suffix in ("flac", "wav")]
        return [video, *(self.data_dir / name for name in (f"alignments/{clip_id}.align", *sounds))]

    def drawn_from(self, clip_id: str) -> str:
        return clip_id.split("/")[0]

    def _find_speakers(self, wanted: Iterable[str] | None) -> list[str]:
        folders = [path for path in self.data_dir.iterdir() if re.fullmatch(r"s\d+", path.name)]
        found = [path.name for path in folders if path.is_dir() and any(videos_in(path, recursive=False))]
        names = sorted(found, key=lambda name: int(name[1:])) if wanted is None else list(wanted)
        missing = [name for name in names if name not in found]
        if missing or not names:
            expected = ", ".join(f"{name}/" for name in missing) or "s1/, s2/, ..."
            raise DatasetError(
                f"{self.data_dir} holds {contents(self.data_dir)}; expected one folder of videos per speaker "
                f"({expected}), as in s1/bbaf2n.mpg. {LAYOUT}"
            )
        return names


def _random_splits(names: Iterable[str], seed: int) -> dict[str, list[str]]:
    order = shuffled(names, seed)
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
        splits[split] = [Path(line.strip()).stem for line in read_text(path).splitlines() if line.strip()]
        for clip in splits[split]:
            if clip in seen:
                raise DatasetError(
                    f"{clip} is listed twice, in {speaker}_{seen[clip]}.txt and in {path.name} of {folder}; "
                    "expected each clip once."
                )
            seen[clip] = split
    if not any(splits.values()):
        raise DatasetError(
            f"{folder} has no list of {speaker}'s clips; expected {speaker}_train.txt and {speaker}_val.txt "
            f"with one ID per line, found {contents(folder)}. Add the lists, or choose other speakers."
        )
    return {split: ids for split, ids in splits.items() if ids}
