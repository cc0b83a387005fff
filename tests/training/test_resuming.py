"""Both trainings stop, are killed, resume and keep what they should."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hf_lip2speech.errors import OutputError, TrainingError
from hf_lip2speech.training.checkpoints import replaced_folder, settle
from hf_lip2speech.training.common import StopRequest

from .conftest import (
    EXAMPLES,
    STAGES,
    TORCHRUN,
    Killed,
    assert_same_states,
    both,
    checkpoints,
    finish,
    kill,
    launch,
    reset_accelerate,
    step_of,
    write_settings,
)


@pytest.fixture(scope="module")
def whole(scripts, prepared, tmp_path_factory) -> dict[str, Path]:
    """Of each training a run of six updates that nothing disturbed; three micro-batches are an epoch."""
    runs = {}
    for script in ("train", "train_vocoder"):
        folder = tmp_path_factory.mktemp("whole")
        scripts[script].main([str(write_settings(folder, script, prepared))])
        reset_accelerate()
        runs[script] = folder / "run"
    return runs


def assert_same_end(one: Path, other: Path) -> None:
    assert checkpoints(one)[-1] == checkpoints(other)[-1] == "checkpoint-6"
    assert_same_states(one / "checkpoint-6", other / "checkpoint-6")
    for name in ("best", "last"):
        weights = "model.safetensors"
        assert (one / name / weights).read_bytes() == (other / name / weights).read_bytes()


@both
def test_a_killed_run_resumes_to_the_bits_of_one_that_never_stopped(script, train, whole, tmp_path):
    """With dropout, augmentation and accumulation, in the middle of an epoch."""
    with pytest.raises(Killed):
        train(script, at={4: kill}, save_steps=3)
    (tmp_path / "run/writing/checkpoint-4").mkdir(parents=True)  # which was being written
    assert checkpoints(tmp_path / "run") == ["checkpoint-3"]
    train(script, "--resume")
    assert_same_end(whole[script], tmp_path / "run")
    assert not (tmp_path / "run/writing").exists()


def test_a_vocoder_that_knows_pitch_is_trained_on_it_and_resumes_to_the_same_bits(train, tmp_path, capsys):
    """Half of its updates, drawn by chance, are given the recording's pitch."""
    pytest.importorskip("parselmouth")
    small = ("hidden_size", "intermediate_size", "pitch_hidden_size", "num_pitch_layers", "num_hidden_layers")
    model = STAGES["train_vocoder"]["model"] | {"generator_type": "istft"} | dict.fromkeys(small, 2)
    changes = {"model": model, "adversarial_from_step": None, "stft_loss_weight": 1, "logging_steps": 1}
    train("train_vocoder", f"output_dir={tmp_path / 'whole'}", **changes)
    assert re.search(r"stft_loss \d.*pitch_loss \d|pitch_loss \d.*stft_loss \d", capsys.readouterr().out)
    with pytest.raises(Killed):
        train("train_vocoder", at={4: kill}, save_steps=3, **changes)
    train("train_vocoder", "--resume", **changes)
    assert_same_end(tmp_path / "whole", tmp_path / "run")
    before, after = (load_file(tmp_path / "run" / name / "model.safetensors") for name in ("best", "last"))
    assert (
        any(name.startswith("generator.pitch_predictor") for name in after) and before.keys() == after.keys()
    )


@pytest.mark.parametrize(("script", "number"), [("train", signal.SIGTERM), ("train_vocoder", signal.SIGINT)])
def test_a_signal_ends_the_run_with_a_checkpoint_to_resume_from(
    script, train, whole, tmp_path, capsys, number
):
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def twice(_):  # from its sender, and from a launcher that passes it on
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stop:
        train(script, at={2: twice})
    assert stop.value.code == 128 + number
    assert f"stopped by {number.name}" in capsys.readouterr().out
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert checkpoints(tmp_path / "run") == ["checkpoint-2", "checkpoint-3"]
    assert not (tmp_path / "run/last").exists()
    train(script, "--resume")
    assert_same_end(whole[script], tmp_path / "run")


def test_a_second_signal_after_a_while_acts_at_once(monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt), StopRequest(None):
            signal.raise_signal(signal.SIGINT)  # in this thread, before the next line
            monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 60)
            signal.raise_signal(signal.SIGINT)  # in this thread, before the next line
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_clock_ends_the_run_and_it_can_be_resumed(train, whole, tmp_path, capsys):
    script = "train_vocoder"
    assert step_of(train(script, max_minutes=1e-9)) == 1
    assert (tmp_path / "run/last").is_dir() and checkpoints(tmp_path / "run") == ["checkpoint-1"]
    trainer = train(script, "--resume", "max_minutes=null")
    assert step_of(trainer) == 6 and "max_minutes reached; --resume" in capsys.readouterr().out
    assert_same_end(whole[script], tmp_path / "run")


