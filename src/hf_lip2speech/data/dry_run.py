"""What a preparation will cost, estimated from a sample of its clips."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..constants import FRAME_RATE, NUM_UNITS, SAMPLING_RATE
from ..media.audio import read_audio
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..video.tracks import TALKING, check_face
from .clip_files import ClipWriter, Speak
from .corpora import Corpus
from .corpora.clip import shuffled
from .layout import COLUMNS, PreparedFolder
from .listing import list_clips
from .prepare import MAX_SECONDS
from .units import DEFAULT_UNITS, FITTING_SECONDS, Units, given_extractor, unfitted_config
from .workers import local_pool

SAMPLE = 24  # clips
BLOCK = 4096  # bytes on the disk of a clip's units, which the sample does not write


def estimate(
    corpus: Corpus,
    *,
    num_proc: int = 1,
    unit_extractor: Units = DEFAULT_UNITS,
    num_units: int = NUM_UNITS,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    face: int | str = TALKING,
    max_seconds: float = MAX_SECONDS,
    sample: int = SAMPLE,
    seed: int = 0,
    speak: Speak | None = None,
) -> dict[str, Any]:
    """Prepare a few clips, drawn with `seed`, into a temporary folder, and extrapolate.

    The arguments are those of `prepare`; finished clips are not deducted. `num_proc` processes work on the
    sample at once, so the figures include what they take from each other.

    Returns:
        {"clips", "sample": clips tried, "skipped": {reason: how many of them}, "hours": of sound,
        "crop_hours": of one process for all but the units, "crop_error": its standard error, "unit_hours": of
        one process for the units, "device": which they were computed on, "fit_hours": of one process for the
        sound that units are fitted on, 0 where nothing is fitted, "wall_hours": of `num_proc` processes in
        all, "gigabytes": on the disk of the temporary folder, "files"}.

    Raises:
        DatasetError: No clip, or an unknown split or unit extractor.
        Lip2SpeechError: `face` is not one.
    """
    check_face(face)
    listing = list_clips(corpus, splits, limit)
    config = unfitted_config(unit_extractor, num_units)
    clips = [listing.clip(clip) for clip in shuffled(listing.splits, seed)[:sample]]
    with tempfile.TemporaryDirectory(prefix="lip2speech-") as temporary:
        folder = PreparedFolder(temporary)
        with local_pool(
            partial(ClipWriter, folder, face=face, speak=speak), min(num_proc, len(clips)), "measuring"
        ) as run:
            calls = [(clip, listing.sources(clip.id), round(FRAME_RATE * max_seconds)) for clip in clips]
            records = list(run("write_files", calls))
        tops = [folder.root / pattern.split("/")[0] for pattern in COLUMNS.values()]
        paths = [path for top in tops for path in top.rglob("*") if path.is_file()]
        size = sum(path.stat().st_blocks * 512 for path in paths) + BLOCK * len(clips)
        sounds = [read_audio(path) for path in paths if path.suffix == ".flac"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    extractor = given_extractor(unit_extractor) if config is None else SpeechUnitExtractor(config)
    pace = _unit_seconds(sounds, extractor.eval().to(device))
    took = np.array([record["took"] for record in records]) / 3600
    total = len(listing.splits)
    hours = total * float(np.mean([record["seconds"] or 0.0 for record in records])) / 3600
    crop_hours = total * float(took.mean())
    unit_hours = pace * hours
    fit_hours = 0.0 if config is None else pace * min(hours, FITTING_SECONDS / 3600)
    reasons = (record.get("skipped") or record.get("failed") for record in records)
    return {
        "clips": total,
        "sample": len(clips),
        "skipped": dict(Counter(reason for reason in reasons if reason)),
        "hours": hours,
        "crop_hours": crop_hours,
        "crop_error": total * float(took.std()) / len(took) ** 0.5,
        "unit_hours": unit_hours,
        "device": device,
        "fit_hours": fit_hours,
        "wall_hours": crop_hours / num_proc + unit_hours / (1 if device != "cpu" else num_proc) + fit_hours,
        "gigabytes": total * size / len(clips) / 1e9,
        # units have a file as well
        "files": round(total * (len(paths) + len(sounds)) / len(clips)),
    }


def _unit_seconds(waveforms: Sequence[np.ndarray], extractor: SpeechUnitExtractor) -> float:
    """Time that one process takes for the units of a second of sound."""
    sounds = [torch.from_numpy(waveform) for waveform in waveforms]
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
