"""The command `hf-lip2speech`: each subcommand is two functions, its options and what it runs.

This package is beside hf_lip2speech, not in it, because importing anything from hf_lip2speech registers the
models and thus imports torch and transformers, which takes seconds. Here only the standard library is
imported until a command has checked its arguments, so that help and mistakes are shown at once. (argparse
rather than typer, whose options take a fixed number of values: `--voices A B` needs any number.)

Exit codes: 0 done; 1 failed, with one line on standard error (`--debug` shows the traceback); 2 wrong usage;
130 interrupted.
"""

import argparse
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from logging import WARNING
from typing import Any

from hf_lip2speech_extras import MissingExtraError

from . import corpora, evaluate, live, models, personalise, speak
from .options import CommandError, Parser, in_own_words
from .terminal import PROGRAM, error_line, quiet_loading, say

VERBOSITY = "TRANSFORMERS_VERBOSITY"
INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended: 128 + SIGINT
COMMANDS = (
    (speak.speak, speak.speak_options),
    (speak.read, speak.read_options),
    (live.live, live.live_options),
    (personalise.record, personalise.record_options),
    (personalise.personalise, personalise.personalise_options),
    (corpora.prepare, corpora.prepare_options),
    (corpora.render, corpora.render_options),
    (corpora.reface, corpora.reface_options),
    (models.compose, models.compose_options),
    (evaluate.evaluate, evaluate.evaluate_options),
    (models.convert, models.convert_options),
    (models.export, models.export_options),
    (models.publish, models.publish_options),
    (models.demo, models.demo_options),
)
RESUMING = ("record", "personalise", "prepare", "render", "reface", "evaluate")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns its exit code (wrong usage leaves through argparse's SystemExit 2)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file name may be none of the terminal's letters
            stream.reconfigure(errors="backslashreplace")
    parser = make_parser()
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    args.command_line = [PROGRAM, *(sys.argv[1:] if arguments is None else arguments)]
    code = run_readably(PROGRAM, lambda: args.run(args), debug=args.debug)
    if code == INTERRUPTED and args.resumes:
        print("Finished work is kept: run the same command again to resume.", file=sys.stderr)
    return code


def make_parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Turn a silent video of a talking face into speech.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the package's version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for run, add_options in COMMANDS:
        name, text = run.__name__, inspect.getdoc(run) or ""
        summary = text.partition(".")[0]
        command = commands.add_parser(name, help=summary[:1].lower() + summary[1:], description=text)
        add_options(command)
        command.add_argument(
            "--debug", action="store_true", help="show full tracebacks and unfiltered warnings"
        )
        command.set_defaults(run=run, usage_error=command.error, resumes=name in RESUMING)
    return parser


def run_readably(program: str, work: Callable[[], int], *, debug: bool = False) -> int:
    """Call `work` as a program does: errors that a user can mend are one line, which begins with `program`,
    and Ctrl-C is no traceback; with `debug`, every error and warning passes as it is.

    Returns the exit code: that of `work`, 1 for an error, 130 for Ctrl-C.
    """
    if debug:
        return work()
    with _readable_warnings(program):
        try:
            return work()
        except KeyboardInterrupt:
            print(f"{program}: interrupted", file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            if isinstance(error, (CommandError, MissingExtraError)):
                message = str(error)
            else:
                from hf_lip2speech.errors import message_for_user

                message = message_for_user(error)
            if message is None:  # a bug: show where
                raise
            error_line(in_own_words(message), program)
            return 1


@contextmanager
def _readable_warnings(program: str) -> Generator[None]:
    """Warnings are one line each, and transformers, whose warnings repeat what our errors say, is quiet."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"{program}: warning: {' '.join(in_own_words(str(message)).split())}", file=sys.stderr)

    def transformers_logging() -> Any:
        return sys.modules.get("transformers.utils.logging")

    quieten = VERBOSITY not in os.environ
    before = transformers_logging().get_verbosity() if transformers_logging() else WARNING
    with warnings.catch_warnings(), quiet_loading():
        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        try:
            if quieten:
                os.environ[VERBOSITY] = "error"  # read when transformers is imported, here or in a worker
                if transformers_logging():
                    transformers_logging().set_verbosity_error()
            yield
        finally:
            if quieten:
                os.environ.pop(VERBOSITY, None)
                if transformers_logging():
                    transformers_logging().set_verbosity(before)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version

        print(f"{PROGRAM} {version(PROGRAM)}")
        parser.exit()