@both
def test_a_run_is_neither_overwritten_nor_trained_beyond_its_end(script, train, tmp_path, capsys):
    train(script, "--resume", max_steps=3, eval_steps=100)
    assert "starting from the beginning" in capsys.readouterr().out
    with pytest.raises(TrainingError, match=r"holds a training up to checkpoint-3.*--resume"):
        train(script, max_steps=4)
    before = (tmp_path / "run/checkpoint-3/config.json").stat().st_mtime_ns
    train(script, "--resume")
    assert checkpoints(tmp_path / "run") == ["checkpoint-2", "checkpoint-3"]
    assert (tmp_path / "run/checkpoint-3/config.json").stat().st_mtime_ns == before
    with pytest.raises(TrainingError, match=r"nothing, which is not a checkpoint folder"):
        train(script, "resume_from_checkpoint=nothing")
    trainer = train(script, "--resume", "max_steps=4", "per_device_train_batch_size=1", "eval_steps=100")
    assert step_of(trainer) == 4 and "will differ slightly" in capsys.readouterr().out


def test_resuming_takes_the_settings_that_the_run_was_started_with(train, tmp_path, capsys):
    """Given on the command line then, not now; a change in the file is reported, not taken."""
    with pytest.raises(Killed):
        train("train", "ema_decay=0.5", "max_steps=3", at={2: kill})
    trainer = train("train", "--resume", max_steps=5)
    assert (trainer.args.ema_decay, trainer.args.max_steps, step_of(trainer)) == (0.5, 3, 3)
    said = capsys.readouterr().out
    assert re.search(r"yaml differs in (max_steps, ema_decay|ema_decay, max_steps): give key=value", said)


def test_other_processes_cannot_resume(train, tmp_path):
    script = "train_vocoder"
    train(script, max_steps=1, eval_steps=9)
    path = tmp_path / "run/checkpoint-1/environment.json"
    path.write_text(path.read_text().replace('"processes": 1', '"processes": 2'))
    with pytest.raises(TrainingError, match=r"written by 2 processes and this run has 1.*init_from=OUTPUT"):
        train(script, "--resume", "max_steps=2")


@both
def test_validation_and_loading_do_not_change_the_training(script, train, whole, tmp_path):
    """The augmentation is drawn from seed, epoch and sample, wherever that happens."""
    train(script, "eval_steps=100", "dataloader_num_workers=2", "cache=true")
    for name in ("model.safetensors", "pytorch_model.bin", "rng_state.pth", "random_states_0.pkl"):
        one, other = (run / "checkpoint-6" / name for run in (whole[script], tmp_path / "run"))
        assert one.exists() == other.exists() and (not one.exists() or one.read_bytes() == other.read_bytes())


@both
def test_a_full_disk_keeps_the_earlier_checkpoint_and_the_run_goes_on_where_there_is_room(
    script, train, whole, disk
):
    run = disk.path / "run"
    with pytest.raises(OutputError, match="checkpoint-4' cannot be written: No space left on device"):
        train(script, f"output_dir={run}", "eval_steps=100", at={3: lambda _: disk.fill(free=8192)})
    assert sorted(os.listdir(run)) == ["checkpoint-2", "config.yaml"]
    disk.empty()
    train(script, "--resume", f"output_dir={run}")
    assert checkpoints(run) == ["checkpoint-4", "checkpoint-6"]
    for name in ("model.safetensors", "pytorch_model.bin"):
        one, other = (folder / "checkpoint-6" / name for folder in (whole[script], run))
        assert one.exists() == other.exists() and (not one.exists() or one.read_bytes() == other.read_bytes())


