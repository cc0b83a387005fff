"""Settings: what YAML files and overrides mean, and what is said when they mean nothing."""

import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import LoggerType

from hf_lip2speech.errors import ConfigError
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_mel_flow import MelFlowConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.discriminators import Discriminators
from hf_lip2speech.training import arguments
from hf_lip2speech.training.arguments import (
    Lip2SpeechTrainingArguments,
    MelFlowTrainingArguments,
    VocoderTrainingArguments,
)
from hf_lip2speech.training.config import (
    RENAMED,
    check_keys,
    checked,
    describe,
    load_arguments,
    parse_command_line,
    read_settings,
    run_command,
)
from hf_lip2speech.training.stages import known_fields

from .conftest import EXAMPLES

CONFIGS = EXAMPLES / "configs"
BASE = "data: d\noutput_dir: o\nreport_to: none\n"
STAGE_1, STAGE_2, STAGE_3 = Lip2SpeechTrainingArguments, VocoderTrainingArguments, MelFlowTrainingArguments


@pytest.fixture
def load(tmp_path):
    def load(text: str, *overrides: str, kind=STAGE_1):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_arguments(kind, path, overrides)

    return load


def test_a_file_changes_the_defaults_and_an_override_changes_the_file(load):
    text = BASE + "learning_rate: 1e-4\nmax_steps: 50_000\nmodel: {hidden_size: 8}\n"
    args = load(
        text,
        "adam_epsilon=1e-6",
        "seed=7",
        "save_steps=1e5",
        "eval_strategy=no",
        "model.num_hidden_layers=2",
        "data=[a,b]",
    )
    assert (args.learning_rate, args.adam_epsilon, args.adam_beta2) == (1e-4, 1e-6, 0.98)
    assert (args.seed, args.data_seed, args.max_steps, args.save_steps) == (7, 7, 50_000, 100_000)
    assert args.model == {"hidden_size": 8, "num_hidden_layers": 2} and args.folders == ["a", "b"]
    assert load(BASE, "eval_strategy=no").eval_strategy == "no"
    assert load(BASE, "data=a", kind=STAGE_2).folders == ["a"]


def test_a_base_file_is_changed_by_the_one_that_names_it(load, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text("seed: 1\nmodel: {hidden_size: 8, num_hidden_layers: 2}\n")
    args = load(BASE + "base: sub/base.yaml\nmodel: {hidden_size: 16}")
    assert args.seed == 1 and args.model == {"hidden_size": 16, "num_hidden_layers": 2}
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        load(BASE + "base: none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_stepps: 3", "Unknown key max_stepps. Did you mean .*max_steps"),
        ("batch_sise: 3", "Unknown key batch_sise. Did you mean .*per_device_train_batch_size"),
        ("qqqqqqqq: 3", "Unknown key qqqqqqqq. Known keys: .*batch_frames"),
        ("max_steps: many", "max_steps must be int: got 'many'"),
        ("max_steps: 2.5", "max_steps must be int: got 2.5"),
        ("max_steps: true", "max_steps must be int: got True"),
        ("max_steps: 0", "max_steps must be at least 1"),
        ("batch_frames: 0", "batch_frames must be at least 1"),
        ("unfreeze_encoder_after: 0", "unfreeze_encoder_after must be at least 1"),
        ("cache: 1", "cache must be bool"),
        ("model: 3", "model must be dict: got 3"),
        ("seed: 1\nseed: 2", "not valid YAML.*duplicate key seed"),
        ("ema_decay: 1.0", r"ema_decay must be in \[0, 1\)"),
        ("fp16: true", "fp16 needs a GPU"),
        ("metric_for_best_model: wer", "metric_for_best_model is wer; expected one of loss, unit_accuracy"),
        ("load_best_model_at_end: true", "best/ holds the best model"),
        ("encoder: e\ninit_from: i", "give one of them"),
        ("intelligibility_loss_weight: 40", "vocoder is missing"),
        (
            "intelligibility_loss_weight: 40\nvocoder: v\naugmentation: {speed: 0.1}",
            "leave augmentation.speed out",
        ),
        ("lr_scheduler_type: cosin", "cosin"),
        ("model: [", "not valid YAML"),
        ("seed: ${nothing}", "cannot be resolved"),
    ],
)
def test_a_mistake_in_the_file_is_named(load, text, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        load(BASE + text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mel_loss_windows: [a]", "mel_loss_windows must be list"),
        ("mel_loss_windows: []", "mel_loss_windows is empty"),
        ("bf16: true\nfp16: true", "fp16"),
        (
            "correlation_loss_weight: 1\nsegment_units: 19",
            "segments of 6355 samples, and segment_units is 19",
        ),
        ("logging_steps: 0", "logging_steps must be at least 1"),
    ],
)
def test_a_mistake_in_the_vocoders_file_is_named(load, text, message):
    load(BASE + "correlation_loss_weight: 1\nsegment_units: 20\nmel_loss_windows: [256, 512]", kind=STAGE_2)
    with pytest.raises(ConfigError, match=message):
        load(BASE + text, kind=STAGE_2)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_of_earlier_versions_is_told_its_new_name(load, old, new):
    for kind in (STAGE_1, STAGE_2):
        with pytest.raises(ConfigError, match=f"Unknown key {old}. Did you mean {new}"):
            load(BASE + f"{old}: 1", kind=kind)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_steps", "not an override"),
        ("=3", "not an override"),
        ("seed.a=1", "seed must be int: got {'a': 1}"),
        ("max_stps=1", "max_steps"),
        ("model=[", "cannot be read"),
    ],
)
def test_a_mistake_in_an_override_is_named(load, override, message):
    with pytest.raises(ConfigError, match=message):
        load(BASE + "seed: 1", override)


