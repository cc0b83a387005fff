"""What `speak` does with each video: a loaded pipeline that speaks it and writes its files."""

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .options import CommandError, in_own_words, load
from .videos import Item


@dataclass(frozen=True)
class Job:
    """A video and the files that are made of it."""

    item: Item
    sound: Path
    video: Path | None
    transcript: Path | None
    picture: Path | None
    faces: Path | None

    @property
    def outputs(self) -> list[Path]:
        made = (self.sound, self.video, self.transcript, self.picture, self.faces)
        return [path for path in made if path is not None]


class Speaking:
    """The pipeline of a process, with what it is called with for every video.

    Args:
        args: Those of the command.
        folder: The working directory, which another machine's process does not share.
        progress: Of the pipeline.
    """

    def __init__(self, args: argparse.Namespace, folder: str | None = None, progress: Callable | None = None):

        if folder is not None:
            os.chdir(folder)
        self.args = args
        self.pipeline = load(args)
        self.options = self._options() | {"progress": progress}

    def _options(self) -> dict[str, Any]:
        args, speak = self.args, self.pipeline
        if args.speaker is None and speak.model.config.default_voice is None:
            voices = f"one of its voices ({', '.join(speak.voices)}) or " if speak.voices else ""
            raise CommandError(
                f"The model has no default voice: name {voices}a recording, as in --speaker recording.wav."
            )
        options: dict[str, Any] = {
            "cropped": args.cropped,
            "face": args.face,
            "start": args.start or 0.0,
            "end": args.end,
        }
        options["on_error"] = "raise" if args.debug else "return"
        if args.speaker is not None:
            options["speaker"] = speak.resolve_speaker(args.speaker)  # once
        if args.pitch_shift is not None:
            options["pitch_shift"] = args.pitch_shift
        if args.seed is not None:
            options["seed"] = args.seed
        pictured = ("return_mouth", "return_spectrogram", "return_units")
        if args.text is not None:
            options["text"] = args.text
        reads = speak.model.config.lip2speech.text_vocabulary is not None
        if args.transcript is not None or (args.plot is not None and reads):
            options["return_text"] = True
        if args.vocabulary is not None:
            options["vocabulary"] = args.vocabulary
        return options | dict.fromkeys(pictured, args.plot is not None)

    def speak(self, jobs: Sequence[Job]) -> list[tuple[Job, str | None]]:
        """Speak a batch and write its files; each job with what kept it from being spoken."""
        from hf_lip2speech.errors import Lip2SpeechError
        from hf_lip2speech.media.sources import local_source

        found = []
        with ExitStack() as downloads:
            sources: list[Any] = []
            for job in jobs:
                try:  # a URL is downloaded once, for the speech and for the video
                    source = downloads.enter_context(local_source(job.item.source))
                    if job.faces is not None:
                        _draw_faces(job.faces, source, self.args)
                    sources.append(source)
                except Lip2SpeechError as error:
                    sources.append(error)
            good = [source for source in sources if not isinstance(source, Lip2SpeechError)]
            results = iter(self.pipeline(good, batch_size=len(jobs), **self.options))
            for job, source in zip(jobs, sources, strict=True):
                problem = source if isinstance(source, Lip2SpeechError) else None
                speech = None if problem else next(results)
                try:
                    if isinstance(speech, Lip2SpeechError):
                        problem = speech
                    elif speech is not None:
                        _write(job, source, speech, self.args)
                except Lip2SpeechError as error:
                    problem = error
                found.append((job, None if problem is None else in_own_words(str(problem))))
        return found

    def speak_elsewhere(self, jobs: Sequence[Job]) -> tuple[list[tuple[Job, str | None]], list[str]]:
        """`speak` in a process whose terminal nobody reads: with the warnings that it gave."""
        with warnings.catch_warnings(record=True) as caught:
            return self.speak(jobs), [str(warning.message) for warning in caught]


def _draw_faces(path: Path, source: Any, args: argparse.Namespace) -> None:
    from hf_lip2speech.media.video import open_video
    from hf_lip2speech.plotting import plot_faces

    with open_video(source, start=args.start or 0.0, end=args.end) as video:
        plot_faces(path, video, name=video.name)


def _write(job: Job, source: Any, speech: dict[str, Any], args: argparse.Namespace) -> None:
    import soxr

    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.media.mux import mux_speech
    from hf_lip2speech.media.transcripts import subtitle_cues, write_transcript
    from hf_lip2speech.plotting import plot_speech

    audio, rate = speech["audio"], speech["sampling_rate"]
    if args.sample_rate is not None:
        audio, rate = soxr.resample(audio, rate, args.sample_rate), args.sample_rate
    write_audio(job.sound, audio, rate)
    if job.video is not None:
        cues = () if job.transcript is None else subtitle_cues(speech["words"])
        mux_speech(source, audio, job.video, rate, args.start or 0.0, args.end, cues)
    if job.transcript is not None:
        write_transcript(job.transcript, {name: speech[name] for name in ("text", "words", "confidence")})
    if job.picture is not None:
        mouth, spectrogram, units = (speech[name] for name in ("mouth", "spectrogram", "unit_ids"))
        words = speech.get("words", ())  # of a model that reads text
        plot_speech(job.picture, mouth, spectrogram, units, title=job.item.name, words=words)