@both
def test_a_model_that_does_not_fit_on_the_disk_leaves_the_one_before(script, train, disk):
    run = disk.path / "run"
    rare = ["eval_steps=1", "save_steps=100", "max_steps=2", f"output_dir={run}"]
    train(script, *rare)
    before = (run / "last/model.safetensors").read_bytes()
    shutil.rmtree(run / "checkpoint-2")
    disk.fill(free=4096)
    with pytest.raises(OutputError, match=r"run/best' cannot be written: No space left on device"):
        train(script, *rare)
    assert sorted(os.listdir(run)) == ["best", "config.yaml", "last"]
    assert (run / "last/model.safetensors").read_bytes() == before
    disk.read_only()
    with pytest.raises(OutputError, match=r"run/config.yaml' cannot be written: Read-only file system"):
        train(script, *rare)


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "best"
    with replaced_folder(target) as folder:
        (folder / "old").touch()
    with pytest.raises(Killed), replaced_folder(target) as folder:
        (folder / "new").touch()
        raise Killed
    assert os.listdir(target) == ["old"]
    with replaced_folder(target) as folder:
        (folder / "new").touch()
    assert os.listdir(target) == ["new"] and os.listdir(tmp_path) == ["best"]
    for _ in range(2):  # killed between the renames, and after them
        (tmp_path / "best.old").mkdir()
        settle(target)
        assert os.listdir(tmp_path) == ["best"]
        shutil.rmtree(target)


# ---- As a user starts them, in processes of their own


def wait_for(text: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 900
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)


@pytest.mark.slow
@both
def test_a_run_killed_with_sigkill_and_resumed_equals_one_that_was_not(
    script, configuration, tmp_path, whole
):
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), str(configuration(script))]
    process = launch(command, tmp_path / "log")
    wait_for("step 3/", process, tmp_path / "log")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "checkpoint-6" not in checkpoints(tmp_path / "run")
    finish([*command, "--resume"], tmp_path / "log2")
    assert "Resuming from" in (tmp_path / "log2").read_text()
    assert_same_end(whole[script], tmp_path / "run")


@pytest.mark.slow
@both
def test_sigterm_to_the_process_group_with_loader_workers_leaves_a_checkpoint(
    script, configuration, tmp_path
):
    settings = ["max_steps=500", "save_steps=400", "eval_steps=400", "dataloader_num_workers=2"]
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), str(configuration(script)), *settings]
    process = launch(command, tmp_path / "log", start_new_session=True)
    wait_for("step 5/", process, tmp_path / "log")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=120) == 128 + signal.SIGTERM, (tmp_path / "log").read_text()
    assert len(checkpoints(tmp_path / "run")) == 1
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
@both
def test_two_processes_train_and_resume_to_the_same_bits(script, configuration, tmp_path):
    settings = ["per_device_train_batch_size=1"]
    command = [*TORCHRUN, str(EXAMPLES / f"{script}.py"), str(configuration(script)), *settings]
    finish([*command, f"output_dir={tmp_path / 'whole'}"], tmp_path / "log")
    assert json.loads((tmp_path / "whole/checkpoint-4/environment.json").read_text())["processes"] == 2
    # as if killed between steps 4 and 6
    ignored = shutil.ignore_patterns("checkpoint-6", "last", "config.yaml")
    shutil.copytree(tmp_path / "whole", tmp_path / "run", ignore=ignored)
    finish([*command, "--resume"], tmp_path / "log2")
    assert_same_states(tmp_path / "whole/checkpoint-6", tmp_path / "run/checkpoint-6")
    assert all(w.isfinite().all() for w in load_file(tmp_path / "whole/best/model.safetensors").values())


@pytest.mark.slow
def test_two_machines_train_together_by_the_cluster_configuration(configuration, tmp_path):
    """Both on this one: accelerate's launcher is told the same as on two, and that there is no GPU."""
    config = configuration("train", batch_frames=20, max_steps=2)
    port = 20_000 + os.getpid() % 20_000

    def command(rank: int) -> list[str]:
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(EXAMPLES / "accelerate" / "cluster.yaml"), "--mixed_precision", "no"),
            *("--num_processes", "2", "--machine_rank", str(rank)),
            *("--main_process_ip", "127.0.0.1", "--main_process_port", str(port)),
            *(str(EXAMPLES / "train.py"), str(config)),
        ]

    other = launch(command(1), tmp_path / "log1")
    finish(command(0), tmp_path / "log0")
    assert other.wait(timeout=300) == 0, (tmp_path / "log1").read_text()
    assert torch.load(tmp_path / "run/checkpoint-2/rng_state_1.pth", weights_only=False)
    assert (tmp_path / "run/last/model.safetensors").is_file()


@pytest.mark.slow
def test_accelerate_launch_as_documented_says_nothing_of_its_own(configuration, tmp_path):
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    cpu = ["--config_file", str(EXAMPLES / "accelerate/cpu.yaml")]
    path = configuration("train", max_steps=1)
    finish([*accelerate, *cpu, str(EXAMPLES / "train.py"), str(path)], tmp_path / "log")
    assert (tmp_path / "run/last/model.safetensors").exists()
    assert (tmp_path / "log").read_text().startswith("Stage 1, lip to speech\n")
