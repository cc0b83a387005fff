"""Are the numbers the published ones? Prints a table of every reference case and its largest error.

    python -m tests.parity REFERENCE_DIR [--only PART ...]

The published kinds of checkpoint are written with weights that follow from their names, converted, and run.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence

from .lip2speech import lip2speech_rows
from .reference import Reference, ReferenceError, Row
from .vocoder import vocoder_rows, vocoder_training_rows

PARTS: dict[str, Callable[[Reference], Iterator[Row]]] = {
    "l2s": lambda reference: lip2speech_rows(reference, "l2s"),
    "avh_base": lambda reference: lip2speech_rows(reference, "avh_base"),
    "avh_large": lambda reference: lip2speech_rows(reference, "avh_large"),
    "vocoder": vocoder_rows,
    "vocoder_eval": lambda reference: vocoder_training_rows(reference, "eval"),
    "vocoder_train": lambda reference: vocoder_training_rows(reference, "train"),
}


def print_table(rows: Iterable[Row]) -> bool:
    """One line a row, as they come; whether all are within their limits."""
    every = True
    print(f"{'case':32} {'quantity':46} {'max error':>10} {'limit':>8}")
    for row in rows:
        every &= row.ok
        verdict = "ok" if row.ok else "TOO FAR"
        print(f"{row.case:32} {row.quantity:46} {row.error:10.1e} {row.limit:8.0e}  {verdict}", flush=True)
    return every


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=str(__doc__).splitlines()[0])
    parser.add_argument("reference", metavar="REFERENCE_DIR", help="folder with the reference numbers")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts")
    arguments = parser.parse_args(argv)
    try:
        reference = Reference(arguments.reference)
        every = print_table(row for part in arguments.only for row in PARTS[part](reference))
    except ReferenceError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print("All are equal within their limits." if every else "Some are not equal.")
    return 0 if every else 1


if __name__ == "__main__":
    raise SystemExit(main())
