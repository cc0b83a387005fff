"""A user's own videos as a corpus, and what `personalise` asks of them."""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DatasetError, Lip2SpeechError
from ...loading import BUNDLED, json_object
from ...media.decoding import stated_seconds
from ...media.sources import open_container
from ...text.characters import ENGLISH
from .clip import VIDEO_SUFFIXES, Clip, ListedCorpus, existing_folder, read_text, shuffled, some, videos_in

LEAST_SECONDS = 60  # of video with sound
LEAST_VIDEOS = 4  # of which two are kept for validation: shuffling takes two
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


def own_videos(videos: str | Path) -> FaceVideoFolder:
    """The videos, of which 5 % are kept for validation, two at the least."""
    count = len(FaceVideoFolder(videos))
    if count < LEAST_VIDEOS:
        raise DatasetError(
            f"{videos} holds {count} videos; at least {LEAST_VIDEOS} are needed, since two are kept for the "
            "evaluation. Cut long ones into clips of 2 to 20 seconds: ffmpeg -i LONG.mp4 -f segment "
            "-segment_time 15 -reset_timestamps 1 clip_%03d.mp4"
        )
    return FaceVideoFolder(videos, validation_fraction=max(0.05, 2 / count))


def check_transcripts(corpus: FaceVideoFolder) -> None:
    without = [clip.id for clip in corpus if not clip.text]
    if without:
        raise DatasetError(
            f"{len(without)} of {len(corpus)} videos have no transcript ({some(without)}), which a synthetic "
            f"voice needs: write what is said into text files beside the videos, such as {without[0]}.txt."
        )


def stated_length(corpus: FaceVideoFolder, with_sound: bool) -> float:
    """How long the videos are, as the files state; a video that does not is taken to be as long as others."""
    stated, sounding = [], 0
    for clip in corpus.splits:
        path = corpus.files(clip)[0]
        try:
            with open_container(path, str(path)) as container:
                stated.append(stated_seconds(container, path.name))
                sounding += bool(container.streams.audio)
        except Lip2SpeechError:  # the preparation will name it
            stated.append(0)
    known = [float(seconds) for seconds in stated if seconds is not None]
    if with_sound and any(known) and not sounding:
        raise DatasetError(
            f"None of the videos in {corpus.data_dir} has sound. With transcripts beside them, a synthetic "
            "voice can take its place: --synthetic-voice slt."
        )
    total = sum(known) * len(stated) / max(1, len(known))
    if known and total < LEAST_SECONDS:
        raise DatasetError(
            f"The {len(stated)} videos in {corpus.data_dir} are {total:.0f} s long in all: at least "
            f"{LEAST_SECONDS} s are needed, and some minutes for speech that can be understood."
        )
    return total or LEAST_SECONDS


def own_characters(corpus: FaceVideoFolder) -> str | None:
    """The characters of a new text head; None where there is no text, or the bundled model's has them.

    Raises:
        DatasetError: The bundled model has a text head, which lacks a letter of a transcript.
    """
    own: Mapping[str, Any] = json_object(BUNDLED / "config.json")["lip2speech"]
    known = own.get("text_vocabulary")
    characters = set(known or ENGLISH)
    has_text = False
    for clip in corpus:
        text = unicodedata.normalize("NFKC", clip.text).lower()
        has_text = has_text or bool(text)
        letters = {character for character in text if character.isalnum()}
        if known is not None and (new := sorted(letters - {*"".join(known).lower()})):
            raise DatasetError(
                f"The transcript of {clip.id} has {new[0]!r}; the bundled model's text head knows "
                f"{''.join(known)!r}. Write it with these (numbers as words), or remove the text file."
            )
        characters |= letters
    return None if known is not None or not has_text else "".join(sorted(characters))
