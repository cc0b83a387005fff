"""Transcripts as files: subtitles (.srt, .vtt), plain text (.txt), or words with their times (.json)."""

import html
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Lip2SpeechError
from ..files import atomic_file

LONGEST_CUE = 5.0  # seconds
WIDEST_CUE = 42  # characters, the usual width of a line of subtitles
LONGEST_PAUSE = 0.8  # seconds between two words of a cue
SHORTEST_CUE = 0.7  # seconds that a cue stays, where the next one leaves room


class Cue(NamedTuple):
    """A line of subtitles: from when to when, in seconds, and its text."""

    start: float
    end: float
    text: str


def subtitle_cues(words: Sequence[dict[str, Any]]) -> list[Cue]:
    """The words of a transcript, in order, as lines of subtitles that do not overlap.

    Args:
        words: {"word", "start", "end"}, in seconds, as the pipeline gives them.
    """
    groups: list[list[dict[str, Any]]] = []
    for word in words:
        line = groups[-1] if groups else []
        width = sum(len(one["word"]) + 1 for one in line) + len(word["word"])
        if (
            not line
            or width > WIDEST_CUE
            or word["start"] - line[-1]["end"] > LONGEST_PAUSE
            or word["end"] - line[0]["start"] > LONGEST_CUE
        ):
            groups.append([])
        groups[-1].append(word)
    cues = []
    for index, group in enumerate(groups):
        start = group[0]["start"]
        end = max(group[-1]["end"], start + SHORTEST_CUE)
        if index + 1 < len(groups):
            end = min(end, groups[index + 1][0]["start"])
        cues.append(Cue(start, end, " ".join(word["word"] for word in group)))
    return cues


def write_transcript(path: str | os.PathLike[str], transcript: dict[str, Any]) -> None:
    """Write a transcript, {"text", "words", ...}, as the pipeline gives it; the path's ending says how: .srt
    or .vtt (subtitles), .txt (the text), .json (as it is). A Lip2SpeechError for another ending."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise Lip2SpeechError(f"A transcript is written as {', '.join(FORMATS)}, got {Path(path).name!r}.")
    with atomic_file(path) as unfinished:
        unfinished.write_text(FORMATS[suffix](transcript), encoding="utf-8")


def subrip(cues: Sequence[Cue]) -> str:
    """Cues as the text of a .srt file."""
    return "\n".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues, start=1)
    )


def _webvtt(transcript: dict[str, Any]) -> str:
    cues = subtitle_cues(transcript["words"])
    return "WEBVTT\n" + "".join(
        f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{html.escape(cue.text, quote=False)}\n"
        for cue in cues
    )


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".srt": lambda transcript: subrip(subtitle_cues(transcript["words"])),
    ".vtt": _webvtt,
    ".txt": lambda transcript: transcript["text"] + "\n",
    ".json": lambda transcript: json.dumps(transcript, ensure_ascii=False, indent=1) + "\n",
}
