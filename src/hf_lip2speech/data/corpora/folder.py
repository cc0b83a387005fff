"""A user's own videos as a corpus."""

from pathlib import Path

from ...errors import DatasetError
from .clip import VIDEO_SUFFIXES, Clip, ListedCorpus, existing_folder, read_text, shuffled, some, videos_in

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class FaceVideoFolder(ListedCorpus):
    """Any folder of talking-face videos with sound: a user's own data.

    Videos are found in `data_dir` and all folders below it; a clip's ID is its path in `data_dir`
    without the suffix. A .txt file of the same name beside a video is its transcript.

    Args:
        data_dir: The folder.
        speaker: Who speaks in all of them; default: the name of the first folder below `data_dir` (below its
            train/, val/ or test/ where these exist), or that of `data_dir` for videos directly in it.
        validation_fraction: Part of the clips (at least one of two or more) that becomes "val", the rest
            being "train". Unused where `data_dir` holds train/ and val/ folders, which are the splits then.
            Clips cut out of one recording are alike: give them such folders rather than a random split.
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
            raise DatasetError(f"validation_fraction={validation_fraction}; expected 0 to less than 1.")
        layout = "It may hold one folder per speaker."
        self.data_dir = existing_folder(data_dir, "a user's talking-face videos", layout)
        self.speaker = speaker
        self._videos: dict[str, Path] = {}
        for path in videos_in(self.data_dir, recursive=True):
            clip = path.relative_to(self.data_dir).with_suffix("").as_posix()
            if clip in self._videos:
                raise DatasetError(
                    f"{self._videos[clip].name} and {path.name} in {path.parent} are two videos of one name, "
                    "which prepared files cannot share. Rename or remove one."
                )
            self._videos[clip] = path
        if not self._videos:
            raise DatasetError(
                f"No video in {self.data_dir} or below; expected files ending in {', '.join(VIDEO_SUFFIXES)}."
            )
        self.splits = dict(sorted(self._split(validation_fraction, seed).items()))
        self.draw_seed = None if self.has_split_folders else seed

    def clip(self, clip_id: str) -> Clip:
        video, transcript = self.files(clip_id)
        folders = clip_id.split("/")[1 if self.has_split_folders else 0 : -1]
        text, problem = "", ""
        try:
            text = " ".join(read_text(transcript).split()) if transcript.is_file() else ""
        except DatasetError as error:
            problem = str(error)
        speaker = self.speaker or (folders[0] if folders else self.data_dir.resolve().name)
        return Clip(clip_id, video, None, speaker, self.splits[clip_id], text, problem=problem)

    def files(self, clip_id: str) -> list[Path]:
        video = self._videos[clip_id]
        return [video, video.with_suffix(".txt")]

    def _split(self, fraction: float, seed: int) -> dict[str, str]:
        tops = {clip: clip.split("/")[0] if "/" in clip else "" for clip in self._videos}
        self.has_split_folders = "train" in tops.values()
        if self.has_split_folders:
            outside = [clip for clip, top in tops.items() if top not in SPLIT_FOLDERS]
            if outside:
                raise DatasetError(
                    f"{self.data_dir} holds train/, but {len(outside)} videos are outside train/, val/ and "
                    f"test/ ({some(sorted(outside))}). Move them into one of these, or rename train/."
                )
            return {clip: SPLIT_FOLDERS[top] for clip, top in tops.items()}
        count = max(1, round(fraction * len(tops))) if fraction and len(tops) > 1 else 0
        held_out = set(shuffled(tops, seed)[:count])
        return {clip: "val" if clip in held_out else "train" for clip in tops}
