"""Pictures of what was read and what was made: words, mouth frames, mel spectrogram and units on one time
axis; the faces of a video with their numbers.

matplotlib is imported when a picture is drawn (extra "plot"), through its object interface: no window.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_lip2speech_extras import require_extra

from .audio.mel import mel_height
from .constants import FRAME_RATE, MEL_PER_FRAME, NUM_MEL_BINS, UNITS_PER_FRAME
from .errors import Lip2SpeechError
from .files import atomic_file
from .video.landmarks import LandmarkDetector, borrowed_detector
from .video.tracks import follow_faces, number_faces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
STRIP_INCHES = 1.0  # side of a mouth frame in the picture
LONGEST_INCHES = 40.0  # width of the picture of a long video
WORD_INCHES = 0.6  # for a word; where there is less, words are written upwards
FREQUENCIES = (250, 500, 1000, 2000, 4000, 8000)  # Hz, labelled on the mel axis


def speech_figure(
    mouth: np.ndarray,
    spectrogram: np.ndarray,
    unit_ids: np.ndarray,
    title: str = "",
    words: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """The picture as a matplotlib figure.

    Args:
        mouth: uint8 (T, 96, 96), mouth frames at 25 fps.
        spectrogram: float (4T, 80), natural log-mel at 100 Hz.
        unit_ids: int (2T,), speech units at 50 Hz.
        title: line above the picture.
        words: what the lips say, as the pipeline's `return_text` gives it: each with "word", and "start" and
            "end" in seconds; written over the mouth frames.

    Raises:
        Lip2SpeechError: the lengths do not belong to one clip.
        ImportError: matplotlib is not installed.
    """
    figures: Any = require_extra("matplotlib.figure", "plot")
    frames = len(mouth)
    lengths = (frames * MEL_PER_FRAME, frames * UNITS_PER_FRAME)
    expected = {"spectrogram": (lengths[0], NUM_MEL_BINS), "unit_ids": (lengths[1],)}
    for name, given in (("spectrogram", spectrogram.shape), ("unit_ids", unit_ids.shape)):
        if not frames or given != expected[name]:
            shape = f"for {frames} mouth frames (at least one) expected {expected[name]}"
            raise Lip2SpeechError(f"{name} has shape {given}: {shape}.")
    seconds = frames / FRAME_RATE
    width = float(np.clip(3.0 * seconds, 8.0, LONGEST_INCHES))
    figure = figures.Figure(figsize=(width, 6.2), layout="constrained")
    strip, mel, units = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [STRIP_INCHES, 2.4, 1.8]}
    )
    figure.suptitle(title)

    tiles = max(1, min(frames, round((width - 1.5) / STRIP_INCHES)))
    edges = np.linspace(0, seconds, tiles + 1)
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        frame = mouth[min(frames - 1, int((start + end) / 2 * FRAME_RATE))]
        strip.imshow(frame, cmap="gray", vmin=0, vmax=255, extent=(start, end, 0, 1), aspect="auto")
    strip.set(ylabel="mouth", yticks=[], ylim=(0, 1))
    upwards = len(words) * WORD_INCHES > width
    for word in words:
        start, end = word["start"], word["end"]
        strip.plot((start, end), (1.06, 1.06), color="black", linewidth=1.5, clip_on=False)
        place = {"ha": "center", "va": "bottom", "rotation": 90 if upwards else 0}
        strip.text((start + end) / 2, 1.12, word["word"], fontsize=11, **place)

    extent = (0, seconds, -0.5, NUM_MEL_BINS - 0.5)
    image = mel.imshow(spectrogram.T, origin="lower", cmap="magma", extent=extent, aspect="auto")
    ticks = [mel_height(hertz) * (NUM_MEL_BINS + 1) - 1 for hertz in FREQUENCIES]
    mel.set(ylabel="frequency (Hz)", yticks=ticks, yticklabels=FREQUENCIES)
    label = "mel magnitude (natural log)"
    figure.colorbar(image, ax=[strip, mel, units], label=label, fraction=0.03, pad=0.01)

    units.stairs(unit_ids, np.linspace(0, seconds, len(unit_ids) + 1), baseline=None, linewidth=1.2)
    units.set(ylabel="unit id", xlabel="time (s)", xlim=(0, seconds))
    units.grid(alpha=0.3)
    return figure


def plot_speech(
    path: str | os.PathLike,
    mouth: np.ndarray,
    spectrogram: np.ndarray,
    unit_ids: np.ndarray,
    title: str = "",
    words: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the picture of `speech_figure` as .png, .pdf or .svg; the file appears when it is complete."""
    _check_path(path)
    figure = speech_figure(mouth, spectrogram, unit_ids, title, words)
    with atomic_file(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def plot_faces(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    *,
    name: str = "the video",
    detector: LandmarkDetector | None = None,
) -> int:
    """Write a picture of a video's faces with their numbers, by which the pipeline's `face` names them.

    Faces that are never seen together are shown in several frames, with their times.

    Args:
        path: of the picture, .png, .pdf or .svg.
        frames, name, detector: as in `video.mouth.mouth_crops`.

    Returns:
        The number of faces.

    Raises:
        NoFaceError: no frame shows a face.
        ImportError: matplotlib is not installed.
    """
    figures: Any = require_extra("matplotlib.figure", "plot")
    patches: Any = require_extra("matplotlib.patches", "plot")
    _check_path(path)
    with nullcontext(detector) if detector else borrowed_detector() as finder:
        tracks, _ = follow_faces(frames, name, finder)
    faces = number_faces(tracks)
    seen = [
        {k: box for track in face for k, box in zip(track.frames, track.boxes, strict=True)} for face in faces
    ]
    times = _times_that_show_all(seen)
    pictures = {k: frame.copy() for k, frame in enumerate(frames) if k in times}
    height, width = pictures[times[0]].shape[:2]
    inches = float(np.clip(width / 100, 6.0, 16.0))
    figure = figures.Figure(
        figsize=(inches, len(times) * (inches * height / width + 0.3)), layout="constrained"
    )
    panels = figure.subplots(len(times), 1, squeeze=False)[:, 0]
    for panel, k in zip(panels, times, strict=True):
        panel.imshow(pictures[k])
        panel.set_title(f"{k / FRAME_RATE:.2f} s", fontsize=9)
        panel.set_axis_off()
        for number, boxes in enumerate(seen):
            if k not in boxes:
                continue
            x, y, right, bottom = boxes[k]
            box = patches.Rectangle((x, y), right - x, bottom - y, fill=False, color="yellow", linewidth=2)
            panel.add_patch(box)
            label = {"facecolor": "yellow", "edgecolor": "none", "pad": 2}
            panel.text(x, y, str(number), fontsize=16, color="black", va="bottom", bbox=label, clip_on=True)
    with atomic_file(path) as unfinished:
        figure.savefig(unfinished, dpi=100)
    return len(faces)


def _times_that_show_all(seen: list[dict[int, np.ndarray]]) -> list[int]:
    """The fewest frames, about, that show each face once; of frames that show the same, the middle one."""
    times, missing = [], set(range(len(seen)))
    while missing:
        shown = Counter(k for number in missing for k in seen[number])
        most = max(shown.values())
        candidates = sorted(k for k, count in shown.items() if count == most)
        times.append(candidates[len(candidates) // 2])
        missing -= {number for number in missing if times[-1] in seen[number]}
    return sorted(times)


def _check_path(path: str | os.PathLike) -> None:
    if Path(path).suffix.lower() not in FORMATS:
        raise Lip2SpeechError(f"A picture is written as {', '.join(FORMATS)}, got {Path(path).name!r}.")
