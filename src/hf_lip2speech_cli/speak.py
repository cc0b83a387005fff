"""Turn a silent video of a face into speech.

Writes a sound file; --video and --plot also write the video with its speech, and a picture of what the model
saw and said.
"""

import argparse
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from .options import (
    CommandError,
    add_device,
    add_model,
    check_model,
    check_outputs,
    check_suffix,
    check_video,
    is_url,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("video", metavar="VIDEO", help="video file or http(s) URL, any container, codec and frame rate")
    add_model(parser)
    sound = "sound file, .wav or .flac (default: VIDEO's name with .wav, in this folder)"
    add("-o", "--output", metavar="OUT.wav", type=Path, help=sound)
    video = "also write the video with its speech (.mp4, .mov or .mkv)"
    add("--video", dest="video_output", metavar="OUT.mp4", type=Path, help=video)
    add(
        "--speaker", metavar="VOICE", help="a voice of the model, or a recording (default: its default voice)"
    )
    pitch = "semitones by which the voice is raised, such as -3 (default: 0)"
    add("--pitch-shift", type=float, metavar="SEMITONES", help=pitch)
    add("--cropped", action="store_true", help="the video already shows only the mouth (96x96 gray)")
    picture = "also write a picture of mouth frames, mel spectrogram and units (.png, .pdf or .svg)"
    add("--plot", metavar="OUT.png", type=Path, help=picture)
    add_device(parser)
    dtypes = ("auto", "float32", "float16", "bfloat16")
    add("--dtype", choices=dtypes, default="auto", help="of the model (default: auto, as it was saved)")


def run(args: argparse.Namespace) -> int:
    check_video(args.video)
    try:
        path = unquote(urlsplit(args.video).path) if is_url(args.video) else args.video
    except ValueError as error:  # an unclosed bracket, say
        raise CommandError(f"{args.video!r} is not a URL: {error}.") from error
    name = PurePosixPath(path).name if is_url(args.video) else Path(path).name
    output = args.output or _default_output(name)
    outputs = [path for path in (output, args.video_output, args.plot) if path is not None]
    check_outputs(outputs, inputs=(args.video, args.speaker))
    check_suffix(output, (".wav", ".flac"), "The sound file")
    if args.video_output is not None:
        check_suffix(args.video_output, (".mp4", ".mov", ".mkv"), "The video with its speech")
    if args.plot is not None:
        check_suffix(args.plot, (".png", ".pdf", ".svg"), "The picture")
    check_model(args.model)

    from hf_lip2speech.errors import MouthCropError, NoFaceError
    from hf_lip2speech.media.audio import write_audio
    from hf_lip2speech.media.mux import mux_speech
    from hf_lip2speech.media.sources import local_source
    from hf_lip2speech.pipeline import load_pipeline
    from hf_lip2speech.plotting import plot_speech, require_matplotlib

    if args.plot is not None:
        require_matplotlib()
    print(f"loading {args.model}", file=sys.stderr)
    speak = load_pipeline(args.model, args.device, args.dtype)
    if args.speaker is None and speak.model.config.default_voice is None:
        voices = f"one of its voices ({', '.join(speak.voices)}) or " if speak.voices else ""
        raise CommandError(
            f"The model has no default voice: name {voices}a recording, as in --speaker recording.wav."
        )
    voice = {} if args.speaker is None else {"speaker": args.speaker}
    if args.pitch_shift is not None:
        voice["pitch_shift"] = args.pitch_shift
    extras = dict.fromkeys(("return_mouth", "return_spectrogram", "return_units"), args.plot is not None)
    with local_source(args.video) as video:  # a URL is downloaded once, for the speech and for the video
        try:
            with _progress_bars() as progress:
                speech = speak(video, cropped=args.cropped, progress=progress, **voice, **extras)
        except (NoFaceError, MouthCropError) as error:
            raise CommandError(str(error).replace("cropped=True", "--cropped")) from error
        write_audio(output, speech["audio"], speech["sampling_rate"])
        if args.video_output is not None:
            mux_speech(video, speech["audio"], args.video_output, speech["sampling_rate"])
    if args.plot is not None:
        plot_speech(args.plot, speech["mouth"], speech["spectrogram"], speech["unit_ids"], title=name)
    print(*outputs, sep="\n")
    return 0


def _default_output(name: str) -> Path:
    """The video's name with .wav; never an existing file, which may be the true speech."""
    output = Path((Path(name).stem or "speech") + ".wav")
    if output.exists():
        raise CommandError(
            f"{output} exists already: name the sound file with -o (a file named there is overwritten)."
        )
    return output


@contextmanager
def _progress_bars() -> Generator[Callable[[str, int, int | None], None]]:
    """A function for the pipeline to call, which shows a bar on the terminal for each stage."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def show(stage: str, done: int, total: int | None) -> None:
        if stage not in bars:
            close()
            bars[stage] = tqdm(desc=stage, total=total, unit=" frames", file=sys.stderr, disable=None)
        bars[stage].update(done - bars[stage].n)

    def close() -> None:
        for bar in bars.values():
            bar.close()

    try:
        yield show
    finally:
        close()
