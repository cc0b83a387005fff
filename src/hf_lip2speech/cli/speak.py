"""`hf-lip2speech speak`: one video in, its speech as a sound file, and if wished as a video and a picture."""

import argparse
import os
import sys
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from tqdm import tqdm

from ..errors import Lip2SpeechError, MissingVideoError, MouthCropError, NoFaceError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import model_source
from ..media.audio import write_audio
from ..media.mux import mux_speech
from ..media.video import is_url
from ..models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..pipeline import LipToSpeechPipeline
from ..plotting import check_plot_path, plot_speech, require_matplotlib

SOUND_FORMATS = (".wav", ".flac")


def run(args: argparse.Namespace) -> int:
    """Make the speech; everything that can be wrong with the arguments is found before the model is loaded.

    Raises:
        Lip2SpeechError, OSError: see the messages.
    """
    if not is_url(args.video) and not os.path.isfile(args.video):
        raise MissingVideoError(f"{args.video!r} is not a file: give a video file or an http(s) URL.")
    output = _default_output(args.video) if args.output is None else Path(args.output)
    video_output = None if args.video_output is None else Path(args.video_output)
    plot = None if args.plot is None else Path(args.plot)
    _check_outputs([path for path in (output, video_output, plot) if path is not None], args)
    if output.suffix.lower() not in SOUND_FORMATS:
        raise Lip2SpeechError(f"Sound is written as {' or '.join(SOUND_FORMATS)}, got {output.name!r}.")
    if video_output is not None and video_output.suffix.lower() != ".mp4":
        raise Lip2SpeechError(f"The video with speech is written as .mp4, got {video_output.name!r}.")
    if plot is not None:
        check_plot_path(plot)
        require_matplotlib()

    speak = load_pipeline(args.model, args.device, args.dtype)
    voice = {} if args.speaker is None else {"speaker": args.speaker}
    wanted = {} if plot is None else {"return_mouth": True, "return_spectrogram": True, "return_units": True}
    try:
        with _Progress() as progress:
            speech = speak(args.video, cropped=args.cropped, progress=progress, **voice, **wanted)
    except (NoFaceError, MouthCropError) as error:
        raise type(error)(str(error).replace("cropped=True", "--cropped")) from error

    write_audio(output, speech["audio"], speech["sampling_rate"])
    print(output)
    if video_output is not None:
        mux_speech(args.video, speech["audio"], video_output, speech["sampling_rate"])
        print(video_output)
    if plot is not None:
        title = _name(args.video)
        plot_speech(plot, speech["mouth"], speech["spectrogram"], speech["unit_ids"], title=title)
        print(plot)
    return 0


def load_pipeline(model: str, device: str | None, dtype: str) -> LipToSpeechPipeline:
    """The pipeline of a folder, a Hub repository or `bundled`.

    Raises:
        Lip2SpeechError: what is there is not a lip-to-speech model, or the device is unknown.
        OSError: nothing is there, or the Hub cannot be reached.
    """
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch's answers to a bad name and to a missing GPU
            reason = str(error).splitlines()[0]
            raise Lip2SpeechError(f"The device {device!r} cannot be used: {reason}") from error
    source = model_source(model)
    config = Lip2SpeechWithVocoderConfig.from_pretrained(source)
    extractor = Lip2SpeechFeatureExtractor.from_pretrained(source)
    print(f"loading {model}", file=sys.stderr)
    loaded = Lip2SpeechWithVocoder.from_pretrained(source, config=config, dtype=dtype)
    return LipToSpeechPipeline(model=loaded, feature_extractor=extractor, device=device)


def _name(video: str) -> str:
    return PurePosixPath(unquote(urlsplit(video).path)).name if is_url(video) else Path(video).name


def _default_output(video: str) -> Path:
    """The video's name with .wav, in the current folder; never an existing file: it may be true speech."""
    output = Path((Path(_name(video)).stem or "speech") + ".wav")
    if output.exists():
        raise Lip2SpeechError(
            f"{output} exists already: name the sound file with -o (a file named there is overwritten)."
        )
    return output


def _check_outputs(outputs: list[Path], args: argparse.Namespace) -> None:
    inputs = [Path(name) for name in (args.video, args.speaker) if name is not None and os.path.isfile(name)]
    seen: list[Path] = []
    for output in outputs:
        if not output.parent.is_dir():
            raise Lip2SpeechError(f"The folder of {output} does not exist: make {output.parent} first.")
        if output.is_dir():
            raise Lip2SpeechError(f"{output} is a folder: give the name of a file in it.")
        if output.exists() and any(output.samefile(given) for given in inputs):
            raise Lip2SpeechError(f"{output} is an input: it would be overwritten. Give another name.")
        if output.resolve() in seen:
            raise Lip2SpeechError(f"{output} is named for two outputs: give each its own name.")
        seen.append(output.resolve())


class _Progress:
    """A bar on standard error for each stage."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._bar: tqdm | None = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        if self._bar is None or stage != self._stage:
            if self._bar is not None:
                self._bar.close()
            self._stage = stage
            self._bar = tqdm(desc=stage, total=total, unit=" frames", file=sys.stderr)
        self._bar.update(done - self._bar.n)
