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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (wrong usage leaves through argparse's SystemExit 2)."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    args.command_line = [PROGRAM, *(sys.argv[1:] if arguments is None else arguments)]
    if not args.debug:
        _quieten_transformers()
        warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
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


def _quieten_transformers() -> None:
    """It warns of a model of another kind, and tables a broken one's weights, before we say so in a line."""
    if "TRANSFORMERS_VERBOSITY" in os.environ:
        return
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    if "transformers" in sys.modules:  # `python -m hf_lip2speech` has imported it by now
        from transformers.utils import logging

        logging.set_verbosity_error()


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
    _add_render(
        commands.add_parser("render", parents=[common], help="draw talking faces to learn from, with flite")
    )
    _add_compose(
        commands.add_parser("compose", parents=[common], help="join trained models into one that speaks")
    )
    _add_evaluate(
        commands.add_parser("evaluate", parents=[common], help="score a model and show what it says")
    )
    _add_convert(
        commands.add_parser("convert", parents=[common], help="make a published checkpoint loadable here")
    )
    _add_publish(
        commands.add_parser("publish", parents=[common], help="put a model on the Hub, with its card")
    )
    _add_demo(commands.add_parser("demo", parents=[common], help="show it on a page, in the browser"))
    return parser


def _add_speak(parser: argparse.ArgumentParser) -> None:
    parser.description = "Make speech from the silent video of a face."
    parser.add_argument(
        "video", metavar="VIDEO", help="video file or http(s) URL, any container, codec and rate"
    )
    parser.add_argument(
        "-m",
        "--model",
        default="bundled",
        help="folder or Hub repository of a lip2speech_with_vocoder model (default: bundled, the one in the "
        "package)",
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
        "on where it was interrupted; OUT/report.json says what was skipped and why, OUT/contact_sheet.png "
        "shows what came out."
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        choices=("grid", "lrs2", "lrs3", "rendered", "folder"),
        help="grid, lrs2, lrs3, rendered (by the command render), or folder: any folder of talking-face "
        "videos with sound",
    )
    parser.add_argument("data_dir", metavar="DATA_DIR", help="where the corpus lies")
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--dry-run", action="store_true", help="write nothing; tell time and disk from a sample of the clips"
    )
    parser.add_argument("--num-proc", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="i/n",
        help="only the i-th of n parts, 1/n to n/n, as in a job array; after all of them, the same command "
        "without --shard writes manifest and report",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or the Ray cluster that is running (default: local)",
    )
    parser.add_argument(
        "--max-seconds",
        type=_positive,
        metavar="S",
        help="cut longer clips between words, where the corpus has word times (default: 24)",
    )
    parser.add_argument(
        "--configuration",
        metavar="NAME",
        help="lrs3: 433h (default), 30h or pretrain; lrs2: 224h (default), 29h or pretrain; grid: "
        "speaker-dependent (default), 33-speaker or unseen-speaker",
    )
    parser.add_argument(
        "--valid-ids", metavar="FILE", help="lrs3: the validation clips, one a line (default: 1,200 drawn)"
    )
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
        help="mfcc, the folder of a fitted unit extractor, `bundled` (that of the model in the package), or "
        "the Hub name of a self-supervised speech model (default: facebook/hubert-base-ls960)",
    )
    parser.add_argument("--num-units", type=_positive, metavar="N", help="speech units to fit (default: 200)")


def _add_render(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw talking faces that speak GRID's sentences with the voices of flite, which must be installed, "
        "and write them as a corpus for `prepare rendered`. Goes on where it was interrupted."
    )
    parser.add_argument("out", metavar="OUT", help="folder to write")
    parser.add_argument(
        "--clips", type=_positive, required=True, metavar="N", help="clips of 3 s, of four talkers in turn"
    )
    parser.add_argument("--seed", type=int, default=0, help="of sentences, looks and movements (default: 0)")
    parser.add_argument(
        "--size", type=_positive, nargs=2, default=(360, 288), metavar=("W", "H"), help="default: 360 288"
    )
    parser.add_argument("--num-proc", type=_positive, default=1, metavar="N", help="processes (default: 1)")


