"""What a preparation will cost, told from a sample of its clips."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..constants import FRAME_RATE, NUM_UNITS, SAMPLING_RATE
from ..models.configuration_speech_units import SpeechUnitExtractorConfig
from ..models.modeling_speech_units import SpeechUnitExtractor
from .clip_files import read_sound
from .corpora import Clip, Corpus
from .corpora.clip import shuffled
from .engines import local_engine
from .layout import PreparedFolder
from .prepare import DEFAULT_UNITS, MAX_SECONDS, list_clips
from .unit_targets import FITTING_SECONDS, needs_fitting

SAMPLE = 24  # clips
BLOCK = 4096  # bytes on the disk, of a clip's units, which the sample does not write


def estimate(
    corpus: Corpus,
    *,
    num_proc: int = 1,
    unit_extractor: str | Path | SpeechUnitExtractor = DEFAULT_UNITS,
    num_units: int = NUM_UNITS,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    max_seconds: float = MAX_SECONDS,
    seed: int = 0,
    sample: int = SAMPLE,
    progress: bool = True,
) -> dict[str, Any]:
    """Prepare a few clips, drawn with `seed`, into a temporary folder, and multiply.

    The arguments are those of `prepare`; clips that are done already are not taken off. The sample is worked
    on by `num_proc` processes at once, so that what they take from each other is in the figures.

    Returns:
        {"clips", "sample": clips tried, "skipped": {reason: how many of them}, "hours": of sound,
        "crop_hours": of one process for all but the units, "crop_error": its standard error, "unit_hours": of
        one process for the units, "device": which they were computed on, "fit_hours": of one process for the
        sound that units are fitted on, 0 where nothing is fitted, "wall_hours": of `num_proc` processes in
        all, "gigabytes": on the disk of the temporary folder, "files"}.

    Raises:
        DatasetError: No clip, or an unknown split or unit extractor.
    """
    listing = list_clips(corpus, splits, limit)
    fitted = not needs_fitting(unit_extractor)
    chosen = shuffled(listing.splits, seed)[:sample]
    clips = [listing.clip(clip) for clip in chosen]
    with tempfile.TemporaryDirectory(prefix="lip2speech-") as temporary:
        folder = PreparedFolder(temporary)
        processes = min(num_proc, len(clips))
        with local_engine(folder, processes) as run:
            calls = [(clip, listing.sources(clip.id), round(FRAME_RATE * max_seconds)) for clip in clips]
            records = list(run("write_files", calls))
        paths = [
            path for name in os.listdir(temporary) if name[0] != "." for path in _files(folder.root / name)
        ]
        size = sum(path.stat().st_blocks * 512 for path in paths) + BLOCK * len(clips)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(unit_extractor, SpeechUnitExtractor):
        extractor = unit_extractor
    elif fitted:
        extractor = SpeechUnitExtractor.from_pretrained(str(unit_extractor)).eval()
    else:
        config = SpeechUnitExtractorConfig(features=str(unit_extractor), num_units=num_units)
        extractor = SpeechUnitExtractor(config).eval()
        extractor._reset()  # to the size of the model's features
    done = {record["id"] for record in records if "segments" in record}
    pace = _seconds_a_second([clip for clip in clips if clip.id in done], extractor.to(device))
    took = np.array([record.get("took", 0.0) for record in records]) / 3600
    total = len(listing.splits)
    hours = total * float(np.mean([record["seconds"] or 0.0 for record in records])) / 3600
    crop_hours = total * float(took.mean())
    unit_hours = pace * hours
    fit_hours = 0.0 if fitted else pace * min(hours, FITTING_SECONDS / 3600)
    return {
        "clips": total,
        "sample": len(clips),
        "skipped": dict(Counter(record["skipped"] for record in records if "skipped" in record)),
        "hours": hours,
        "crop_hours": crop_hours,
        "crop_error": total * float(took.std()) / len(took) ** 0.5,
        "unit_hours": unit_hours,
        "device": device,
        "fit_hours": fit_hours,
        "wall_hours": crop_hours / num_proc + unit_hours / (1 if device != "cpu" else num_proc) + fit_hours,
        "gigabytes": total * size / len(clips) / 1e9,
        # units have a file as well
        "files": round(total * (len(paths) + len(done)) / len(clips)),
    }


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _seconds_a_second(clips: list[Clip], extractor: SpeechUnitExtractor) -> float:
    """Time that one process takes for the units of a second of sound."""
    sounds = [torch.from_numpy(read_sound(clip)) for clip in clips]
    if not sounds:
        return 0.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        extractor.compute_features(sounds[0][None])  # loads the model
        begin = time.perf_counter()
        for sound in sounds:
            extractor.compute_features(sound[None])
        took = time.perf_counter() - begin
    torch.set_num_threads(threads)
    return took / (sum(map(len, sounds)) / SAMPLING_RATE)
