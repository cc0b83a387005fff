"""One video of a visitor -> the files that the page shows."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import av

from ...constants import FRAME_RATE
from ...errors import MissingVideoError
from ...media.audio import write_audio
from ...media.mux import mux_speech
from ...media.video import iter_frames, write_video
from ...pipeline import LipToSpeechPipeline
from ...plotting import plot_speech
from ...video.mouth import Progress
from .limits import check_length, check_recording, check_video


@dataclass
class Spoken:
    """What came of a video.

    Args:
        video: mp4, the video with its new speech.
        speech: wav, the speech alone.
        mouth: mp4, the mouth as the model saw it, with the speech.
        picture: png of mouth frames, mel spectrogram and units.
        notes: what there is to know about the video, such as that it shows several faces.
    """

    video: Path
    speech: Path
    mouth: Path
    picture: Path
    notes: list[str]


def speak_to_files(
    speak: LipToSpeechPipeline,
    video: str,
    folder: str | Path,
    *,
    voice: str | None = None,
    recording: str | None = None,
    progress: Progress | None = None,
) -> Spoken:
    """Make speech from a video, in a voice of the model or that of a recording.

    Args:
        video, recording: files, never URLs: a visitor shall not make this machine fetch anything.
        folder: where the files are written.
        voice: one of `speak.voices`; None: the default voice.
        recording: of somebody's speech; goes before `voice`.
        progress: called as progress(stage, done, total) in frames, see `LipToSpeechPipeline`; total is
            guessed in the stage "landmarks", and None where nothing tells.

    Raises:
        Lip2SpeechError: the video or the recording will not do: too long, no face, unreadable, ...
    """
    folder = Path(folder)
    for path in (video, recording):
        if path is not None and not os.path.isfile(path):
            raise MissingVideoError(f"there is no file {path!r}")
    seconds = check_video(video)
    guess = None if seconds is None else max(1, round(seconds * FRAME_RATE))
    if recording is not None:
        check_recording(recording)

    def report(stage: str, done: int, total: int | None) -> None:
        check_length(done)
        if progress is not None:
            progress(stage, done, total or guess)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        speech = speak(
            video,
            speaker=recording or voice,
            return_mouth=True,
            return_spectrogram=True,
            return_units=True,
            progress=report,
        )
    notes = [str(warning.message) for warning in caught]
    notes = [  # ours name the video; the libraries' are not for visitors
        note.replace(repr(video), Path(video).name) for note in notes if repr(video) in note
    ]
    sound = speech["audio"]
    files = {name: folder / name for name in ("speech.mp4", "speech.wav", "mouth.mp4", "speech.png")}
    mux_speech(_playable(video, folder), sound, files["speech.mp4"])
    write_audio(files["speech.wav"], sound)
    size = speak.model.config.lip2speech.crop_size  # the centre of what was cut out
    margin = (speech["mouth"].shape[1] - size) // 2
    seen = slice(margin, margin + size)
    write_video(files["mouth.mp4"], speech["mouth"][:, seen, seen])
    mux_speech(files["mouth.mp4"], sound, files["mouth.mp4"])
    plot_speech(files["speech.png"], speech["mouth"], speech["spectrogram"], speech["unit_ids"])
    return Spoken(*files.values(), notes=notes)


def _playable(video: str, folder: Path) -> str | Path:
    """The video, or its pictures as every browser shows them: `mux_speech` leaves HEVC as it is."""
    with av.open(os.path.abspath(video)) as container:
        codec = container.streams.video[0].codec_context
        if codec.name == "h264" and codec.pix_fmt in ("yuv420p", "yuvj420p"):
            return video
    path = folder / "pictures.mp4"
    write_video(path, iter_frames(video), crf=20)
    return path
