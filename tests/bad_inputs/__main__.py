"""python -m tests.bad_inputs: the outcome of every case, counted by kind, and each one that is wrong."""

import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from hf_lip2speech.media import sources

from .corpus import all_cases, serving
from .judging import judge


def main() -> int:
    sources.PATIENCE, sources.MAX_BYTES = 0.5, 1 << 20
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    here = os.getcwd()
    with serving() as web:
        for case in all_cases(web):
            with tempfile.TemporaryDirectory() as folder:
                outcome, note = judge(case, Path(folder))
                os.chdir(here)
            counts[case.kind][outcome] += 1
            if outcome == "WRONG":
                print(f"WRONG  {case.kind}, {case.name}: {note}", flush=True)
    print(f"{'kind':24}{'speech':>8}{'error':>8}{'WRONG':>8}")
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        print(f"{kind:24}{count['speech']:8}{count['error']:8}{count['WRONG']:8}")
    return int(any(count["WRONG"] for count in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
