"""The manifest layout that the published systems share, as rows of a `PreparedDataset`.

ROOT/label/{train,valid,test}.tsv   a line naming a folder, then one clip per line: ID, video, audio, frames,
                                    samples
ROOT/label/{train,valid,test}.unt   one clip per line, in the same order: its units, 50 per second
ROOT/video/ID.mp4                   mouth crops, 96x96, 25 fps
ROOT/audio/ID.wav                   16 kHz mono
ROOT/mel/ID.npy                     log-mel, float32 (frames, 80)
ROOT/spk_emb/ID.npy                 speaker embedding, float32 (256,)

Sound, units and mel are a few video frames longer: a clip's targets are cut to its T frames.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ..constants import SAMPLES_PER_FRAME, UNITS_PER_FRAME
from ..errors import DatasetError
from .corpora.clip import read_text

LABELS = "label"
SPLITS = {"train": "train", "valid": "val", "test": "test"}


def is_published_layout(root: str | Path) -> bool:
    """Whether `root` holds label/train.tsv or one of the other splits' lists."""
    return any((Path(root) / LABELS / f"{name}.tsv").is_file() for name in SPLITS)


def published_rows(root: str | Path) -> list[dict[str, Any]]:
    """One row per clip, in the order of the lists, as `PreparedDataset.rows` has them.

    Paths are relative to `root`; "units" holds the units themselves, int64 (2T or more,). A clip's T frames
    are those with video, sound and units. A DatasetError where a list does not have that form.
    """
    rows = []
    for name, split in SPLITS.items():
        path = Path(root) / LABELS / f"{name}.tsv"
        if not path.is_file():
            continue
        clips = read_text(path).splitlines()[1:]
        units_path = path.with_suffix(".unt")
        if not units_path.is_file():
            raise DatasetError(f"{units_path} is missing; expected the units of {path.name}, line by line.")
        units = read_text(units_path).splitlines()
        if len(units) != len(clips):
            raise DatasetError(
                f"{units_path} has {len(units)} lines and {path.name} lists {len(clips)} clips. Take both "
                "from the same release."
            )
        rows += [_row(path, split, *pair) for pair in zip(clips, units, strict=True)]
    return rows


def _row(path: Path, split: str, clip: str, units: str) -> dict[str, Any]:
    try:
        name, video, audio, frames, samples = clip.split("\t")
        ids = np.array(units.split(), dtype=np.int64)
        length = min(int(frames), int(samples) // SAMPLES_PER_FRAME, len(ids) // UNITS_PER_FRAME)
        stem = Path(video).relative_to("video").with_suffix(".npy")
    except ValueError as error:
        raise DatasetError(
            f"{path} has the clip {clip!r} with the units {units[:20]!r}...; expected ID, video/ID.mp4, "
            "audio/ID.wav, frames and samples between tabs, and whole numbers as units."
        ) from error
    return {
        "id": name,
        "speaker": Path(name).parent.name,  # the folder of a clip is the talk that it was cut from
        "split": split,
        "text": "",
        "words": [],
        "frames": length,
        "video": video,
        "audio": audio,
        "mel": f"mel/{stem}",
        "units": ids,
        "speaker_embedding": f"spk_emb/{stem}",
    }
