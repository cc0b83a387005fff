"""LRS2-BBC, sentences from British television, and LRS3-TED, sentences from TED and TEDx talks.

Afouras, Chung, Senior, Vinyals and Zisserman, "Deep Audio-Visual Speech Recognition", TPAMI 2018 (arXiv
1809.02108); Afouras, Chung and Zisserman, "LRS3-TED: a large-scale dataset for visual speech recognition",
2018 (arXiv 1809.00496). docs/data.md lists the sources of the layouts.
"""

import os
import re
import warnings
from abc import abstractmethod
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
    warn_of_ignored,
)

LRS2_LAYOUT = (
    "BBC Research & Development grants access to LRS2 for non-commercial research, under an agreement that "
    "your institution signs (https://www.bbc.co.uk/rd/projects/lip-reading-datasets); the archives and lists "
    "then come from https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs2.html. The folder must hold "
    "mvlrs_v1/main/NUMBER/00001.mp4 and 00001.txt, mvlrs_v1/pretrain/NUMBER/00001.mp4 and 00001.txt, and the "
    "lists train.txt, val.txt, test.txt and pretrain.txt, one NUMBER/00001 per line."
)
LRS3_LAYOUT = (
    "LRS3 belongs to the Visual Geometry Group of the University of Oxford, which granted access for "
    "non-commercial research (https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs3.html; ask them whether "
    "they still do). The folder must hold pretrain/VIDEO/00001.mp4 and 00001.txt, trainval/VIDEO/00001.mp4 "
    "and 00001.txt, test/VIDEO/00001.mp4 and 00001.txt, VIDEO being the talk's YouTube ID."
)
LRS2_CONFIGURATIONS = {"224h": ("pretrain", "train"), "29h": ("train",), "pretrain": ("pretrain",)}
LRS3_CONFIGURATIONS = {"433h": ("pretrain", "trainval"), "30h": ("trainval",), "pretrain": ("pretrain",)}
LRS3_NAME = re.compile(r"(\d+)\.(?:mp4|MP4|txt)")
VALIDATION_CLIPS = 1200
VALIDATION_SHARE = 10  # of a smaller part of the corpus, one clip in ten
TEXT = "Text:"
WORD_TABLE = ["WORD", "START", "END", "ASDSCORE"]
WORD_LINE = re.compile(r"(\S+)\s+(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)(?:\s+\S+)?")


def read_lrs_transcript(path: Path) -> tuple[str, tuple[Word, ...]]:
    """The transcript of a clip of LRS2 or LRS3, from its .txt file.

    The file's first line is "Text:" and the sentence in capitals; "Conf:" and "Ref:" follow, in LRS3 a table
    of face boxes ("FRAME X Y W H"), and for pretrain clips the table of words: a line "WORD START END
    ASDSCORE", then one line per word, times in seconds from the clip's start. Tables end at an empty line.

    Returns:
        The text; the words with their times, none where the file has no table of them. A DatasetError is
        raised where the file is missing or malformed, or the words are not in the order of time.
    """
    if not path.is_file():
        raise DatasetError(f"{path} is missing, which should hold the clip's text.")
    lines = read_text(path).splitlines()
    if not lines or not lines[0].startswith(TEXT):
        raise DatasetError(f"{path} begins with {lines[0][:40] if lines else ''!r}; expected '{TEXT} ...'.")
    text = " ".join(lines[0].removeprefix(TEXT).split())
    first = next((n for n, line in enumerate(lines, start=1) if line.split() == WORD_TABLE), len(lines))
    words: list[Word] = []
    for number, line in enumerate(lines[first:], start=first + 1):
        if not line.strip():
            break
        match = WORD_LINE.fullmatch(line.strip())
        if match is None:
            raise DatasetError(f"{path}, line {number} is {line[:60]!r}; expected '{' '.join(WORD_TABLE)}'.")
        word = Word(match[1], float(match[2]), float(match[3]))
        if word.end < word.start or (words and word.start < words[-1].start):
            raise DatasetError(f"{path}, line {number}: {line!r} is not after the words before it.")
        words.append(word)
    return text, tuple(words)


