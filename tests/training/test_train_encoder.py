"""Training on AV-HuBERT: frozen, unfrozen after some updates, resumed, on two processes."""

import os

import pytest
import torch
from safetensors.torch import load_file

from hf_lip2speech.models.configuration_avhubert import AVHubertConfig
from hf_lip2speech.models.modeling_avhubert import AVHubertModel
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.training.config import ConfigError, Lip2SpeechTrainingConfig, load_config
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage

from .conftest import EXAMPLES, STAGES, TORCHRUN, assert_same_states, finish

REST = {name: value for name, value in STAGES["train"]["model"].items() if not name.startswith("frontend")}


class Killed(Exception):
    pass


@pytest.fixture
def encoder(tmp_path):
    """A small AV-HuBERT, saved."""
    torch.manual_seed(2)
    config = AVHubertConfig(
        frontend_stem_channels=4,
        frontend_channels=[4, 8],
        frontend_blocks=[1, 1],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        position_kernel_size=4,
        position_groups=2,
    )
    AVHubertModel(config).save_pretrained(tmp_path / "avhubert")
    return tmp_path / "avhubert"


@pytest.fixture
def train(scripts, configuration, encoder):
    """train(overrides..., **changes): the training script on the small encoder."""

    def run(*overrides: str, **changes):
        values = {"model": REST, "encoder": str(encoder), "ema_decay": 0.0} | changes
        return scripts["train"].main([str(configuration("train", **values)), *overrides])

    return run


def moved(encoder, saved) -> set[str]:
    """Names of the encoder's tensors that differ from those it started with."""
    before, after = load_file(encoder / "model.safetensors"), load_file(saved / "model.safetensors")
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[f"avhubert.{name}"])}


def test_a_frozen_encoder_comes_out_as_it_went_in_and_the_rest_is_trained(train, encoder, tmp_path):
    train("max_steps=2")
    assert moved(encoder, tmp_path / "run/last") == set()
    model = Lip2SpeechModel.from_pretrained(tmp_path / "run/last")
    assert model.encoder_is_frozen
    assert model.avhubert_proj.bias.abs().sum() > 0, "which starts at zero"


def test_published_training_moves_the_frozen_encoders_batch_norms(train, encoder, tmp_path):
    train("max_steps=2", model=REST | {"frozen_encoder_eval": False})
    names = moved(encoder, tmp_path / "run/last")
    assert {name.rpartition(".")[2] for name in names} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_an_encoder_is_unfrozen_after_the_updates_that_were_asked_for(train, encoder, tmp_path):
    train("max_steps=2", "unfreeze_encoder_after=2")
    assert moved(encoder, tmp_path / "run/last") == set()
    train("max_steps=3", "unfreeze_encoder_after=2", f"output_dir={tmp_path}/third")
    names = moved(encoder, tmp_path / "third/last")
    assert {"fusion_proj.weight", "layers.0.in_proj.weight", "frontend.stem.weight"} <= names
    assert not any(name.startswith("audio_proj") for name in names)


def test_an_encoder_that_was_never_frozen_is_trained_from_the_start(train, encoder, tmp_path):
    train("max_steps=1", "warmup_steps=1", model=REST | {"freeze_encoder": False})
    assert "fusion_proj.weight" in moved(encoder, tmp_path / "run/last")


def test_a_run_resumed_after_the_unfreezing_equals_one_that_never_stopped(train, tmp_path, monkeypatch):
    changes = ("unfreeze_encoder_after=3", "ema_decay=0.9")
    train(*changes, f"output_dir={tmp_path / 'whole'}")
    step = Lip2SpeechStage.training_step

    def step_until_killed(self, batch, number, epoch):
        if number == 5:
            raise Killed
        return step(self, batch, number, epoch)

    monkeypatch.setattr(Lip2SpeechStage, "training_step", step_until_killed)
    with pytest.raises(Killed):
        train(*changes)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path / "run/checkpoints"))[-1] == "step_4"
    train(*changes, "--resume")
    assert_same_states(tmp_path / "whole/checkpoints/step_6", tmp_path / "run/checkpoints/step_6")


def test_init_from_keeps_the_encoder_and_can_unfreeze_it(train, encoder, scripts, configuration, tmp_path):
    train("max_steps=1")
    start = str(tmp_path / "run/last")
    config = str(configuration("train", model={}, ema_decay=0.0, warmup_steps=1, max_steps=1))
    scripts["train"].main([config, "--init-from", start, f"output_dir={tmp_path}/still"])
    assert moved(encoder, tmp_path / "still/last") == set()
    open_again = ["model.freeze_encoder=false", f"output_dir={tmp_path}/open"]
    scripts["train"].main([config, "--init-from", start, *open_again])
    assert "fusion_proj.weight" in moved(encoder, tmp_path / "open/last")


# The training script, stopping where the two processes' encoders differ after an update.
WATCHED = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage
import train

def watch(self):
    total = sum(p.detach().double().abs().sum() for p in self.plain_model.avhubert.parameters())
    one, other = self.accelerator.gather(total[None]).tolist()
    assert one == other, (one, other)
    self.accelerator.print("equal", one)

Lip2SpeechStage.after_update = watch
train.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_two_processes_keep_one_encoder_through_the_unfreezing(configuration, encoder, tmp_path):
    (tmp_path / "watched.py").write_text(WATCHED)
    path = configuration("train", model=REST, encoder=str(encoder), ema_decay=0.0, max_steps=4)
    arguments = [str(tmp_path / "watched.py"), str(path), "unfreeze_encoder_after=2"]
    finish([*TORCHRUN, *arguments, "gradient_accumulation=1"], tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    totals = [float(line.split()[1]) for line in lines if line.startswith("equal")]
    assert totals[0] == totals[1] and len(set(totals)) == 3, "moved after two of four updates"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "nowhere/at_all"}, "nowhere/at_all cannot be loaded"),
        ({"model": REST | {"encoder": {}}}, r"Unknown key model\.encoder"),
        ({"encoder": None, "unfreeze_encoder_after": 2}, "no frozen AV-HuBERT"),
        ({"model": REST | {"freeze_encoder": False}, "unfreeze_encoder_after": 2}, "no frozen AV-HuBERT"),
    ],
)
def test_contradictions_are_named(train, changes, message):
    with pytest.raises(ConfigError, match=message):
        train(**changes)


def test_a_saved_model_of_another_kind_is_no_encoder(train, tmp_path):
    train("max_steps=1")
    with pytest.raises(ConfigError, match="holds a lip2speech; expected a lip2speech_avhubert"):
        train(encoder=str(tmp_path / "run/last"), output_dir=str(tmp_path / "other"))


def test_settings_that_exclude_each_other_are_found_in_the_file(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("data: d\noutput_dir: o\nencoder: e\n")
    with pytest.raises(ConfigError, match="give one of them"):
        load_config(Lip2SpeechTrainingConfig, path, ["init_from=somewhere"])
    with pytest.raises(ConfigError, match="at least 1"):
        load_config(Lip2SpeechTrainingConfig, path, ["unfreeze_encoder_after=0"])
