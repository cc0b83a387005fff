"""LRS2-BBC: sentences from British television.

Afouras, Chung, Senior, Vinyals and Zisserman, "Deep Audio-Visual Speech Recognition", TPAMI 2018
(arXiv 1809.02108). docs/data.md says from where the layout is known.
"""

from pathlib import Path

from ...errors import DatasetError
from .clip import Clip, ListedCorpus, contents, existing_folder, read_text
from .lrs_transcript import read_lrs_transcript

LAYOUT = (
    "BBC Research & Development grants access to LRS2 for non-commercial research, under an agreement that "
    "your institution signs (https://www.bbc.co.uk/rd/projects/lip-reading-datasets); the archives and lists "
    "then come from https://www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs2.html. The folder must hold "
    "mvlrs_v1/main/NUMBER/00001.mp4 and 00001.txt, mvlrs_v1/pretrain/NUMBER/00001.mp4 and 00001.txt, and the "
    "lists train.txt, val.txt, test.txt and pretrain.txt, one NUMBER/00001 a line."
)
CONFIGURATIONS = {"224h": ("pretrain", "train"), "29h": ("train",), "pretrain": ("pretrain",)}


class LRS2(ListedCorpus):
    """LRS2-BBC as its owners ship it, split by their list files.

    IDs are pretrain/NUMBER/00001 and main/NUMBER/00001. LRS2 names no speakers: NUMBER, one broadcast, stands
    in for one. Words have times in pretrain clips only. A listed clip whose files are missing stays in.

    Args:
        data_dir: The folder that holds mvlrs_v1/ and the lists, or mvlrs_v1 itself with the lists in it.
        configuration: What "train" is: "224h", the lists pretrain and train; "29h", train alone; "pretrain",
            pretrain alone. "val" and "test" are the lists of these names in each.

    Raises:
        DatasetError: No such folder or configuration, a list or the videos' folder is missing, or a clip is
            in two lists.
    """

    name = "lrs2"
    names_speakers = False

    def __init__(self, data_dir: str | Path | None, *, configuration: str = "224h"):
        self.data_dir = existing_folder(data_dir, "LRS2", LAYOUT)
        if configuration not in CONFIGURATIONS:
            raise DatasetError(f"configuration={configuration!r}; expected one of {sorted(CONFIGURATIONS)}.")
        self.configuration = configuration
        inner = self.data_dir / "mvlrs_v1"
        self.root = inner if inner.is_dir() else self.data_dir
        splits: dict[str, str] = {}
        for name in (*CONFIGURATIONS[configuration], "val", "test"):
            split = name if name in ("val", "test") else "train"
            for clip in self._read_list(name):
                if clip in splits:
                    raise DatasetError(f"{name}.txt of {data_dir} lists {clip}, which another list has too.")
                splits[clip] = split
        self.splits = dict(sorted(splits.items()))

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
        return [self.root / f"{clip_id}.mp4", self.root / f"{clip_id}.txt"]

    def _read_list(self, name: str) -> list[str]:
        folder = "pretrain" if name == "pretrain" else "main"
        paths = [place / f"{name}.txt" for place in (self.data_dir, self.root)]
        path = next((path for path in paths if path.is_file()), None)
        if path is None or not (self.root / folder).is_dir():
            missing = f"{name}.txt" if path is None else f"{folder}/"
            raise DatasetError(
                f"{self.data_dir} has no {missing}, it holds {contents(self.data_dir)}. {LAYOUT}"
            )
        # A line of test.txt has a second column, NF or MV.
        ids = [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        return [f"{folder}/{clip.removesuffix('.mp4')}" for clip in ids]
