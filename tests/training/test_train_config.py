"""Training configurations: what YAML files and overrides mean, and what is said when they mean nothing."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.training.arguments import check_keys, checked, known_fields, parse_arguments
from hf_lip2speech.training.config import (
    ConfigError,
    Lip2SpeechTrainingConfig,
    VocoderTrainingConfig,
    load_config,
    parse_yaml,
    to_yaml,
)
from hf_lip2speech.training.vocoder_stage import Discriminators

CONFIGS = Path(__file__).parents[2] / "examples" / "configs"


@pytest.fixture
def load(tmp_path):
    def load(text: str, *overrides: str, kind=Lip2SpeechTrainingConfig):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return load_config(kind, path, overrides)

    return load


BASE = "data: d\noutput_dir: o\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("5E4", 5e4),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-2", -2),
        ("20_000", 20_000),
        ("0", 0),
        ("no", "no"),
        ("off", "off"),
        ("010", "010"),
        ("12:30", "12:30"),
        ("true", True),
        ("null", None),
        ("", None),
        ("runs/a-1", "runs/a-1"),
        ("'1e-3'", "1e-3"),
        ("[1, 2e0]", [1, 2.0]),
    ],
)
def test_yaml_scalars_mean_what_they_look_like(text, value):
    parsed = parse_yaml(text, "test")
    assert parsed == value and type(parsed) is type(value)


def test_a_file_changes_the_defaults_and_an_override_changes_the_file(load):
    config = load(
        BASE + "optimizer: {learning_rate: 1e-4}\nmixed_precision: no\n", "optimizer.eps=1e-6", "seed=7"
    )
    assert config.optimizer.learning_rate == 1e-4 and config.optimizer.eps == 1e-6
    assert config.optimizer.betas == (0.9, 0.98) and config.seed == 7 and config.mixed_precision == "no"


def test_a_nested_setting_keeps_the_other_defaults_of_its_stage(load):
    config = load(BASE, "optimizer.learning_rate=1e-4", kind=VocoderTrainingConfig)
    assert config.optimizer.learning_rate == 1e-4 and config.optimizer.betas == (0.8, 0.99)


def test_an_override_reaches_into_the_model(load):
    assert load(BASE + "model: {hidden_size: 8}", "model.num_hidden_layers=2").model == {
        "hidden_size": 8,
        "num_hidden_layers": 2,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BASE + "batchsize: 3", "Unknown key batchsize. Did you mean .*batch_size"),
        (BASE + "optimizer: {learningrate: 1}", r"Unknown key optimizer\.learningrate.*learning_rate"),
        (BASE + "qqqq: 3", "Unknown key qqqq. Known keys: .*batch_size"),
        (BASE + "batch_size: many", "batch_size must be int: got 'many'"),
        (BASE + "batch_size: 2.5", "batch_size must be int: got 2.5"),
        (BASE + "batch_size: true", "batch_size must be int: got True"),
        (BASE + "batch_size: 0", "batch_size must be at least 1"),
        (BASE + "cache: 1", "cache must be bool"),
        (BASE + "optimizer: 3", "optimizer takes keys of its own"),
        (BASE + "optimizer: {betas: [0.9]}", "optimizer.betas must be"),
        (BASE + "seed: 1\nseed: 2", "seed stands twice"),
        (BASE + "ema_decay: 1.0", "ema_decay must lie in"),
        (BASE + "mixed_precision: bf17", "mixed_precision must be no, bf16 or fp16"),
        (BASE + "model: [", "not valid YAML"),
        ("- a", "must hold `key: value` lines"),
        ("data: d", "lacks output_dir"),
    ],
)
def test_a_mistake_in_the_file_is_named(load, text, message):
    with pytest.raises(ConfigError, match=message):
        load(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [("max_steps", "not an override"), ("seed.a=1", "seed holds no keys"), ("max_stps=1", "max_steps")],
)
def test_a_mistake_in_an_override_is_named(load, override, message):
    with pytest.raises(ConfigError, match=message):
        load(BASE + "seed: 1", override)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read"):
        load_config(Lip2SpeechTrainingConfig, tmp_path / "nothing.yaml")


def test_unknown_fields_of_parts_are_named():
    with pytest.raises(ConfigError, match=r"model\.hiden_size. Did you mean .*hidden_size"):
        check_keys({"hiden_size": 1}, known_fields(Lip2SpeechConfig), "model.")
    with pytest.raises(ConfigError, match=r"discriminators\.periods. Did you mean period"):
        checked(Discriminators, {"periods": {}}, "discriminators.")


def test_what_a_run_writes_down_reads_back_equal(load):
    config = load(BASE + "model: {hidden_size: 8}\nmax_minutes: 3", "optimizer.max_grad_norm=1")
    assert load(to_yaml(config)) == config


def test_a_tuple_of_any_length_takes_a_list(load):
    for windows in ((512,), (256, 512, 1024)):
        config = load(BASE + f"mel_loss_windows: {list(windows)}", kind=VocoderTrainingConfig)
        assert config.mel_loss_windows == windows
        assert load(to_yaml(config), kind=VocoderTrainingConfig) == config
    for wrong in ("[a]", "[]"):
        with pytest.raises(ConfigError, match="mel_loss_windows must be"):
            load(BASE + f"mel_loss_windows: {wrong}", kind=VocoderTrainingConfig)


def test_options_and_overrides_stand_in_any_order(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(BASE)
    config, arguments = parse_arguments(
        Lip2SpeechTrainingConfig, "", [str(path), "--resume", "seed=3", "--init-from", "a b/1", "max_steps=5"]
    )
    assert (config.seed, config.max_steps, config.init_from) == (3, 5, "a b/1") and arguments.resume


def test_a_mistake_on_the_command_line_ends_with_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_arguments(Lip2SpeechTrainingConfig, "", [str(tmp_path / "nothing.yaml")])
    assert stop.value.code == 2 and "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_valid_and_say_only_what_differs(path):
    vocoder = "vocoder" in path.name
    config = load_config(VocoderTrainingConfig if vocoder else Lip2SpeechTrainingConfig, path)
    model = UnitVocoderConfig if vocoder else Lip2SpeechConfig
    check_keys(config.model, known_fields(model), "model.")
    model(**config.model)
    default = type(config)(data="", output_dir="")
    same = [
        name
        for name in yaml.safe_load(path.read_text())
        if name not in ("model", "optimizer") and getattr(config, name) == getattr(default, name)
    ]
    assert same == []


@pytest.mark.parametrize(
    "path", sorted((CONFIGS.parent / "accelerate").glob("*.yaml")), ids=lambda path: path.name
)
def test_the_accelerate_configurations_are_read_and_hold_no_unknown_key(path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    assert {name: str(getattr(config, name)) for name in ("num_machines", "num_processes", "use_cpu")} == {
        name: str(given[name]) for name in ("num_machines", "num_processes", "use_cpu")
    }
    assert (config.num_processes > 1) == (config.distributed_type.value == "MULTI_GPU")


def test_a_correlation_over_windows_longer_than_the_segments_is_refused(load):
    given = BASE + "correlation_loss_weight: 1\nsegment_units: "
    assert load(given + "19\n", kind=VocoderTrainingConfig).segment_units == 19
    with pytest.raises(ConfigError, match="windows of 38 mel frames, and segment_units is 18"):
        load(given + "18\n", kind=VocoderTrainingConfig)
