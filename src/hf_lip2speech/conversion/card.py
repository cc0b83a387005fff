"""The card (README.md) of a converted checkpoint: its source, its terms, what was left out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .recognise import Kind, PublishedFile

_LIP2SPEECH = (
    'Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023 '
    "([arXiv 2305.19603](https://arxiv.org/abs/2305.19603))"
)
_AVHUBERT = (
    'Shi, Hsu, Lakhotia, Mohamed, "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster '
    'Prediction", ICLR 2022 ([arXiv 2201.02184](https://arxiv.org/abs/2201.02184))'
)
_PAPERS = {
    Kind.LIP2SPEECH: (_LIP2SPEECH,),
    Kind.LIP2SPEECH_AVHUBERT: (_LIP2SPEECH, _AVHUBERT),
    Kind.VOCODER: (_LIP2SPEECH,),
    Kind.AVHUBERT: (_AVHUBERT,),
}
_CODE = {
    _LIP2SPEECH: "https://github.com/choijeongsoo/lip2speech-unit",
    _AVHUBERT: "https://github.com/facebookresearch/av_hubert",
}
_SPEAK = """import hf_lip2speech
from transformers import pipeline

speak = pipeline("lip-to-speech", model="THIS FOLDER")
speech = speak("silent.mp4"{voice})"""
_LOAD = """from hf_lip2speech import {name}

model = {name}.from_pretrained("THIS FOLDER")"""

_TEMPLATE = """---
library_name: transformers
license: other
license_name: non-commercial
license_link: {link}
tags:
- lip-to-speech
- video-to-speech
---

# {title}

Converted by hf-lip2speech from a published checkpoint; nothing was trained.

```python
{usage}
```

## Source

{sources}

{files}

## Licence

The authors distribute these weights for non-commercial use only, under the terms found at {links}.
Converting changed the format, not the terms: whoever uses or passes on these files is bound by them.
That the code of hf-lip2speech is under Apache-2.0 says nothing about these weights.

## What was converted

{converted}

## Limits

Speech from a silent face is a guess: not evidence of what was said. Ask the people whose face or voice
it is, and say that the speech is synthetic wherever it is played.
"""


@dataclass(frozen=True)
class Part:
    """What a card tells of one checkpoint: its kind, the file, and what became of its tensors."""

    kind: Kind
    file: str
    tensors: str

    @classmethod
    def of_file(cls, file: PublishedFile, dropped: Sequence[str]) -> "Part":
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        size = f"{file.path.stat().st_size:,} bytes, SHA-256 {digest}"
        names = ", ".join(f"`{name}`" for name in dropped)
        left_out = f"; knowingly dropped, since only its pre-training needs them: {names}" if dropped else ""
        used = f"{len(file.tensors) - len(dropped)} of {len(file.tensors)} tensors used"
        name = file.path.name
        return cls(file.kind, f"{name} ({size}): {file.kind.value}", f"{name}: {used}{left_out}")

    @classmethod
    def of_folder(cls, path: str | Path, kind: Kind) -> "Part":
        name = Path(path).name
        return cls(kind, f"{name}, converted before: {kind.value}", f"{name}: see its own card")


def model_card(part: Part, model_class: str) -> str:
    """The card of one converted checkpoint, which `model_class.from_pretrained` loads."""
    return _card(part.kind.value, _LOAD.format(name=model_class), [part])


def composite_card(parts: Sequence[Part], has_voice: bool) -> str:
    """The card of a lip-to-speech model with a vocoder, which the pipeline loads."""
    usage = _SPEAK.format(voice="" if has_voice else ', speaker="voice.wav"')
    return _card("multi-target lip-to-speech model with vocoder", usage, parts)


def _card(title: str, usage: str, parts: Sequence[Part]) -> str:
    papers = list(dict.fromkeys(paper for part in parts for paper in _PAPERS[part.kind]))
    return _TEMPLATE.format(
        link=_CODE[papers[0]],
        title=title[:1].upper() + title[1:],
        usage=usage,
        sources="\n".join(f"- {paper}; code and weights: {_CODE[paper]}" for paper in papers),
        files="\n".join(f"- {part.file}" for part in parts),
        links=" and ".join(_CODE[paper] for paper in papers),
        converted="\n".join(f"- {part.tensors}" for part in parts),
    )
