"""Turn silent videos of a face into speech.

Writes a sound file for each video, VIDEO.speech.wav; --video, --transcript and --plot also write the video
with its speech, what is said as text or subtitles, and a picture of what the model saw and said. Of several
videos, one that cannot be spoken does not stop the others; the exit status is then 1.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .options import (
    BUNDLED,
    TRANSCRIPTS,
    CommandError,
    add_device,
    add_face,
    add_model,
    add_vocabulary,
    check_model,
    check_outputs,
    check_suffix,
    in_own_words,
    positive,
    read_vocabulary,
)
from .terminal import Bars, error_line, say, without_foreign_lines
from .videos import Item, find_videos, seconds

SAMPLE_RATES = (8000, 16000, 22050, 24000, 32000, 44100, 48000)
OF_THE_ITEM = ""  # --video, --transcript and --plot without a name
NOTE = (
    'note: the bundled model knows only the 51 words of the GRID corpus ("bin red at g four please"): any '
    "other speech comes out as those words."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    videos = "video files, folders (with all videos below), patterns such as 'takes/*.mov', or http(s) URLs"
    add("videos", metavar="VIDEO", nargs="+", help=videos + "; any container, codec and frame rate")
    add_model(parser)
    where = parser.add_mutually_exclusive_group()
    sound = "sound file, .wav or .flac (default: VIDEO's name with .speech.wav, in this folder)"
    where.add_argument("-o", "--output", metavar="OUT.wav", type=Path, help=sound)
    folder = "folder for all files, made if it is missing (default: this folder)"
    where.add_argument("--output-dir", metavar="DIR", type=Path, default=Path(), help=folder)
    video = "also write the video with its speech (.mp4, .mov or .mkv; default: VIDEO.speech.mp4)"
    add("--video", dest="video_output", metavar="OUT.mp4", nargs="?", const=OF_THE_ITEM, help=video)
    transcript = (
        f"also write what is said ({', '.join(TRANSCRIPTS)}; default: VIDEO.speech.srt), and put it into the "
        "video of --video as subtitles; needs a model with a text head"
    )
    add("--transcript", metavar="OUT.srt", nargs="?", const=OF_THE_ITEM, help=transcript)
    add_vocabulary(parser)
    text = "what is to be said, with the timing of the lips; needs a model with text_conditioning"
    add("--text", metavar="WORDS", help=text)
    picture = "also write a picture of mouth frames, mel spectrogram and units (.png, .pdf or .svg)"
    add("--plot", metavar="OUT.png", nargs="?", const=OF_THE_ITEM, help=picture)
    add("--start", metavar="TIME", type=seconds, help="begin there: seconds, m:ss or h:mm:ss (default: 0)")
    add("--end", metavar="TIME", type=seconds, help="stop there (default: the end of the video)")
    voice = "a voice of the model, or a recording (default: its default voice)"
    add("--speaker", metavar="VOICE", help=voice)
    pitch = "semitones by which the voice is raised, such as -3 (default: 0)"
    add("--pitch-shift", type=float, metavar="SEMITONES", help=pitch)
    rate = "samples per second of the files (default: the model's, 16000)"
    add("--sample-rate", type=int, choices=SAMPLE_RATES, metavar="HZ", help=rate)
    add("--cropped", action="store_true", help="the videos already show only the mouth (96x96 gray)")
    add_face(parser)
    numbered = "also write a picture of the faces with their numbers (.png, .pdf or .svg)"
    add("--faces-picture", metavar="OUT.png", nargs="?", const=OF_THE_ITEM, help=numbered)
    add("--batch-size", type=positive, default=1, metavar="N", help="videos spoken at once (default: 1)")
    add_device(parser)
    dtype = "of the model (default: auto, bfloat16 on a CPU that has units for it, else as it was saved)"
    dtypes = ("auto", "float32", "float16", "bfloat16")
    add("--dtype", choices=dtypes, default="auto", help=dtype)


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


def run(args: argparse.Namespace) -> int:
    jobs, failures = _jobs(args)
    if args.vocabulary is not None and args.transcript is None:
        raise CommandError("--vocabulary is about the text: give --transcript with it.")
    if args.vocabulary is not None and args.text is not None:
        raise CommandError("--text says what is said: leave --vocabulary out.")
    vocabulary = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    check_model(args.model)
    for message in failures:
        error_line(message)

    from hf_lip2speech.pipeline import fast_dtype, load_pipeline
    from hf_lip2speech.plotting import require_matplotlib
    from hf_lip2speech.video.landmarks import borrowed_detector

    if args.plot is not None or args.faces_picture is not None:
        require_matplotlib()
    say(f"loading {args.model}", file=sys.stderr)
    dtype = fast_dtype(args.device) if args.dtype == "auto" else args.dtype
    speak = load_pipeline(args.model, args.device, dtype)
    if args.model == BUNDLED:
        say(NOTE, file=sys.stderr)
    options = _options_of_a_call(args, speak)
    if args.text is not None:
        options["text"] = args.text
    if args.transcript is not None:
        options |= {"return_text": True} | ({} if vocabulary is None else {"vocabulary": vocabulary})
    if not args.cropped:
        with without_foreign_lines(), borrowed_detector():
            pass  # it is loaded now, and kept
    failed = len(failures)
    with Bars(len(jobs)) as bars:
        for first in range(0, len(jobs), args.batch_size):
            batch = jobs[first : first + args.batch_size]
            for job, problem in _spoken(batch, speak, options | {"progress": bars.stage}, args):
                bars.video_done()
                if problem is not None:
                    failed += 1
                    error_line(in_own_words(str(problem)))
                else:
                    say("\n".join(map(str, job.outputs)))
    return int(failed > 0)


def _jobs(args: argparse.Namespace) -> tuple[list[Job], list[str]]:
    """The checked work, and what is wrong with arguments beside others that can be spoken."""
    items, failures = find_videos(args.videos, args.output_dir)
    single = len(args.videos) == 1 and len(items) == 1
    if not items:
        *others, last = failures
        for message in others:
            error_line(message)
        raise CommandError(last)
    if args.end is not None and args.end <= (args.start or 0.0):
        raise CommandError(f"--end {args.end:g} is not after --start {args.start or 0.0:g}.")
    if args.cropped and (args.faces_picture is not None or args.face != "talking"):
        raise CommandError("A --cropped video shows no faces: leave --face and --faces-picture out.")
    of_one = {"-o": args.output, "--video": args.video_output}
    of_one |= {"--transcript": args.transcript, "--plot": args.plot, "--faces-picture": args.faces_picture}
    for option, given in of_one.items():
        if given and not single:
            raise CommandError(
                f"{option} {given} names one file, but there are several videos: leave the name out"
                + (" and give --output-dir." if option == "-o" else ".")
            )

    def named(given: str | None, item: Item, suffix: str) -> Path | None:
        return None if given is None else Path(given) if given else item.made(suffix)

    jobs = [
        Job(
            item,
            args.output or item.made(".wav"),
            named(args.video_output, item, ".mp4"),
            named(args.transcript, item, ".srt"),
            named(args.plot, item, ".png"),
            named(args.faces_picture, item, ".faces.png"),
        )
        for item in items
    ]
    check_outputs(
        [path for job in jobs for path in job.outputs],
        inputs=[*(item.source for item in items), args.speaker, args.vocabulary],
        new_folders=True,
    )
    for job in jobs:
        check_suffix(job.sound, (".wav", ".flac"), "The sound file")
        if job.video is not None:
            check_suffix(job.video, (".mp4", ".mov", ".mkv"), "The video with its speech")
        if job.transcript is not None:
            check_suffix(job.transcript, TRANSCRIPTS, "The transcript")
        for picture in (job.picture, job.faces):
            if picture is not None:
                check_suffix(picture, (".png", ".pdf", ".svg"), "The picture")
    return jobs, failures


def _options_of_a_call(args: argparse.Namespace, speak: Any) -> dict[str, Any]:
    """What the pipeline is called with, for every video."""
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
    pictured = ("return_mouth", "return_spectrogram", "return_units")
    return options | dict.fromkeys(pictured, args.plot is not None)


def _spoken(
    jobs: Sequence[Job], speak: Any, options: dict[str, Any], args: argparse.Namespace
) -> Iterator[tuple[Job, Exception | None]]:
    """Speak a batch and write its files; each job with the error that kept it from being spoken."""
    from hf_lip2speech.errors import Lip2SpeechError
    from hf_lip2speech.media.sources import local_source

    with ExitStack() as downloads:
        sources: list[Any] = []
        for job in jobs:
            try:  # a URL is downloaded once, for the speech and for the video
                source = downloads.enter_context(local_source(job.item.source))
                if job.faces is not None:
                    _draw_faces(job.faces, source, args)
                sources.append(source)
            except Lip2SpeechError as error:
                sources.append(error)
        good = [source for source in sources if not isinstance(source, Lip2SpeechError)]
        results = iter(speak(good, batch_size=len(jobs), **options))
        for job, source in zip(jobs, sources, strict=True):
            problem = source if isinstance(source, Lip2SpeechError) else None
            speech = None if problem else next(results)
            try:
                if isinstance(speech, Lip2SpeechError):
                    problem = speech
                elif speech is not None:
                    _write(job, source, speech, args)
            except Lip2SpeechError as error:
                problem = error
            yield job, problem


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
        plot_speech(job.picture, mouth, spectrogram, units, title=job.item.name)
