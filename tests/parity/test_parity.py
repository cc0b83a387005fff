"""Equal numbers with the published code: its checkpoints, converted, give its outputs, losses, gradients.

Against all reference numbers where they lie beside this checkout, else against the few that are kept here.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from .__main__ import PARTS, main, print_table
from .reference import Reference, ReferenceError, Row, relative

KEPT = Path(__file__).parent / "reference_small"
ALL = Path(__file__).resolve().parents[2].parent / "shared" / "reference"

CASES = {
    "l2s": {"l2s", "l2s/A", "l2s/eval", "l2s/train"},
    "avh_base": {
        *("avh_base", "avh_base/A", "avh_base/eval", "avh_base/train_frozen", "avh_base/eval_unfrozen"),
    },
    "avh_large": {"avh_large", "avh_large/A"},
    "vocoder": {"vocoder/A"},
    "vocoder_eval": {"vocoder/eval"},
    "vocoder_train": {"vocoder/train"},
}
ALSO_IN_ALL = {
    "l2s": {"l2s/B", "l2s/B1 in its batch, masked"},
    "avh_base": {"avh_base/B", "avh_base/B1 in its batch, masked"},
    "vocoder": {"vocoder/B", "vocoder/T"},
}


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(ALL if ALL.is_dir() else KEPT)


# vocoder_train has what vocoder_eval has, and the spectral norm's power iteration.
SLOW = {"avh_large", "vocoder_eval"}


@pytest.mark.parametrize("part", [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PARTS])
def test_every_case_has_the_published_numbers(part, reference):
    if part == "avh_large" and reference.directory == KEPT:
        pytest.skip("the numbers of AV-HuBERT Large are not beside this checkout (shared/reference)")
    rows = list(PARTS[part](reference))
    expected = CASES[part] if reference.directory == KEPT else CASES[part] | ALSO_IN_ALL.get(part, set())
    assert {row.case for row in rows} == expected
    assert [row for row in rows if not row.ok] == []


def test_a_wrong_number_is_found_and_the_command_fails(tmp_path, capsys):
    for name in ("fingerprint.json", "vocoder_spec.json.gz"):
        shutil.copy(KEPT / name, tmp_path)
    waveform = np.load(KEPT / "vocoder_A.npz")["wav"]
    waveform[0, 0, 1000] += 2e-4
    np.savez(tmp_path / "vocoder_A.npz", wav=waveform)
    assert main([str(tmp_path), "--only", "vocoder"]) == 1
    printed = capsys.readouterr().out
    assert "waveform" in printed and "2.0e-04    1e-04  TOO FAR" in printed
    assert "Some are not equal." in printed


def test_the_table_says_whether_all_are_near_enough(capsys):
    near, far, lost = Row("a", "x", 1e-6, 1e-5), Row("a", "y", 1e-4, 1e-5), Row("a", "z", float("nan"), 1e-5)
    assert print_table([near]) and not print_table([near, far]) and not print_table([lost])
    assert capsys.readouterr().out.count(" ok") == 2


def test_weights_that_are_drawn_otherwise_are_found_out(tmp_path):
    shutil.copy(KEPT / "vocoder_spec.json.gz", tmp_path)
    fingerprint = json.loads((KEPT / "fingerprint.json").read_text())
    fingerprint["vocoder"]["first3"]["ups.4.weight_v"][1] += 1e-3
    (tmp_path / "fingerprint.json").write_text(json.dumps(fingerprint))
    with pytest.raises(ReferenceError, match=r"ups\.4\.weight_v starts with"):
        Reference(tmp_path).weights("vocoder")


def test_a_folder_without_numbers_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path)])
    assert stop.value.code == 2 and "no fingerprint.json" in capsys.readouterr().err


def test_a_missing_value_is_never_near():
    assert relative(float("nan"), 1.0) != relative(float("nan"), 1.0)
    assert not Row("a", "x", relative(float("nan"), 1.0), 1.0).ok


def test_what_is_kept_here_is_what_the_whole_reference_says(reference_dir):
    whole, kept = Reference(reference_dir), Reference(KEPT)
    for path in KEPT.glob("*.npz"):
        for name, values in kept.arrays(path.stem).items():
            assert np.array_equal(values, whole.arrays(path.stem)[name]), (path, name)
    for path in KEPT.glob("*.json*"):
        name = path.name.removesuffix(".gz")
        ours, theirs = kept.document(name), whole.document(name)
        if name.endswith("_spec.json"):
            theirs = {key: entry[:1] for key, entry in theirs.items()}
        assert ours == theirs, name
