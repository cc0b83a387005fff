"""The rendered talkers as a corpus: reads a folder that `render` wrote."""

from collections.abc import Iterable
from pathlib import Path

from ..data.corpora import Clip, ListedCorpus, read_grid_alignment
from ..data.corpora.clip import contents, existing_folder
from ..errors import DatasetError
from .layout import SPLITS, RenderedFolder

LAYOUT = "Make it with `hf-lip2speech render FOLDER --clips 800`."


class RenderedTalker(ListedCorpus):
    """Drawn faces that speak GRID's sentences with flite's voices; see `render`.

    The talkers "awb", "kal", "rms" and "slt" are the people whose voices flite brings. No sentence comes
    twice, so those of val and test are unseen in training.

    Args:
        data_dir: The folder that `render` wrote.
        speakers: Only these talkers; default: all.

    Raises:
        DatasetError: It holds no rendered clips, not all that it should, or none of a talker.
    """

    name = "rendered"

    def __init__(self, data_dir: str | Path, *, speakers: Iterable[str] | None = None):
        self.data_dir = existing_folder(data_dir, "rendered talkers", LAYOUT)
        self._folder = RenderedFolder(self.data_dir)
        splits = {clip_id: split for split in SPLITS for clip_id in self._folder.read_list(split)}
        if not splits:
            raise DatasetError(
                f"{self.data_dir} holds {contents(self.data_dir)}; expected the lists splits/train.txt, "
                f"val.txt and test.txt, which are written when all clips are there. {LAYOUT} The same "
                "command goes on where it was interrupted."
            )
        found = sorted({_talker(clip_id) for clip_id in splits})
        wanted = found if speakers is None else list(speakers)
        if missing := [speaker for speaker in wanted if speaker not in found]:
            raise DatasetError(
                f"{self.data_dir} has no clip of {', '.join(missing)}; expected some of {', '.join(found)}."
            )
        self.splits = {
            clip_id: split for clip_id, split in sorted(splits.items()) if _talker(clip_id) in wanted
        }

    def clip(self, clip_id: str) -> Clip:
        video, audio, alignment = self.files(clip_id)
        words = read_grid_alignment(alignment)
        return Clip(
            id=clip_id,
            video=video,
            audio=audio,
            speaker=_talker(clip_id),
            split=self.splits[clip_id],
            text=" ".join(word.word for word in words),
            words=words,
        )

    def files(self, clip_id: str) -> list[Path]:
        return self._folder.files(clip_id)


def _talker(clip_id: str) -> str:
    return clip_id.split("/")[0]
