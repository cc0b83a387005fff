"""hf-lip2speech prepare: a corpus of talking-face videos -> training data."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..constants import NUM_UNITS
from ..data.corpora import GRID, LRS2, LRS3, Corpus, FaceVideoFolder
from ..data.dry_run import estimate
from ..data.layout import UNIT_EXTRACTOR, PreparedFolder
from ..data.prepare import DEFAULT_UNITS, MAX_SECONDS, prepare
from ..errors import DatasetError
from ..loading import BUNDLED
from ..models.modeling_speech_units import SpeechUnitExtractor
from ..synthetic import RenderedTalker

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended: 128 + SIGINT
SHOWN = 3  # skipped clips that are printed of each reason; the report names all


def run(args: argparse.Namespace) -> int:
    """Prepare `args.data_dir` into `args.out`; say on stderr what became of it.

    Returns:
        0; 130 after Ctrl-C (the same command then goes on).

    Raises:
        Lip2SpeechError: Nothing could be prepared; see `hf_lip2speech.data.prepare.prepare`.
    """
    arguments: dict[str, Any] = {
        "num_proc": args.num_proc,
        "unit_extractor": _units(args.units),
        "num_units": args.num_units or NUM_UNITS,
        "splits": args.splits,
        "limit": args.limit,
        "max_seconds": args.max_seconds or MAX_SECONDS,
    }
    try:
        corpus = open_corpus(args)
        if args.dry_run:
            _tell_cost(estimate(corpus, **arguments), args.num_proc)
            return 0
        report = prepare(corpus, args.out, engine=args.engine, shard=args.shard, **arguments)
    except KeyboardInterrupt:
        print("Interrupted. What is done is kept: run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    _tell_report(report, args.out)
    return 0


def open_corpus(args: argparse.Namespace) -> Corpus:
    """The corpus that the command line names.

    Raises:
        DatasetError: It is not in the folder, or an option is not for it.
    """
    options = {"speaker": args.speaker, "configuration": args.configuration, "valid_ids": args.valid_ids}
    given = {name: value for name, value in options.items() if value is not None}
    known = {"grid": ("speaker", "configuration"), "rendered": ("speaker",), "folder": ("speaker",)}
    known |= {"lrs2": ("configuration",), "lrs3": ("configuration", "valid_ids")}
    for name in given:
        if name not in known[args.corpus]:
            raise DatasetError(
                f"--{name.replace('_', '-')} is not for {args.corpus}; expected one of the corpora "
                f"{', '.join(corpus for corpus, names in known.items() if name in names)}. Leave it out."
            )
    if args.corpus == "folder":
        return FaceVideoFolder(args.data_dir, **given)
    if args.corpus == "lrs2":
        return LRS2(args.data_dir, **given)
    if args.corpus == "lrs3":
        return LRS3(args.data_dir, **given)
    speakers = [given["speaker"]] if "speaker" in given else None
    if args.corpus == "rendered":
        return RenderedTalker(args.data_dir, speakers=speakers)
    setting = {"setting": given["configuration"]} if "configuration" in given else {}
    return GRID(args.data_dir, speakers=speakers, **setting)


def _units(name: str | None) -> str | SpeechUnitExtractor:
    if name == "bundled":
        return SpeechUnitExtractor.from_pretrained(BUNDLED / UNIT_EXTRACTOR).eval()
    return name or DEFAULT_UNITS


def _tell_report(report: dict[str, Any], out: str) -> None:
    path = PreparedFolder(Path(out)).report
    for reason, skipped in report["skipped"].items():
        print(f"Skipped {len(skipped)}, {reason}:", file=sys.stderr)
        for clip in skipped[:SHOWN]:
            print(f"  {clip['id']}: {clip['message']}", file=sys.stderr)
        if len(skipped) > SHOWN:
            print(f"  and {len(skipped) - SHOWN} more, see {path}", file=sys.stderr)
    for bug, clips in report["failed"].items():
        print(
            f"Failed {len(clips['ids'])} because of a bug, {bug} (please report it; the traceback is in "
            f"{path}):\n"
            f"  {', '.join(clips['ids'][:SHOWN])}",
            file=sys.stderr,
        )
    splits = ", ".join(f"{name} {split['clips']}" for name, split in report["splits"].items())
    print(f"{report['clips']} clips ({splits}), {report['hours']:.2f} hours in {out}", file=sys.stderr)
    if report["cut"]:
        print(f"Cut between words: {report['cut']} long clips.", file=sys.stderr)
    lost = report["lost"]
    if lost["clips"]:
        unknown = f", and {lost['unknown']} of unknown length" if lost["unknown"] else ""
        print(
            f"Lost {lost['clips']} of {report['found']} clips: {lost['hours']:.2f} hours{unknown}.",
            file=sys.stderr,
        )
    if "shard" in report:
        print(
            f"This was shard {report['shard']}. After all shards, the same command without --shard writes "
            "the manifest.",
            file=sys.stderr,
        )


def _tell_cost(cost: dict[str, Any], num_proc: int) -> None:
    print(
        f"From {cost['sample']} of {cost['clips']} clips:\n"
        f"  sound and video   {_span(cost['hours'])}\n"
        f"  crops and targets {_span(cost['crop_hours'])} of one process, +- {_span(cost['crop_error'])}\n"
        f"  units             {_span(cost['unit_hours'])} of one process on {cost['device']}, and "
        f"{_span(cost['fit_hours'])} before to fit them\n"
        f"  in all            {_span(cost['wall_hours'])} with --num-proc {num_proc} on this machine; on n "
        "such machines (--shard i/n) all but the fitting is divided by n\n"
        f"  on the disk       {cost['gigabytes']:.3g} GB in {cost['files']} files"
    )
    if cost["skipped"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in cost["skipped"].items())
        print(f"  skipped           {reasons}, of the {cost['sample']}")


def _span(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
