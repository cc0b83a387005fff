"""The command `live`."""

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from hf_lip2speech_extras import require_installed

from .options import (
    CommandError,
    add_device,
    add_model,
    check_default_voice,
    check_model,
    check_outputs,
    check_suffix,
    load,
    natural,
)

PIPE = Path("-")


def live_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    source = "a camera's number or device, a video file, or - for standard input (default: 0, the camera)"
    add("source", metavar="SOURCE", nargs="?", default="0", help=source)
    add_model(parser)
    output = "write the sound to a .wav file, or to standard output (-: 16 kHz, mono, signed 16 bits)"
    add("-o", "--output", metavar="OUT.wav", type=Path, help=output)
    play = "play the sound as well as writing it (without --output, it is played anyway)"
    add("--play", action="store_true", help=play)
    voice = "a voice of the model, or a recording (default: its default voice)"
    add("--speaker", metavar="VOICE", help=voice)
    ahead = "frames (40 ms each) seen before a frame is spoken; fewer are faster and worse (default: 8)"
    add("--look-ahead", metavar="FRAMES", type=natural, default=8, help=ahead)
    add_device(parser, dtype=True)


def live(args: argparse.Namespace) -> int:
    """Speak while the lips move: from a camera, a pipe or a file, to the loudspeakers, a file or a pipe.

    What a model with a text head reads is printed as it comes. Ctrl-C ends it; a sound file is whole then.
    Standard error shows the latency and how many frames were dropped: where the machine is too slow, frames
    are, so that the sound does not lag more and more.
    """
    _check_source(args.source)
    if args.output is not None and args.output != PIPE:
        check_outputs([args.output], inputs=(args.source, args.speaker))
        check_suffix(args.output, (".wav",), "The sound file")
    check_model(args.model)
    if args.output is None or args.play:
        require_installed("sounddevice")

    from hf_lip2speech.live import LiveSession
    from hf_lip2speech.media.live import Speakers, live_frames, open_wav
    from hf_lip2speech.streaming import LipToSpeechStream

    with ExitStack() as outputs:
        record, plays = None, []
        if args.output is None or args.play:
            speakers = outputs.enter_context(Speakers())
            outputs.callback(speakers.drain)
            plays.append(speakers.play)
        print(f"loading {args.model}", file=sys.stderr)
        if args.speaker is None:
            check_default_voice(args.model)
        pipe = load(args)
        stream = LipToSpeechStream(pipe, look_ahead=args.look_ahead, speaker=args.speaker)
        if args.output is not None and args.output != PIPE:
            record = outputs.enter_context(open_wav(args.output))
        elif args.output is not None:
            plays.append(_write_pcm)

        session, stopped = LiveSession(stream), threading.Event()

        def stop(*_: Any) -> None:
            stopped.set()
            session.end()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # twice is at once

        for number in (signal.SIGINT, signal.SIGTERM):
            outputs.callback(signal.signal, number, signal.signal(number, stop))
        outputs.callback(stopped.set)
        session.watch(live_frames(args.source, stopped))
        print("speaking; stop with Ctrl-C", file=sys.stderr)
        reads = pipe.model.config.lip2speech.text_vocabulary is not None and args.output != PIPE
        meter = _Meter(session, anew=not (reads and sys.stdout.isatty()))
        for samples, heard in session.speech():
            if record is not None:
                record(samples)
            for play in plays if heard else ():
                play(samples)
            if reads:
                print(stream.take_text(), end="", flush=True)
            meter.show()
        if reads:
            print()
        if not session.seconds:  # and no empty file is left
            dropped = f"{session.frames} frames came, and {session.dropped} of them were dropped"
            raise session.error or CommandError(f"Nothing was spoken: {dropped}.")
        meter.end()
    if session.error is not None:  # after the sound was saved
        raise session.error
    return 0


def _check_source(name: str) -> None:
    if os.path.isdir(name):
        raise CommandError(f"{name} is a folder: name a camera, a video file, or - for a pipe.")
    if name != "-" and not name.isdecimal() and sys.platform != "win32" and not os.path.exists(name):
        raise CommandError(
            f"there is no file {name!r}: expected a camera's number, a video file, or - for a pipe."
        )


def _write_pcm(samples: Any) -> None:
    sys.stdout.buffer.write((samples * 32767).round().astype("<i2").tobytes())
    sys.stdout.buffer.flush()


class _Meter:
    """A line on the terminal, anew every second, and a last one; a warning when frames are dropped.

    Args:
        session: what is measured.
        anew: False where text is written to the terminal: there is the last line alone.
    """

    def __init__(self, session: Any, anew: bool):
        self._session, self._next, self._warned = session, 0.0, False
        self._clear = "\r\033[K" if anew and sys.stderr.isatty() else ""

    def show(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 1
        if self._session.dropped and not self._warned:
            self._warned = True
            slow = "This machine is too slow or too busy: frames are dropped, with their speech."
            print(f"{self._clear}{slow}", file=sys.stderr)
        if self._clear:
            face = "" if self._session.stream.face_seen else ", no face"
            print(f"{self._clear}{self._line()}{face}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        print(f"{self._clear}{self._line()}", file=sys.stderr)

    def _line(self) -> str:
        session = self._session
        middle, high = (round(1000 * session.latency(percent)) for percent in (50, 95))
        return (
            f"{session.seconds:.1f} s spoken, latency {middle} ms (95 %: {high} ms; without computing "
            f"{1000 * session.stream.latency:.0f} ms), {session.dropped} of {session.frames} frames dropped, "
            f"{session.real_time_factor:.2f} of the time computing"
        )
