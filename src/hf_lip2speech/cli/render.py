"""hf-lip2speech render: a corpus of drawn talking faces."""

import argparse
import sys

from ..synthetic.render import render


def run(args: argparse.Namespace) -> int:
    """Render `args.clips` clips into `args.out`.

    Returns:
        0.

    Raises:
        Lip2SpeechError: flite is missing, or `args.out` holds other clips; see `render`.
        KeyboardInterrupt: What is done is kept.
    """
    render(args.out, args.clips, seed=args.seed, size=tuple(args.size), num_proc=args.num_proc)
    print(f"{args.clips} clips in {args.out}", file=sys.stderr)
    return 0
