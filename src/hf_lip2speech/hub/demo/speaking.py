"""One visitor's video -> the files that the page shows; the voices, what the demo accepts, and its messages.

The limits keep one visitor's file from blocking the others.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from ...constants import FRAME_RATE
from ...errors import (
    EmptyVideoError,
    LimitError,
    Lip2SpeechError,
    MissingVideoError,
    NoAudioError,
    NoFaceError,
    NoSpeechError,
    NoVideoStreamError,
    UnreadableVideoError,
)
from ...loading import BUNDLED
from ...media.audio import write_audio
from ...media.mux import mux_speech
from ...media.sources import ffmpeg_name, one_file
from ...media.transcripts import write_transcript
from ...media.video import iter_frames, open_video, write_video
from ...pipeline import LipToSpeechPipeline
from ...plotting import plot_faces, plot_speech
from ...video.mouth import Progress
from ...video.tracks import TALKING
from ..repository import RENDERED_SPEAKER

MAX_SECONDS = 30  # of a video
MAX_RECORDING_SECONDS = 60  # of a voice
MAX_MEGABYTES = 100  # of a file
MAX_PIXELS = 4096 * 2304  # of a frame: 4K

# Of the bundled model's voices, for visitors.
BUNDLED_NAMES = {
    "grid_s1": "British man",
    "awb": "Scottish man (synthetic)",
    "kal": "American man, robotic (synthetic)",
    "rms": "American man (synthetic)",
    "slt": "American woman (synthetic)",
}
MESSAGES: dict[type[Lip2SpeechError], str] = {
    NoFaceError: (
        "No face was found in this video. Use one in which a face looks into the camera, well lit, "
        "and large enough to see the mouth."
    ),
    NoVideoStreamError: "This file holds only sound. Upload a video of a talking face.",
    EmptyVideoError: "This video holds no pictures. Record or export it again.",
    UnreadableVideoError: (
        "This file cannot be read as a video. Does it play elsewhere? MP4, MOV, WebM, MKV, AVI and MPEG are "
        "supported."
    ),
    NoAudioError: (
        "The recording of the voice cannot be read, or holds no sound. WAV, MP3, M4A, FLAC and OGG are "
        "supported."
    ),
    NoSpeechError: (
        "No speech was found in the recording of the voice. Use a few seconds of one person's speech, "
        "without music or noise."
    ),
}


class OneThread:
    """Calls functions in one thread, one at a time.

    Gradio calls from up to 40 threads, each of which would keep memory of its own after it has computed.
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, "lip2speech")

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Gradio finds the visitor whose progress is told in the context.
        return self._pool.submit(copy_context().run, partial(function, *args, **kwargs)).result()


@dataclass
class Spoken:
    """The files of one video.

    Attributes:
        video: mp4, the video with its new speech.
        speech: wav, the speech alone.
        mouth: mp4, the mouth as the model sees it, with the speech.
        picture: png of mouth frames, mel spectrogram and units.
        text: What was read from the lips, or was given; "" without a text head.
        subtitles: vtt of it; None where there is none.
        notes: Warnings about the video, such as that it shows several faces.
    """

    video: Path
    speech: Path
    mouth: Path
    picture: Path
    text: str
    subtitles: Path | None
    notes: list[str]


def speak_to_files(
    speak: LipToSpeechPipeline,
    video: str,
    folder: str | Path,
    *,
    voice: str | None = None,
    recording: str | None = None,
    face: int | str = TALKING,
    text: str = "",
    progress: Progress | None = None,
) -> Spoken:
    """Make speech from a video, in a voice of the model or that of a recording.

    Args:
        video, recording: Files, never URLs: a visitor must not make this machine fetch anything.
        folder: For the files.
        voice: One of `speak.voices`; None: the default voice.
        recording: Of somebody's speech; takes precedence over `voice`.
        face: Which of several faces, see `LipToSpeechPipeline`.
        text: What is said, for models that can be told; "": what the lips say.
        progress: Called as progress(stage, done, total) in frames, see `LipToSpeechPipeline`.

    Raises:
        Lip2SpeechError: the video or the recording cannot be used: too long, no face, unreadable, ...
    """
    folder = Path(folder)
    for path in (video, recording):
        if path is not None and not os.path.isfile(path):
            raise MissingVideoError(f"there is no file {path!r}")
    check_video(video)
    if recording is not None:
        check_recording(recording)

    def report(stage: str, done: int, total: int | None) -> None:
        if done > (MAX_SECONDS + 0.5) * FRAME_RATE:  # the header was wrong, or said nothing
            raise _too_long("video", "is longer than its header says", MAX_SECONDS)
        if progress is not None:
            progress(stage, done, total)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        speech = speak(
            video,
            speaker=recording or voice,
            face=face,
            **({"text": text} if text else {}),
            **({"return_text": True} if speak.model.config.lip2speech.text_vocabulary is not None else {}),
            return_mouth=True,
            return_spectrogram=True,
            return_units=True,
            progress=report,
        )
    notes = [str(warning.message) for warning in caught]
    # Ours name the video; those of libraries are not for visitors.
    notes = [note.replace(repr(video), Path(video).name) for note in notes if repr(video) in note]
    sound = speech["audio"]
    files = {name: folder / name for name in ("speech.mp4", "speech.wav", "mouth.mp4", "speech.png")}
    mux_speech(_playable(video, folder), sound, files["speech.mp4"])
    write_audio(files["speech.wav"], sound)
    size = speak.model.config.lip2speech.crop_size  # the centre of the mouth crop
    margin = (speech["mouth"].shape[1] - size) // 2
    seen = slice(margin, margin + size)
    write_video(files["mouth.mp4"], speech["mouth"][:, seen, seen])
    mux_speech(files["mouth.mp4"], sound, files["mouth.mp4"])
    plot_speech(files["speech.png"], speech["mouth"], speech["spectrogram"], speech["unit_ids"])
    subtitles = folder / "speech.vtt" if speech.get("words") else None
    if subtitles is not None:
        write_transcript(subtitles, speech)
    return Spoken(*files.values(), text=speech.get("text", ""), subtitles=subtitles, notes=notes)


