"""LRS3-TED: sentences from TED and TEDx talks.

Afouras, Chung and Zisserman, "LRS3-TED: a large-scale dataset for visual speech recognition", 2018
(arXiv 1809.00496). docs/data.md says from where the layout is known.
"""

import os
import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from ...errors import DatasetError
from .clip import Clip, ListedCorpus, contents, existing_folder, read_text, shuffled, some, warn_of_ignored
from .lrs_transcript import read_lrs_transcript

LAYOUT = (
    "LRS3 belongs to the Visual Geometry Group of the University of Oxford, which granted access for "
    "non-commercial research (https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs3.html; ask them whether "
    "they still do). The folder must hold pretrain/VIDEO/00001.mp4 and 00001.txt, trainval/VIDEO/00001.mp4 "
    "and 00001.txt, test/VIDEO/00001.mp4 and 00001.txt, VIDEO being the talk's YouTube ID."
)
CONFIGURATIONS = {"433h": ("pretrain", "trainval"), "30h": ("trainval",), "pretrain": ("pretrain",)}
FILE_NAME = re.compile(r"(\d+)\.(?:mp4|MP4|txt)")
VALIDATION_CLIPS = 1200
VALIDATION_SHARE = 10  # of a smaller part of the corpus, one clip in so many


class LRS3(ListedCorpus):
    """LRS3-TED as its owners ship it.

    IDs are pretrain/VIDEO/00001, trainval/VIDEO/00001 and test/VIDEO/00001; the speaker is VIDEO, the talk's
    YouTube ID. A clip is there if its .mp4 or its .txt is: one without the other stays in, so that it is
    reported. Files of other names are left out with a warning.

    Args:
        data_dir: The folder that holds pretrain/, trainval/ and test/.
        configuration: What "train" is: "433h", pretrain and trainval without the validation clips; "30h", the
            trainval part of that alone; "pretrain", pretrain alone. "val" and "test" are the same in each.
        valid_ids: The clips of trainval that are "val": the path of a list, one ID a line ("trainval/VIDEO/
            00001" or "VIDEO/00001"), or such IDs. None: 1,200 clips (a tenth of trainval where it has fewer
            than 12,000) drawn with `seed`. This draw is not the list that published systems validate on.
        seed: Of that draw, which depends on it and the IDs only.

    Raises:
        DatasetError: No such folder or configuration, a part of the corpus is missing, or `valid_ids` names
            no clip of trainval.
    """

    name = "lrs3"

    def __init__(
        self,
        data_dir: str | Path | None,
        *,
        configuration: str = "433h",
        valid_ids: str | Path | Iterable[str] | None = None,
        seed: int = 0,
    ):
        self.data_dir = existing_folder(data_dir, "LRS3", LAYOUT)
        if configuration not in CONFIGURATIONS:
            raise DatasetError(f"configuration={configuration!r}; expected one of {sorted(CONFIGURATIONS)}.")
        self.configuration = configuration
        self._videos: dict[str, Path] = {}  # only those that do not lie where they should
        self._ignored: list[Path] = []
        training = CONFIGURATIONS[configuration]
        listed = {part: self._list(part) for part in dict.fromkeys((*training, "trainval", "test"))}
        valid = set(self._validation(listed["trainval"], valid_ids, seed))
        splits = {clip: "train" for part in training for clip in listed[part]}
        splits |= dict.fromkeys(listed["test"], "test") | dict.fromkeys(valid, "val")
        self.splits = dict(sorted(splits.items()))
        warn_of_ignored(self._ignored, "00001.mp4, 00001.txt")

    def clip(self, clip_id: str) -> Clip:
        video, transcript = self.files(clip_id)
        text, words, problem = "", (), ""
        try:
            text, words = read_lrs_transcript(transcript)
        except DatasetError as error:
            problem = str(error)
        speaker = clip_id.split("/")[1]
        return Clip(clip_id, video, None, speaker, self.splits[clip_id], text, words, problem)

    def files(self, clip_id: str) -> list[Path]:
        return [
            self._videos.get(clip_id, self.data_dir / f"{clip_id}.mp4"),
            self.data_dir / f"{clip_id}.txt",
        ]

    def _list(self, part: str) -> list[str]:
        folder = self.data_dir / part
        if not folder.is_dir():
            raise DatasetError(
                f"{self.data_dir} has no {part}/, it holds {contents(self.data_dir)}. {LAYOUT}"
            )
        clips: set[str] = set()
        for video in os.scandir(folder):
            for name in os.listdir(video) if video.is_dir() else [""]:
                match = FILE_NAME.fullmatch(name)
                if match is not None:
                    clip = f"{part}/{video.name}/{match[1]}"
                    clips.add(clip)
                    if name.endswith(".MP4"):
                        self._videos[clip] = folder / video.name / name
                elif not (name or video.name).startswith("."):
                    self._ignored.append(Path(part, video.name, name))
        if not clips:
            raise DatasetError(f"{folder} holds no clips but {contents(folder)}. {LAYOUT}")
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
                raise DatasetError(
                    f"valid_ids={str(valid_ids)!r} is not a file; expected a list of trainval clips, one a "
                    "line, or the IDs themselves."
                )
            lines: Iterable[str] = read_text(path).splitlines()
        else:
            lines = valid_ids
        wanted = dict.fromkeys(_trainval_id(line) for line in lines if line.strip())
        present = set(trainval)
        found = [clip for clip in wanted if clip in present]
        missing = [clip for clip in wanted if clip not in present]
        if not found:
            raise DatasetError(
                f"valid_ids names {len(wanted)} clips ({some(missing) or 'none'}), none of which is in "
                f"{self.data_dir / 'trainval'}; expected IDs such as {trainval[0]}."
            )
        if missing:
            warnings.warn(
                f"{len(missing)} of the {len(wanted)} clips of valid_ids are not in trainval: "
                f"{some(missing)}.",
                stacklevel=3,
            )
        return found


def _trainval_id(line: str) -> str:
    clip = re.sub(r"\.(mp4|txt)$", "", line.split()[0].removeprefix("./"))
    return clip if clip.count("/") > 1 else f"trainval/{clip}"
