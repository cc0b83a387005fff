"""Both trainings as a user starts them, on a small prepared folder: the scripts in examples/."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.arguments import build_model
from hf_lip2speech.training.config import (
    ConfigError,
    Lip2SpeechTrainingConfig,
    VocoderTrainingConfig,
    load_config,
)
from hf_lip2speech.training.griffin_lim import griffin_lim
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage
from hf_lip2speech.training.vocoder_stage import VocoderStage

from .conftest import EXAMPLES, STAGES, TORCHRUN, assert_same_states, finish, launch

MODELS = {"train": Lip2SpeechModel, "train_vocoder": UnitVocoderModel}
CLASSES = {"train": Lip2SpeechStage, "train_vocoder": VocoderStage}
CONFIGS = {"train": Lip2SpeechTrainingConfig, "train_vocoder": VocoderTrainingConfig}
both = pytest.mark.parametrize("script", list(STAGES))


class Killed(Exception):
    pass


@both
def test_a_resumed_run_equals_one_that_never_stopped(script, scripts, configuration, tmp_path, monkeypatch):
    config = str(configuration(script))
    scripts[script].main([config, f"output_dir={tmp_path / 'whole'}"])

    step = CLASSES[script].training_step

    def step_until_killed(self, batch, number, epoch):
        if number == 3:
            raise Killed
        return step(self, batch, number, epoch)

    monkeypatch.setattr(CLASSES[script], "training_step", step_until_killed)
    with pytest.raises(Killed):
        scripts[script].main([config])
    monkeypatch.undo()
    assert os.listdir(tmp_path / "run/checkpoints") == ["step_2"]
    scripts[script].main([config, "--resume"])

    assert_same_states(tmp_path / "whole/checkpoints/step_6", tmp_path / "run/checkpoints/step_6")
    for name in ("best", "last"):
        one, other = (load_file(tmp_path / run / name / "model.safetensors") for run in ("whole", "run"))
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@both
def test_the_models_that_are_saved_load_and_the_tracker_holds_what_is_promised(
    script, scripts, configuration, tmp_path
):
    config = configuration(script, tracker="tensorboard", max_steps=2)
    state = scripts[script].main([str(config)])
    for name in ("best", "last"):
        model, report = MODELS[script].from_pretrained(tmp_path / "run" / name, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.config.num_units == 12
    if script == "train":
        assert Lip2SpeechFeatureExtractor.from_pretrained(tmp_path / "run/best").crop_size == 88

    events = EventAccumulator(str(tmp_path / "run/logs")).Reload()
    tags = events.Tags()
    clip = "s1_clip6"
    predicted, metrics = {
        "train": ("predicted", {"valid/loss", "valid/unit_accuracy", "valid/mel_l1"}),
        "train_vocoder": ("vocoder", {"valid/mel_loss"}),
    }[script]
    assert set(tags["audio"]) == {f"{clip}/{predicted}", f"{clip}/true"}
    assert tags["images"] == [f"{clip}/targets"]
    assert metrics | {"train/learning_rate", "speed/seconds_per_step", "train/epoch"} <= set(tags["scalars"])
    best = events.Scalars("valid/unit_accuracy" if script == "train" else "valid/mel_loss")[-1].value
    assert state.best_metric == pytest.approx(best) and state.best_step == 2
    sound = read_audio(tmp_path / "run/samples" / clip / f"{predicted}.wav")
    assert len(sound) == 10 * 640 and np.abs(sound).max() > 0


def test_validation_measures_what_the_saved_model_does(scripts, configuration, prepared, tmp_path):
    """One clip at a time through the reloaded model, against the numbers of the run in batches of two."""
    state = scripts["train"].main([str(configuration("train", eval_batch_size=2, max_steps=2))])
    model = Lip2SpeechModel.from_pretrained(tmp_path / "run/best").eval()
    module = scripts["train"]
    clips = module.prepared_split(prepared, "val", fields=module.FIELDS)
    hits = total = 0
    for clip in clips:
        inputs = Lip2SpeechFeatureExtractor()(clip["frames"], return_tensors="pt")
        speaker = torch.from_numpy(clip["speaker_embeddings"])[None]
        with torch.no_grad():
            units = model.unit_ids(model(**inputs, speaker_embeddings=speaker).unit_logits)[0].numpy()
        hits, total = hits + (units == clip["unit_ids"]).sum(), total + len(units)
    assert state.best_metric == pytest.approx(hits / total)


@both
def test_training_lowers_the_loss(script, scripts, configuration, capsys):
    changes = {
        "train": {"augmentation": {"erasing": 0, "time_mask": 0}, "optimizer": {"learning_rate": 1e-2}}
    }
    fast = {"optimizer": {"learning_rate": 1e-2}, "mel_augmentation": None, "adversarial_from_step": 1000}
    config = configuration(
        script, max_steps=16, log_every=8, eval_every=100, save_every=100, **changes.get(script, fast)
    )
    scripts[script].main([str(config)])
    name = "loss" if script == "train" else "mel_loss"
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    losses = [float(line.split(f"{name} ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.95 * losses[0]


@both
def test_init_from_starts_at_the_saved_weights_and_keeps_their_sizes(
    script, scripts, configuration, tmp_path
):
    scripts[script].main([str(configuration(script, max_steps=1))])
    change = {"train": "model.hidden_dropout=0.3", "train_vocoder": "model.unit_dropout=0.3"}[script]
    config = configuration(
        script, model={}, max_steps=1, optimizer={"learning_rate": 0.0, "weight_decay": 0.0}, ema_decay=0.0
    )
    scripts[script].main(
        [str(config), "--init-from", str(tmp_path / "run/best"), f"output_dir={tmp_path}/tuned", change]
    )
    before, after = (MODELS[script].from_pretrained(tmp_path / name) for name in ("run/best", "tuned/last"))
    for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)  # weight norm and back: equal to rounding
    assert 0.3 in (getattr(after.config, "hidden_dropout", None), getattr(after.config, "unit_dropout", None))


@both
def test_init_from_takes_its_part_of_a_composite(script, scripts, configuration, tmp_path):
    torch.manual_seed(5)
    sizes = {"lip2speech": STAGES["train"]["model"], "vocoder": STAGES["train_vocoder"]["model"]}
    composite = Lip2SpeechWithVocoder(Lip2SpeechWithVocoderConfig(**sizes))
    composite.save_pretrained(tmp_path / "composite")
    config = configuration(script, model={}, init_from=str(tmp_path / "composite"))
    part = {"train": composite.lip2speech, "train_vocoder": composite.vocoder}[script]
    settings = load_config(CONFIGS[script], config)
    loaded = build_model(MODELS[script], MODELS[script].config_class, settings)
    assert all(torch.equal(a, b) for a, b in zip(part.parameters(), loaded.parameters(), strict=True))


def test_init_from_another_kind_of_model_is_named(scripts, configuration, tmp_path):
    scripts["train_vocoder"].main([str(configuration("train_vocoder", max_steps=1))])
    with pytest.raises(ConfigError, match=r"holds a lip2speech_unit_vocoder; this training starts from"):
        scripts["train"].main([str(configuration("train")), "--init-from", str(tmp_path / "run/best")])
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        scripts["train"].main([str(configuration("train")), "--init-from", str(tmp_path / "nothing")])


@both
def test_bfloat16_trains_on_a_cpu_and_saves_float32(script, scripts, configuration, tmp_path):
    scripts[script].main([str(configuration(script, mixed_precision="bf16", max_steps=2))])
    weights = load_file(tmp_path / "run/best/model.safetensors")
    assert all(w.isfinite().all() for w in weights.values())
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}


@both
def test_worker_processes_and_the_cache_change_nothing(script, scripts, configuration, tmp_path):
    """The augmentation is drawn from seed, epoch and sample, wherever that happens."""
    for name, workers in (("plain", ["num_workers=0"]), ("workers", ["num_workers=2", "cache=true"])):
        config = str(configuration(script, max_steps=4, eval_every=100))
        scripts[script].main([config, f"output_dir={tmp_path / name}", *workers])
    assert_same_states(tmp_path / "plain/checkpoints/step_4", tmp_path / "workers/checkpoints/step_4")


def test_before_the_adversarial_start_the_discriminators_stand_still(scripts, configuration, tmp_path):
    config = configuration(
        "train_vocoder", adversarial_from_step=2, max_steps=4, save_every=1, keep_checkpoints=4
    )
    scripts["train_vocoder"].main([str(config)])
    models = [
        torch.load(tmp_path / f"run/checkpoints/step_{step}/pytorch_model_1.bin", weights_only=True)
        for step in (1, 2, 3)
    ]
    moved = [any(not torch.equal(a[k], b[k]) for k in a) for a, b in zip(models, models[1:], strict=False)]
    assert moved == [False, True]


def test_griffin_lim_gives_sound_with_the_mel_that_it_was_given():
    from hf_lip2speech.audio.mel import log_mel_spectrogram

    seconds = torch.arange(16_000) / 16_000
    tone = 0.3 * torch.sin(2 * torch.pi * (200 + 400 * seconds) * seconds)
    mel = log_mel_spectrogram(tone)[:100]
    sound = griffin_lim(mel)
    assert sound.shape == (16_000,)
    loud = mel > mel.max() - 4
    assert (log_mel_spectrogram(sound)[:100] - mel)[loud].abs().mean() < 0.3


def kill_after(text: str, process: subprocess.Popen, log: Path) -> None:
    """SIGKILL as soon as the log holds a text."""
    deadline = time.monotonic() + 900
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@both
def test_a_run_killed_with_sigkill_and_resumed_equals_one_that_was_not(script, configuration, tmp_path):
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), str(configuration(script)), "max_steps=12"]
    finish([*command, f"output_dir={tmp_path / 'whole'}"], tmp_path / "whole.log")
    kill_after("step 7/", launch(command, tmp_path / "killed.log"), tmp_path / "killed.log")
    assert not (tmp_path / "run/checkpoints/step_12").exists()
    finish([*command, "--resume"], tmp_path / "resumed.log")
    assert "Resumed from" in (tmp_path / "resumed.log").read_text()
    assert_same_states(tmp_path / "whole/checkpoints/step_12", tmp_path / "run/checkpoints/step_12")
    one, other = (tmp_path / run / "best/model.safetensors" for run in ("whole", "run"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@both
def test_two_processes_train_and_resume_to_the_same_bits(script, configuration, tmp_path):
    command = [*TORCHRUN, str(EXAMPLES / f"{script}.py"), str(configuration(script)), "batch_size=1"]
    finish([*command, f"output_dir={tmp_path / 'whole'}"], tmp_path / "whole.log")
    assert (tmp_path / "whole/checkpoints/step_4/random_states_1.pkl").exists()
    # as if killed between steps 4 and 6
    shutil.copytree(tmp_path / "whole", tmp_path / "run", ignore=shutil.ignore_patterns("step_6", "last"))
    finish([*command, "--resume"], tmp_path / "resumed.log")
    assert_same_states(tmp_path / "whole/checkpoints/step_6", tmp_path / "run/checkpoints/step_6")
    one = load_file(tmp_path / "whole/best/model.safetensors")
    assert all(w.isfinite().all() for w in one.values())


@pytest.mark.slow
def test_accelerate_launch_reads_the_cpu_configuration(configuration, tmp_path):
    accelerate = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(EXAMPLES / "accelerate/cpu.yaml"),
    ]
    finish(
        [*accelerate, str(EXAMPLES / "train.py"), str(configuration("train", max_steps=1))], tmp_path / "log"
    )
    assert (tmp_path / "run/last/model.safetensors").exists()