def show_faces(video: str, path: str | Path) -> int:
    """Write a picture of a video's faces with their numbers; returns how many there are.

    Raises:
        Lip2SpeechError: as `speak_to_files`.
    """
    check_video(video)
    with open_video(video, end=MAX_SECONDS) as frames:
        return plot_faces(path, frames)


def message_of(error: Lip2SpeechError) -> str:
    """What is wrong and what to do, for visitors, who have no command line."""
    for kind, message in MESSAGES.items():
        if isinstance(error, kind):
            return message
    # The pipeline puts the video's path in front, which is the server's own business.
    return str(error.__cause__ if isinstance(error.__cause__, LimitError) else error)


def check_video(path: str | Path) -> None:
    """Check a video's header before any of it is decoded: a LimitError where it is too long, or its frames
    are too large. Of a file that cannot be read, the decoder says why."""
    try:
        with av.open(ffmpeg_name(path), **one_file()) as container:
            for stream in container.streams.video:
                if stream.width * stream.height > MAX_PIXELS:
                    raise LimitError(
                        f"The frames of this video have {stream.width}x{stream.height} pixels; at most 4K "
                        "(4096x2304) is accepted here. Record or export it smaller."
                    )
            seconds = container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return
    if seconds is not None and seconds > MAX_SECONDS + 0.5:  # browsers' recordings do not say
        raise _too_long("video", f"lasts {seconds:.0f} s", MAX_SECONDS)


def check_recording(path: str | Path) -> None:
    """Count the samples of a recording, whose header may be wrong; a LimitError where it is too long."""
    seconds = 0.0
    try:
        with av.open(ffmpeg_name(path), **one_file()) as container:
            for frame in container.decode(container.streams.audio[0]) if container.streams.audio else ():
                seconds += frame.samples / frame.sample_rate
                if seconds > MAX_RECORDING_SECONDS + 0.5:
                    raise _too_long("recording", "is too long", MAX_RECORDING_SECONDS)
    except (av.FFmpegError, OSError):
        return


def _too_long(what: str, how_long: str, limit: int) -> LimitError:
    return LimitError(f"This {what} {how_long}; at most {limit} s is accepted here. Cut it to the best part.")


def _playable(video: str, folder: Path) -> str | Path:
    """The video, re-encoded where browsers may not show it: `mux_speech` keeps HEVC, for example."""
    with av.open(ffmpeg_name(video), **one_file()) as container:
        codec = container.streams.video[0].codec_context
        if codec.name == "h264" and codec.pix_fmt in ("yuv420p", "yuvj420p"):
            return video
    path = folder / "pictures.mp4"
    write_video(path, iter_frames(video), crf=20)
    return path


def is_bundled(speak: LipToSpeechPipeline) -> bool:
    return Path(speak.model.config._name_or_path) == BUNDLED


def voice_choices(speak: LipToSpeechPipeline) -> list[tuple[str, str]]:
    """(name for people, voice of the model), the default first."""
    names = BUNDLED_NAMES if is_bundled(speak) else {}
    default = speak.model.config.default_voice
    return [(names.get(voice, voice), voice) for voice in sorted(speak.voices, key=lambda v: v != default)]


def samples(speak: LipToSpeechPipeline) -> Callable[[str], tuple[int, np.ndarray]]:
    """A function from a voice of the model to what the rendered speaker says in it, spoken when it is asked
    for first: sampling rate, int16 (N,)."""

    @cache
    def sample(voice: str) -> tuple[int, np.ndarray]:
        if voice not in speak.voices:  # a path would be read
            raise LimitError("There is no such voice.")
        speech = speak(str(RENDERED_SPEAKER), speaker=voice)
        return speech["sampling_rate"], (speech["audio"] * 32767).round().astype(np.int16)

    return sample
