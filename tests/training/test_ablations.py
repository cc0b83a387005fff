"""The ablations: every arm is a configuration that loads, and a verdict says what the intervals say."""

import json

import pytest
import torch
import yaml

from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
from hf_lip2speech.training.config import load_arguments

from ..conftest import load_script
from .conftest import EXAMPLES
from .prepared_folder import NUM_UNITS, write_prepared_folder

FOLDER = EXAMPLES / "ablations"
PLANS = {
    name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    for name in ("ablations", "istft")
}
PLAN = PLANS["ablations"]
KINDS = {
    "train.py": (Lip2SpeechTrainingArguments, Lip2SpeechConfig, Lip2SpeechModel),
    "train_vocoder.py": (VocoderTrainingArguments, UnitVocoderConfig, UnitVocoderModel),
}


@pytest.fixture(scope="module")
def ablations():
    return load_script("examples/ablations/run.py")


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_arms_of_a_stage_have_one_size_and_one_budget(plan):
    sizes: dict[str, set] = {}
    for script, config, *changes in plan["trainings"].values():
        kind, model_config, model = KINDS[script]
        loaded = load_arguments(kind, FOLDER / config, changes)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in model(model_config(**loaded.model)).parameters())
        sizes.setdefault(script, set()).add(
            (parameters, loaded.max_steps, loaded.per_device_train_batch_size, loaded.seed)
        )
    assert all(len(found) == 1 for found in sizes.values())


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_what_is_put_together_is_trained_and_what_is_compared_is_put_together(ablations, plan):
    for system in plan["systems"].values():
        assert {system["lip2speech"], system["vocoder"]} <= {*plan["trainings"], "bundled"}
    for better, worse, measures in plan["comparisons"].values():
        assert {better, worse} <= set(plan["systems"]) and set(measures) <= set(ablations.SHOWN)


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        pytest.param([0] * 20, "holds", id="fewer wrong words in every clip"),
        pytest.param([4] * 20, "the opposite holds", id="more in every clip"),
        pytest.param([1, 3] * 10, "not distinguishable", id="now fewer, now more"),
    ],
)
def test_a_verdict_is_that_of_the_interval_over_clips(ablations, errors, verdict):
    other = {f"clip {n}": {"word_errors": 2, "words": 6, "stoi": 0.5} for n in range(20)}
    mine = {f"clip {n}": {"word_errors": e, "words": 6, "stoi": None} for n, e in enumerate(errors)}
    mine["clip of its own"] = {"word_errors": 6, "words": 6, "stoi": None}
    gain = ablations.compare("fewer words are wrong", mine, other, ["wer"])["gains"]["wer"]
    assert gain["verdict"] == verdict and gain["clips"] == 20
    assert gain["value"] == pytest.approx((40 - sum(errors)) / 120)
    few = dict(list(mine.items())[:3])
    assert ablations.compare("", few, other, ["wer"])["gains"]["wer"]["verdict"] == "not distinguishable"
    assert ablations.compare("", mine, other, ["stoi"])["gains"] == {"stoi": None}


def test_what_cannot_work_is_said_before_anything_is_trained(ablations, tmp_path):
    folder = write_prepared_folder(tmp_path / "data", train=1, val=1)
    out = tmp_path / "out"
    for arguments, message in (
        ([str(folder), str(tmp_path / "none")], "none is no prepared folder"),
        ([str(folder), str(folder), "maxsteps=2"], "Unknown key maxsteps"),
        ([str(folder), str(folder), "--jobs", "0"], "--jobs is 0"),
    ):
        with pytest.raises(SystemExit, match=message):
            ablations.main([*arguments, "--out", str(out)])
        assert not out.exists()


@pytest.mark.parametrize(("plan", "file"), [("ablations", "ablations"), ("istft", "ablations_istft")])
def test_the_page_shows_what_was_measured_with_these_configurations(ablations, plan, file):
    docs, arms = EXAMPLES.parent / "docs", PLANS[plan]
    results = json.loads((docs / f"{file}.json").read_text(encoding="utf-8"))
    assert ablations.as_markdown(results) in (docs / "ablations.md").read_text(encoding="utf-8")
    trainings = [load_arguments(KINDS[s][0], FOLDER / c, more) for s, c, *more in arms["trainings"].values()]
    assert set(results["settings"]["updates"].values()) == {loaded.max_steps for loaded in trainings}
    assert set(results["settings"]["seeds"]) == {loaded.seed for loaded in trainings}
    assert results["settings"]["changes"] == []
    assert [entry["direction"] for entry in results["comparisons"]] == list(arms["comparisons"])


@pytest.mark.slow
def test_all_arms_are_trained_evaluated_and_set_against_each_other(ablations, tmp_path, monkeypatch):
    """At a step each, on a made corpus that stands for both."""
    folder = write_prepared_folder(tmp_path / "data", train=2, frames=(30,))
    names = ("mel", "both", "plain")
    plan = PLAN | {
        "systems": {name: PLAN["systems"][name] for name in names},
        "comparisons": {"both are better": ["both", "mel", ["stoi"]]},
    }
    monkeypatch.setattr(ablations, "read_plan", lambda name: plan)
    small = [
        "max_steps=1",
        "per_device_train_batch_size=2",
        "num_samples=0",
        "report_to=none",
        f"model.num_units={NUM_UNITS}",
    ]
    arguments = [str(folder), str(folder), "--out", str(tmp_path / "out"), *small]
    ablations.main(arguments)
    found = json.loads((tmp_path / "out/ablations.json").read_text())
    spoken = [row for row in found["rows"] if row["row"] == "end_to_end"]
    assert [row["about"] for row in spoken] == [plan["systems"][name]["about"] for name in names]
    assert all(row["scores"]["stoi"]["clips"] == 2 for row in spoken)
    weights = tmp_path / "out/lip2speech/last/model.safetensors"
    written = weights.stat().st_mtime_ns
    ablations.main(arguments)  # again: all is there
    assert weights.stat().st_mtime_ns == written
    with pytest.raises(SystemExit, match="other settings"):
        ablations.main([*arguments, "max_steps=2"])
