"""The card (README.md) of a converted checkpoint: its sources, its terms, what was left out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cards import converted_card
from .recognise import Kind, PublishedFile

_LIP2SPEECH = (
    'Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023 '
    "([arXiv 2305.19603](https://arxiv.org/abs/2305.19603))",
    "https://github.com/choijeongsoo/lip2speech-unit",
)
_AVHUBERT = (
    'Shi, Hsu, Lakhotia, Mohamed, "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster '
    'Prediction", ICLR 2022 ([arXiv 2201.02184](https://arxiv.org/abs/2201.02184))',
    "https://github.com/facebookresearch/av_hubert",
)
_SOURCES = {
    Kind.LIP2SPEECH: (_LIP2SPEECH,),
    Kind.LIP2SPEECH_AVHUBERT: (_LIP2SPEECH, _AVHUBERT),
    Kind.VOCODER: (_LIP2SPEECH,),
    Kind.AVHUBERT: (_AVHUBERT,),
}


@dataclass(frozen=True)
class Part:
    """What a card says of one checkpoint: its kind, the file, and what happened to its tensors."""

    kind: Kind
    file: str
    tensors: str

    @classmethod
    def of_file(cls, file: PublishedFile, dropped: Sequence[str]) -> "Part":
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        size = f"{file.path.stat().st_size:,} bytes, SHA-256 {digest}"
        names = ", ".join(f"`{name}`" for name in dropped)
        left_out = f"; dropped, because only pre-training needs them: {names}" if dropped else ""
        used = f"{len(file.tensors) - len(dropped)} of {len(file.tensors)} tensors used"
        name = file.path.name
        return cls(file.kind, f"{name} ({size}): {file.kind.value}", f"{name}: {used}{left_out}")

    @classmethod
    def of_folder(cls, path: str | Path, kind: Kind) -> "Part":
        name = Path(path).name
        return cls(kind, f"{name}, converted before: {kind.value}", f"{name}: see its own card")


def model_card(part: Part, model_class: str) -> str:
    """The card of one converted checkpoint, which `model_class.from_pretrained` loads."""
    return _card(part.kind.value, [part], model_class=model_class)


def composite_card(parts: Sequence[Part], has_voice: bool) -> str:
    """The card of a lip-to-speech model with a vocoder, which the pipeline loads."""
    return _card("multi-target lip-to-speech model with vocoder", parts, has_voice=has_voice)


def _card(title: str, parts: Sequence[Part], **options) -> str:
    papers = list(dict.fromkeys(source for part in parts for source in _SOURCES[part.kind]))
    return converted_card(title[:1].upper() + title[1:], papers, parts, **options)
