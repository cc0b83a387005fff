"""The command `hf-lip2speech`: what may be said on its command line, and what its exit codes mean.

Only the standard library is imported until a command runs, so that `--help` answers at once: importing
anything inside hf_lip2speech costs the seconds that transformers costs. Each command is the `run` of a module
in hf_lip2speech.cli.

Exit codes: 0 done; 1 failed, with one line on standard error (`--debug` shows the trace); 2 wrong usage;
130 interrupted.
"""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

PROGRAM = "hf-lip2speech"
MODEL_VARIABLE = "HF_LIP2SPEECH_MODEL"
DEFAULT_MODEL: str | None = None  # no model is published yet


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (wrong usage leaves through argparse's SystemExit 2)."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    if not args.debug:
        warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
    if args.command == "speak":
        args.model = args.model or os.environ.get(MODEL_VARIABLE) or DEFAULT_MODEL
        if args.model is None:
            args.usage_error(
                "no model: pass -m/--model with a folder or a Hub repository, or set the variable "
                f"{MODEL_VARIABLE}"
            )
    try:
        return importlib.import_module(f"hf_lip2speech.cli.{args.command}").run(args)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from hf_lip2speech.errors import Lip2SpeechError

        # An ImportError is an extra that is not installed. Anything else is a mistake of ours: show where.
        if args.debug or not isinstance(error, (Lip2SpeechError, OSError, ImportError)):
            raise
        print(f"{PROGRAM}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Speech from the silent video of a face.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--debug", action="store_true", help="show the whole trace of an error and warnings as they are"
    )
    _add_speak(commands.add_parser("speak", parents=[common], help="make speech from a video"))
    _add_prepare(
        commands.add_parser("prepare", parents=[common], help="make training data from a corpus of videos")
    )
    _add_compose(
        commands.add_parser("compose", parents=[common], help="join trained models into one that speaks")
    )
    return parser


def _add_speak(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make speech from the silent video of a face."
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument(
        "video", metavar="VIDEO", help="video file or http(s) URL, any container, codec and rate"
    )
    parser.add_argument(
        "-m",
        "--model",
        help="folder or Hub repository of a lip2speech_with_vocoder model "
        f"(default: the variable {MODEL_VARIABLE})",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT.wav",
        help="sound file to write, .wav or .flac (default: the video's name with .wav, in this folder)",
    )
    parser.add_argument(
        "--video", dest="video_output", metavar="OUT.mp4", help="also write the video with the speech"
    )
    parser.add_argument(
        "--speaker",
        metavar="VOICE",
        help="one of the model's voices, or a recording of the speaker (default: the model's default voice)",
    )
    parser.add_argument(
        "--cropped", action="store_true", help="the video shows only the mouth already (96x96 gray)"
    )
    parser.add_argument(
        "--plot",
        metavar="OUT.png",
        help="also write a picture of mouth frames, mel spectrogram and speech units (.png, .pdf or .svg)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps, ... (default: the first accelerator, else cpu)"
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "float16", "bfloat16"),
        default="auto",
        help="number format of the model (default: auto, as it was saved)",
    )


def _add_prepare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make training data: mouth crops, sound, mel spectrograms, speech units and speaker embeddings. Goes "
        "on where it was interrupted; OUT/report.json says what was skipped and why."
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        choices=("grid", "folder"),
        help="grid, or folder: any folder of talking-face videos with sound",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="where the corpus lies")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument("--num-proc", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--splits", nargs="+", metavar="SPLIT", help="only these splits, such as train val (default: all)"
    )
    parser.add_argument("--speaker", metavar="NAME", help="only this speaker (default: all)")
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="only the first N clips of each split (default: all)"
    )
    parser.add_argument(
        "--units",
        metavar="SOURCE",
        help="mfcc, the folder of a fitted unit extractor, or the Hub name of a self-supervised speech model "
        "(default: facebook/hubert-base-ls960)",
    )
    parser.add_argument("--num-units", type=_positive, metavar="N", help="speech units to fit (default: 200)")


def _add_compose(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Join a trained lip-to-speech model, a vocoder and the voices of a prepared folder's speakers into "
        "the one folder that speak and the pipeline load."
    )
    parser.add_argument(
        "lip2speech", metavar="LIP2SPEECH", help="folder or Hub repository of the first model"
    )
    parser.add_argument("vocoder", metavar="VOCODER", help="folder or Hub repository of the vocoder")
    parser.add_argument("out", metavar="OUT", help="folder to write; it must not exist")
    parser.add_argument(
        "--voices",
        metavar="PREPARED",
        required=True,
        help="prepared folder: each of its speakers becomes a voice",
    )
    parser.add_argument(
        "--default-voice", metavar="NAME", help="the voice of who names none (default: the first by name)"
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"{PROGRAM}: warning: {' '.join(str(message).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
