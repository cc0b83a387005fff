"""Export a model as ONNX files, which run without torch and transformers.

DIR gets the lip reader, the vocoder, the preprocessing's numbers, the voices and a README.md with names and
shapes. Every file is run once and compared with torch.
"""

import argparse
import os
import sys

from hf_lip2speech_extras import require_needed

from .options import check_model, check_new


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="folder or Hub name of a composed model, or bundled")
    add("out", metavar="DIR", help="folder to write; it must not exist")
    int8 = "also write the lip reader with matrix products in 8 bits"
    add("--int8", action="store_true", help=int8)


def run(args: argparse.Namespace) -> int:
    check_new(args.out)
    check_model(args.model)
    require_needed("export")

    from hf_lip2speech.export import export_onnx

    for name, difference in export_onnx(args.model, args.out, int8=args.int8).items():
        path = os.path.join(args.out, name)
        print(f"{path}: differs from torch by at most {difference:.0e}", file=sys.stderr)
    print(args.out)
    return 0
