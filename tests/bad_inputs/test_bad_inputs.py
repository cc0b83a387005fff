"""Every bad input gives speech of the right length or one named error: some of each kind, and all of them.

python -m tests.bad_inputs prints the table of all kinds.
"""

import itertools
import os
from collections import defaultdict

import pytest

from hf_lip2speech.media import sources

from .corpus import all_cases, serving
from .judging import judge

PER_KIND = 3


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    monkeypatch.setattr(sources, "MAX_BYTES", 1 << 20)
    with serving() as address:
        yield address


def wrong(cases, folder) -> list[str]:
    here, found = os.getcwd(), []
    for number, case in enumerate(cases):
        (folder / str(number)).mkdir()
        try:
            outcome, note = judge(case, folder / str(number))
        finally:
            os.chdir(here)
        if outcome == "WRONG":
            found.append(f"{case.kind}, {case.name}: {note}")
    return found


def test_a_few_bad_inputs_of_each_kind_give_speech_or_one_named_error(web, tmp_path):
    kinds = defaultdict(list)
    for case in all_cases(web):
        kinds[case.kind].append(case)
    chosen = [cases[:: max(1, len(cases) // PER_KIND)][:PER_KIND] for cases in kinds.values()]
    assert not wrong(itertools.chain(*chosen), tmp_path)


@pytest.mark.slow
def test_every_bad_input_gives_speech_or_one_named_error(web, tmp_path):
    cases = list(all_cases(web))
    assert len(cases) >= 300
    assert not wrong(cases, tmp_path)
