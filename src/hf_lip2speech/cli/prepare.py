"""hf-lip2speech prepare: a corpus of talking-face videos -> training data."""

import argparse
import sys

from ..constants import NUM_UNITS
from ..data.corpora import GRID, FaceVideoFolder
from ..data.layout import PreparedFolder
from ..data.prepare import DEFAULT_UNITS, prepare

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended: 128 + SIGINT
SHOWN = 3  # skipped clips that are printed of each reason; the report names all


def run(args: argparse.Namespace) -> int:
    """Prepare `args.data_dir` into `args.out`; say on stderr what became of it.

    Returns:
        0; 130 after Ctrl-C (the same command then goes on).

    Raises:
        Lip2SpeechError: Nothing could be prepared; see `hf_lip2speech.data.prepare.prepare`.
    """
    if args.corpus == "grid":
        corpus = GRID(args.data_dir, speakers=None if args.speaker is None else [args.speaker])
    else:
        corpus = FaceVideoFolder(args.data_dir, speaker=args.speaker)
    folder = PreparedFolder(args.out)
    try:
        report = prepare(
            corpus,
            args.out,
            num_proc=args.num_proc,
            unit_extractor=args.units or DEFAULT_UNITS,
            num_units=args.num_units or NUM_UNITS,
            splits=args.splits,
            limit=args.limit,
        )
    except KeyboardInterrupt:
        print("Interrupted. What is done is kept: run the same command again to go on.", file=sys.stderr)
        return INTERRUPTED
    for reason, skipped in report["skipped"].items():
        print(f"Skipped {len(skipped)}, {reason}:", file=sys.stderr)
        for clip in skipped[:SHOWN]:
            print(f"  {clip['id']}: {clip['message']}", file=sys.stderr)
        if len(skipped) > SHOWN:
            print(f"  and {len(skipped) - SHOWN} more, see {folder.report}", file=sys.stderr)
    splits = ", ".join(f"{name} {split['clips']}" for name, split in report["splits"].items())
    print(f"{report['clips']} clips ({splits}), {report['hours']:.2f} hours in {args.out}", file=sys.stderr)
    return 0