def test_files_that_are_missing_or_hold_no_settings_are_named(tmp_path, load):
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read"):
        read_settings(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigError, match="must hold `key: value` lines"):
        load("- a")
    with pytest.raises(ConfigError, match="lacks output_dir"):
        load("data: d")
    with pytest.raises(ConfigError, match="lacks data"):
        load("output_dir: d")


def test_unknown_fields_of_parts_are_named():
    with pytest.raises(ConfigError, match=r"model\.hiden_size. Did you mean .*hidden_size"):
        check_keys({"hiden_size": 1}, known_fields(Lip2SpeechConfig), "model.")
    with pytest.raises(ConfigError, match=r"discriminators\.periods. Did you mean period"):
        checked(Discriminators, {"periods": {}}, "discriminators.")


@pytest.mark.parametrize("kind", [STAGE_1, STAGE_2])
def test_every_tracker_is_known_and_one_that_is_not_installed_is_refused(load, kind, monkeypatch):
    with pytest.raises(ConfigError, match=r"report_to is wandb, which is not installed: pip install wandb"):
        load(BASE, "report_to=wandb", kind=kind)
    with pytest.raises(ConfigError, match="report_to is paper; expected none or some of .*wandb"):
        load(BASE, "report_to=[tensorboard,paper]", kind=kind)
    for name in ("get_available_trackers", "get_available_reporting_integrations"):
        monkeypatch.setattr(arguments, name, lambda: [str(name) for name in LoggerType])
    assert load(BASE, "report_to=[wandb,tensorboard]", kind=kind).report_to == ["wandb", "tensorboard"]


@pytest.mark.parametrize("kind", [STAGE_1, STAGE_2])
def test_the_help_explains_every_setting_with_its_default(kind):
    entries = dict(
        entry.split("\n    ", 1) for entry in describe(kind).split("\n") and _pairs(describe(kind))
    )
    assert "warmup_steps=" in "".join(entries) and all(entries.values())
    assert {"data=[]", "max_minutes=None", "num_samples=2"} <= set(entries)


def _pairs(text: str) -> list[str]:
    lines = text.split("\n")
    return ["\n".join(pair) for pair in zip(lines[::2], lines[1::2], strict=True)]


def test_options_and_overrides_come_in_any_order_and_the_file_may_be_missing(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(BASE)
    given = [str(path), "--resume", "seed=3", "--init-from", "a b/1", "max_steps=5"]
    args, settings, resume = parse_command_line(STAGE_1, "", given)
    assert (args.seed, args.max_steps, args.init_from, resume) == (3, 5, "a b/1", True)
    args, settings, resume = parse_command_line(STAGE_2, "", ["data=a", "output_dir=b"])
    assert (args.data, args.output_dir, resume) == ("a", "b", False) and settings == {
        "data": "a",
        "output_dir": "b",
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.yaml").write_text("data: a\nseed: 4\n")
    args, *_ = parse_command_line(STAGE_2, "", ["--resume", f"output_dir={tmp_path / 'run'}"])
    assert (args.data, args.seed) == ("a", 4), "of the run itself"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing.yaml"], 2, "train.py: error: The configuration nothing.yaml cannot be read"),
        (["data=nothing", "output_dir=run"], 1, "train.py: error: nothing has neither manifest.parquet"),
        ([], 2, "error: give one CONFIG.yaml and key=value: got nothing"),
    ],
)
def test_errors_of_a_script_are_one_line_with_an_exit_code(
    scripts, monkeypatch, capsys, tmp_path, words, code, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["examples/train.py", *words])
    with pytest.raises(SystemExit) as stop:
        run_command(scripts["train"].main)
    assert stop.value.code == code and message in capsys.readouterr().err.splitlines()[-1]


def test_a_bug_of_a_script_keeps_its_traceback():
    for bug in (TypeError("f() got an unexpected keyword"), ImportError("cannot import name 'f'")):

        def main(bug=bug):
            raise bug

        with pytest.raises(type(bug)) as raised:
            run_command(main)
        assert raised.value is bug


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid_and_say_only_what_differs(path):
    kind, model, needed = STAGE_1, Lip2SpeechConfig, {}
    if "vocoder" in path.name:
        kind, model = STAGE_2, UnitVocoderConfig
    elif "flow" in path.name:
        kind, model, needed = STAGE_3, MelFlowConfig, {"lip2speech": "another"}
    args = load_arguments(kind, path)
    check_keys(args.model, known_fields(model), "model.")
    model(**args.model)
    default = kind(data="", output_dir="", **needed)
    given = set(yaml.safe_load(path.read_text())) - {"base", "bf16"}
    assert [name for name in given if getattr(args, name) == getattr(default, name)] == []
    if path.name.startswith("own_talker"):
        assert args.init_from == "bundled"


@pytest.mark.parametrize("path", sorted((EXAMPLES / "accelerate").glob("*.yaml")), ids=lambda path: path.name)
def test_the_accelerate_configurations_are_read_and_hold_no_unknown_key(path: Path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    for name in ("num_machines", "num_processes", "use_cpu"):
        assert str(getattr(config, name)) == str(given[name])
    assert (config.num_processes > 1) == (config.distributed_type.value == "MULTI_GPU")