class _LRS(ListedCorpus):
    configurations: dict[str, tuple[str, ...]]
    layout: str

    def __init__(self, data_dir: str | Path | None, configuration: str):
        self.data_dir = existing_folder(data_dir, self.name.upper(), self.layout)
        if configuration not in self.configurations:
            raise DatasetError(
                f"configuration={configuration!r}; expected one of {sorted(self.configurations)}."
            )

    def clip(self, clip_id: str) -> Clip:
        video, transcript = self.files(clip_id)
        text, words, problem = "", (), ""
        try:
            text, words = read_lrs_transcript(transcript)
        except DatasetError as error:
            problem = str(error)
        speaker = clip_id.split("/")[1]
        return Clip(clip_id, video, None, speaker, self.splits[clip_id], text, words, problem)

    @abstractmethod
    def files(self, clip_id: str) -> list[Path]: ...


class LRS2(_LRS):
    """LRS2-BBC as its owners ship it, split by their list files.

    IDs are pretrain/NUMBER/00001 and main/NUMBER/00001. LRS2 does not name speakers: NUMBER, one broadcast,
    is taken for one. Words have times in pretrain clips only. A listed clip whose files are missing is kept,
    so that it is reported.

    Args:
        data_dir: The folder that holds mvlrs_v1/ and the lists, or mvlrs_v1 itself with the lists in it.
        configuration: What "train" is: "224h", the lists pretrain and train; "29h", train alone; "pretrain",
            pretrain alone. "val" and "test" are the lists of these names in each.

    Raises:
        DatasetError: No such folder or configuration, a list or the videos' folder is missing, or a clip is
            in two lists.
    """

    name, layout, configurations = "lrs2", LRS2_LAYOUT, LRS2_CONFIGURATIONS
    names_speakers = False

    def __init__(self, data_dir: str | Path | None, *, configuration: str = "224h"):
        super().__init__(data_dir, configuration)
        inner = self.data_dir / "mvlrs_v1"
        self.root = inner if inner.is_dir() else self.data_dir
        splits: dict[str, str] = {}
        for name in (*LRS2_CONFIGURATIONS[configuration], "val", "test"):
            split = name if name in ("val", "test") else "train"
            for clip in self._read_list(name):
                if clip in splits:
                    raise DatasetError(f"{name}.txt of {data_dir} lists {clip}, which another list has too.")
                splits[clip] = split
        self.splits = dict(sorted(splits.items()))

    def files(self, clip_id: str) -> list[Path]:
        return [self.root / f"{clip_id}.mp4", self.root / f"{clip_id}.txt"]

    def _read_list(self, name: str) -> list[str]:
        folder = "pretrain" if name == "pretrain" else "main"
        paths = [place / f"{name}.txt" for place in (self.data_dir, self.root)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None or not (self.root / folder).is_dir():
            missing = f"{name}.txt" if path is None else f"{folder}/"
            raise DatasetError(
                f"{self.data_dir} has no {missing}, it holds {contents(self.data_dir)}. {LRS2_LAYOUT}"
            )
        # A line of test.txt has a second column, NF or MV.
        ids = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        return [f"{folder}/{clip.removesuffix('.mp4')}" for clip in ids]


class LRS3(_LRS):
    """LRS3-TED as its owners ship it.

    IDs are pretrain/VIDEO/00001, trainval/VIDEO/00001 and test/VIDEO/00001; the speaker is VIDEO, the talk's
    YouTube ID. A clip has an .mp4 or a .txt; one without the other is kept, so that it is reported. Files of
    other names are left out with a warning.

    Args:
        data_dir: The folder that holds pretrain/, trainval/ and test/.
        configuration: What "train" is: "433h", pretrain and trainval without the validation clips; "30h", the
            trainval part of that alone; "pretrain", pretrain alone. "val" and "test" are the same in each.
        valid_ids: The clips of trainval that are "val": the path of a list, one ID per line ("trainval/VIDEO/
            00001" or "VIDEO/00001"), or such IDs. None: 1,200 clips (a tenth of trainval where it has fewer
            than 12,000) drawn with `seed`. This draw is not the list that published systems validate on.
        seed: Of that draw, which depends on it and the IDs only.

    Raises:
        DatasetError: No such folder or configuration, a part of the corpus is missing, or `valid_ids` names
            no clip of trainval.
    """

    name, layout, configurations = "lrs3", LRS3_LAYOUT, LRS3_CONFIGURATIONS

    def __init__(
        self,
        data_dir: str | Path | None,
        *,
        configuration: str = "433h",
        valid_ids: str | Path | Iterable[str] | None = None,
        seed: int = 0,
    ):
        super().__init__(data_dir, configuration)
        self._videos: dict[str, Path] = {}  # only those whose suffix is in capitals
        self._ignored: list[Path] = []
        training = LRS3_CONFIGURATIONS[configuration]
        listed = {part: self._list(part) for part in dict.fromkeys((*training, "trainval", "test"))}
        valid = set(self._validation(listed["trainval"], valid_ids, seed))
        splits = {clip: "train" for part in training for clip in listed[part]}
        splits |= dict.fromkeys(listed["test"], "test") | dict.fromkeys(valid, "val")
        self.splits = dict(sorted(splits.items()))
        self.draw_seed = seed if valid_ids is None else None
        warn_of_ignored(self._ignored, "00001.mp4, 00001.txt")

    def files(self, clip_id: str) -> list[Path]:
        video = self._videos.get(clip_id, self.data_dir / f"{clip_id}.mp4")
        return [video, self.data_dir / f"{clip_id}.txt"]

    def drawn_from(self, clip_id: str) -> str:
        return clip_id.split("/")[0]

    def _list(self, part: str) -> list[str]:
        folder = self.data_dir / part
        if not folder.is_dir():
            raise DatasetError(
                f"{self.data_dir} has no {part}/, it holds {contents(self.data_dir)}. {LRS3_LAYOUT}"
            )
        clips: set[str] = set()
        for video in os.scandir(folder):
            for name in os.listdir(video) if video.is_dir() else [""]:
                match = LRS3_NAME.fullmatch(name)
                if match is not None:
                    clip = f"{part}/{video.name}/{match[1]}"
                    clips.add(clip)
                    if name.endswith(".MP4"):
                        self._videos[clip] = folder / video.name / name
                elif not (name or video.name).startswith("."):
                    self._ignored.append(Path(part, video.name, name))
        if not clips:
            raise DatasetError(f"{folder} holds no clips but {contents(folder)}. {LRS3_LAYOUT}")
        return sorted(clips)

    def _validation(
        self, trainval: list[str], valid_ids: str | Path | Iterable[str] | None, seed: int
    ) -> list[str]:
        if valid_ids is None:
            count = min(VALIDATION_CLIPS, max(1, len(trainval) // VALIDATION_SHARE))
            return shuffled(trainval, seed)[:count]
        if isinstance(valid_ids, str | Path):
            path = Path(valid_ids).expanduser()
            if not path.is_file():
                raise DatasetError(f"valid_ids={str(valid_ids)!r} is not a file; expected a list of clips.")
            valid_ids = read_text(path).splitlines()
        wanted = dict.fromkeys(_trainval_id(line) for line in valid_ids if line.strip())
        present = set(trainval)
        found = [clip for clip in wanted if clip in present]
        missing = [clip for clip in wanted if clip not in present]
        if not found:
            raise DatasetError(
                f"valid_ids names {len(wanted)} clips ({some(missing) or 'none'}), none of which is in "
                f"{self.data_dir / 'trainval'}; expected IDs such as {trainval[0]}."
            )
        if missing:
            many = f"{len(missing)} of the {len(wanted)} clips of valid_ids are not in trainval"
            warnings.warn(f"{many}: {some(missing)}.", stacklevel=3)
        return found


def _trainval_id(line: str) -> str:
    clip = re.sub(r"\.(mp4|txt)$", "", line.split()[0].removeprefix("./"))
    return clip if clip.count("/") > 1 else f"trainval/{clip}"
