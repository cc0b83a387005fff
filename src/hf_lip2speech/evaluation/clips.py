"""What is evaluated: a split of a corpus folder, whose kind its layout tells.

And presets of how it is judged, so that a table is comparable with another one.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..data.corpora import GRID, LRS2, LRS3, Clip, FaceVideoFolder, ListedCorpus
from ..data.corpora.clip import file_signature
from ..data.layout import PreparedFolder
from ..errors import DatasetError, Lip2SpeechError
from ..synthetic import RenderedTalker

TITLES = {"grid": "GRID", "lrs2": "LRS2", "lrs3": "LRS3", "rendered": "rendered speakers"}
PREFERRED_SPLITS = ("test", "val")  # the default split: the first of these that the corpus has


@dataclass(frozen=True)
class EvaluationSet:
    """Clips to evaluate on.

    Attributes:
        corpus: "grid", "folder", ... or "prepared".
        name: Its name in tables.
        clips: Sorted by ID. In a prepared folder a clip's video holds its mouth crops.
        unit_extractor: Folder of the extractor that made a prepared folder's units.
    """

    corpus: str
    name: str
    path: Path
    split: str
    clips: tuple[Clip, ...]
    unit_extractor: Path | None = None

    @property
    def cropped(self) -> bool:
        """Whether the videos hold mouth crops instead of whole faces."""
        return self.corpus == "prepared"

    def fingerprint(self) -> str:
        """A hash of the clips, their sentences, and the sizes and times of their files."""
        digest = hashlib.sha256()
        for clip in self.clips:
            digest.update(repr((clip.id, clip.speaker, clip.text, file_signature(clip.files))).encode())
        return digest.hexdigest()


def open_evaluation_set(
    path: str | Path, split: str | None = None, *, limit: int | None = None
) -> EvaluationSet:
    """The clips of a split of a corpus, a prepared folder, or any folder of talking-face videos.

    Args:
        path: The folder; `open_corpus` says how its kind is recognised.
        split: "train", "val" or "test"; None: test where the corpus has it, else val.
        limit: At most this many clips, the first by ID.

    Raises:
        DatasetError: No such folder or split, or the folder does not have the layout of its kind.
    """
    path = Path(path)
    if not path.is_dir():
        raise DatasetError(
            f"{path} is not a folder; expected a corpus, a folder that `hf-lip2speech prepare` wrote, or any "
            "folder of talking-face videos with sound."
        )
    folder, extractor = PreparedFolder(path), None
    if folder.manifest.is_file():
        from ..data.prepared import PreparedDataset  # needs pyarrow, which publishing does not

        corpus, title = "prepared", str(folder.read_report()["corpus"]) if folder.report.is_file() else ""
        extractor = folder.unit_extractor if folder.unit_extractor.is_dir() else None
        clips = {row["id"]: _prepared_clip(path, row) for row in PreparedDataset(path, fields=()).rows}
        splits, read = {clip.id: clip.split for clip in clips.values()}, clips.__getitem__
    else:
        raw = open_corpus(path)
        corpus, title, splits, read = raw.name, raw.name, raw.splits, raw.clip
    present = sorted(set(splits.values()))
    chosen = split or next((name for name in PREFERRED_SPLITS if name in present), present[0])
    if chosen not in present:
        known = ", ".join(present)
        raise DatasetError(f"{path} has no clip in the split {chosen!r}; expected one of {known}.")
    for clip_id in splits:  # files of this name will be written
        if PurePosixPath(clip_id).is_absolute() or ".." in PurePosixPath(clip_id).parts:
            raise DatasetError(f"{path} has a clip {clip_id!r}; expected relative IDs without '..'.")
    ids = sorted(clip_id for clip_id, of in splits.items() if of == chosen)[:limit]
    name = TITLES.get(title, path.resolve().name)
    return EvaluationSet(corpus, name, path, chosen, tuple(map(read, ids)), extractor)


def _prepared_clip(root: Path, row: Mapping[str, Any]) -> Clip:
    return Clip(
        row["id"], root / row["video"], root / row["audio"], row["speaker"], row["split"], row["text"]
    )


def open_corpus(path: Path) -> ListedCorpus:
    """The corpus in a folder, recognised by render.json, mvlrs_v1/, trainval/ and test/, or s1/ and so on;
    anything else is a folder of talking-face videos."""
    if (path / "render.json").is_file():
        return RenderedTalker(path)
    if (path / "mvlrs_v1").is_dir():
        return LRS2(path)
    if (path / "trainval").is_dir() and (path / "test").is_dir():
        return LRS3(path)
    if any(child.is_dir() and re.fullmatch(r"s\d+", child.name) for child in path.iterdir()):
        return GRID(path)
    return FaceVideoFolder(path)


@dataclass(frozen=True)
class Protocol:
    """How words and voices are judged.

    `follows` and `differs` say whose table it is, and what is not as there; the others are names for
    `choose_recogniser`, `choose_normaliser`, `XVectorEncoder` (None: the default), and the language that a
    multilingual Whisper is told (None: it guesses).
    """

    follows: str = ""
    differs: str = ""
    recogniser: str | None = None
    normaliser: str | None = None
    speaker_encoder: str | None = None
    language: str | None = None


PROTOCOLS = {
    "grid": Protocol(
        follows="this package's tables of GRID",
        differs="papers on GRID use recognisers trained on it, whose errors are far fewer",
        recogniser="grid",
    ),
    "aligndit": Protocol(
        follows="AlignDiT (arXiv 2504.20629) on LRS3, by its public scoring script",
        differs="there the recogniser may fall back to sampling; the voice is compared with another clip of "
        "the speaker, by the WavLM-Large of UniSpeech, which transformers does not load",
        recogniser="whisper:large-v3",
        speaker_encoder="microsoft/wavlm-base-plus-sv",
    ),
    "whisper": Protocol(
        follows="no single paper: WER by transformers' Whisper large-v3 with its own normaliser, speaker "
        "similarity by WavLM, the two that recent papers name",
        differs="papers seldom name the size of the recogniser, the normaliser or the encoder's weights",
        recogniser="openai/whisper-large-v3",
        normaliser="whisper",
        speaker_encoder="microsoft/wavlm-base-plus-sv",
        language="en",
    ),
}


def find_protocol(name: str | None) -> Protocol:
    """The preset of a name; None: the defaults. A Lip2SpeechError where there is none."""
    if name is not None and name not in PROTOCOLS:
        raise Lip2SpeechError(f"There is no protocol {name!r}: expected one of {', '.join(PROTOCOLS)}.")
    return Protocol() if name is None else PROTOCOLS[name]
