"""Render talking faces: a corpus without recorded people.

They are drawn, and speak GRID's sentences with the voices of flite, which must be installed. The corpus is
what `prepare rendered` reads. An interrupted run resumes.
"""

import argparse
import sys

from hf_lip2speech_extras import require_needed

from .options import positive


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("out", metavar="OUT", help="folder to write")
    clips = "number of clips of 3 s; the four speakers take turns"
    add("--clips", type=positive, required=True, metavar="N", help=clips)
    add("--seed", type=int, default=0, help="seed of sentences, looks and movements (default: 0)")
    size = "frame size in pixels (default: 360 288)"
    add("--size", type=positive, nargs=2, default=(360, 288), metavar=("W", "H"), help=size)
    add("--num-proc", type=positive, default=1, metavar="N", help="number of processes (default: 1)")


def run(args: argparse.Namespace) -> int:
    require_needed("render")

    from hf_lip2speech.synthetic.render import render

    render(args.out, args.clips, seed=args.seed, size=tuple(args.size), num_proc=args.num_proc)
    print(f"{args.clips} clips in {args.out}", file=sys.stderr)
    return 0