def _add_compose(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Join a trained lip-to-speech model, a vocoder and the voices of a prepared folder's speakers into "
        "the one folder that speak and the pipeline load."
    )
    parser.add_argument(
        "lip2speech", metavar="LIP2SPEECH", help="folder or Hub repository of the first model, or `bundled`"
    )
    parser.add_argument(
        "vocoder", metavar="VOCODER", help="folder or Hub repository of the vocoder, or `bundled`"
    )
    parser.add_argument("out", metavar="OUT", help="folder to write; it must not exist")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--voices",
        metavar="PREPARED",
        nargs="+",
        help="prepared folders: each of their speakers becomes a voice, and the first one's unit extractor "
        "comes along",
    )
    source.add_argument(
        "--units",
        metavar="PREPARED",
        help="a prepared folder whose unit extractor comes along, but no voice: for corpora of thousands of "
        "speakers",
    )
    parser.add_argument(
        "--rename", metavar="SPEAKER=NAME", nargs="+", help="call a speaker's voice otherwise"
    )
    parser.add_argument(
        "--default-voice", metavar="NAME", help="the voice of who names none (default: the first of all)"
    )
    parser.add_argument(
        "--float16", action="store_true", help="store the weights in half the size; computed in float32"
    )


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn a published checkpoint (multi-target, multi-target on AV-HuBERT, vocoder with its config.json "
        "beside it, AV-HuBERT pre-training) into a folder that from_pretrained loads. Nothing in the file is "
        "run."
    )
    parser.set_defaults(usage_error=parser.error)
    parser.usage = (
        f"{PROGRAM} convert SRC DST\n"
        f"       {PROGRAM} convert --composite L2S VOCODER DST [--voices PREPARED ...] "
        "[--default-voice NAME]\n"
        f"       {PROGRAM} convert --to-published SRC DST"
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="what to read, then the folder to write, which must not exist",
    )
    direction = parser.add_mutually_exclusive_group()
    direction.add_argument(
        "--composite",
        action="store_true",
        help="join a lip-to-speech model and a vocoder, each a published file or a converted folder, into "
        "the one folder that speak and the pipeline load",
    )
    direction.add_argument(
        "--to-published",
        action="store_true",
        help="the way back: write the vocoder of a folder as the published code reads it",
    )
    parser.add_argument(
        "--voices",
        metavar="PREPARED",
        nargs="+",
        help="with --composite: prepared folders, each of whose speakers becomes a voice",
    )
    parser.add_argument(
        "--default-voice", metavar="NAME", help="the voice of who names none (default: the first of all)"
    )


def _add_publish(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Upload a model to the Hub, loadable by whoever has this package: weights, configuration, feature "
        "extractor, a sample, results and a card. Log in first: hf auth login."
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="folder of a model, whole or a part, as compose, convert and the trainings write it, or "
        "`bundled`",
    )
    parser.add_argument("repo_id", metavar="user/name", help="repository; made where it does not exist")
    parser.add_argument("--private", action="store_true", help="visible to you alone")
    parser.add_argument(
        "--facts",
        metavar="FILE.yaml",
        help="what the card says: title, license, data, recipe, limits, ... (default: CHECKPOINT/card.yaml, "
        "else CHECKPOINT/README.md as it is)",
    )
    parser.add_argument(
        "--evaluation",
        metavar="DIR",
        help="folder that evaluate wrote (default: CHECKPOINT/results.json, if it is there)",
    )
    parser.add_argument(
        "--sample",
        metavar="VIDEO",
        help="a face for the sample; its speech alone is published (default: CHECKPOINT/samples, else a "
        "drawn talker)",
    )


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve a page on which a video is uploaded or filmed, and speaks, until Ctrl-C. What visitors upload "
        "is deleted after about an hour, and all of it at the end."
    )
    parser.add_argument(
        "-m",
        "--model",
        default="bundled",
        help="folder or Hub repository of a lip2speech_with_vocoder model (default: bundled, the one in the "
        "package)",
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        help="address to listen at, 0.0.0.0 for the whole network (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument("--port", type=_positive, help="(default: the first free one from 7860)")
    parser.add_argument(
        "--share",
        action="store_true",
        help="also an https address for phones and friends, through a server of Gradio's makers",
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Score a model on a split of a corpus: a table with intervals, the speech, and a page to look at "
        "without a network. Goes on where it was interrupted; under `accelerate launch -m hf_lip2speech "
        "evaluate ...` the processes share the clips."
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="folder or Hub repository of a lip2speech_with_vocoder model, or `bundled`",
    )
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="GRID, a folder that prepare wrote, or any folder of talking-face videos with sound",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    parser.add_argument(
        "--split", metavar="SPLIT", help="train, val or test (default: test where there is one, else val)"
    )
    parser.add_argument(
        "--recogniser",
        metavar="NAME",
        help="grid (pocketsphinx with GRID's grammar), whisper:MODEL (faster-whisper), the folder or Hub "
        "name of a transformers model, or none (default: grid where all sentences are GRID's, else none)",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="what Whisper is told beforehand (default: nothing)")
    parser.add_argument(
        "--speaker",
        metavar="VOICE",
        help="a voice of the model, a recording, `own`: each clip's own, from its true sound, or `other`: "
        "another speaker's, where there is one (default: the model's voice of the clip's speaker's name, "
        "else its default voice)",
    )
    parser.add_argument(
        "--units",
        metavar="EXTRACTOR",
        help="unit extractor that the model was trained with, or a prepared folder that holds it (default: "
        "the model's own)",
    )
    parser.add_argument(
        "--vocoder-units-only", metavar="VOCODER", help="a vocoder trained without mel: a row of its own"
    )
    parser.add_argument(
        "--vocoder-mel-only", metavar="VOCODER", help="a vocoder trained without units: a row of its own"
    )
    parser.add_argument(
        "--syncnet", metavar="FILE", help="SyncNet's weights, syncnet_v2.model: adds lip-sync scores"
    )
    parser.add_argument(
        "--hub-dataset", metavar="OWNER/NAME", help="the data set on the Hub: also write .eval_results"
    )
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N clips")
    parser.add_argument("--seed", type=int, default=0, help="of shuffling, noise and intervals (default: 0)")
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, mps, ... (default: the first accelerator, else cpu)"
    )


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected i/n with i from 1 to n, such as 1/8, got {text!r}")
    return int(index), int(count)


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
