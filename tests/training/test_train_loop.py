"""The loop that both trainings share, around a stand-in stage: a linear layer with dropout on numbers."""

import json
import os
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from hf_lip2speech.training.checkpoint import CheckpointError, export, settle
from hf_lip2speech.training.config import TrainingConfig
from hf_lip2speech.training.loop import STOP_CHECK_EVERY, Stage, TrainingError, start, train, training_loader
from hf_lip2speech.training.optimization import adamw, warmup_cosine, weight_average

from .conftest import TORCHRUN, assert_same_states, finish


class Numbers(Dataset):
    """Samples that say what they are and in which epoch they were drawn."""

    def __init__(self, length: int):
        self.length = length
        self.epoch = None

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        x = torch.linspace(-1, 1, 4) * (index + 1) + 0.1 * self.epoch
        return {"index": torch.tensor(index), "epoch": torch.tensor(self.epoch), "x": x}

    def set_epoch(self, epoch):
        self.epoch = epoch


def stack(items):
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


class Linear(Stage):
    """Regresses a constant; `metrics` are handed out by validation one after the other."""

    def __init__(self, config, accelerator, samples=7, dropout=0.5, metrics=()):
        self.config, self.accelerator = config, accelerator
        self.plain = nn.Sequential(nn.Dropout(dropout), nn.Linear(4, 1))
        optimizer = adamw(self.plain, config.optimizer, accelerator.device)
        self.model, self.optimizer = accelerator.prepare(self.plain, optimizer)
        self.modules = [self.model]
        self.loader = training_loader(Numbers(samples), stack, config, accelerator)
        self.seen = []
        self.metrics = list(metrics)
        self.at_step = {}

    def training_step(self, batch, step, epoch):
        self.at_step.pop(step, lambda: None)()
        assert (batch["epoch"] == epoch).all()
        self.seen += [(epoch, index) for index in batch["index"].tolist()]
        loss = ((self.model(batch["x"]) - 1) ** 2).mean()
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return {"loss": loss.detach()}

    def after_update(self):
        pass

    learning_rate = 1e-3

    def validate(self):
        torch.rand(3)
        return {"loss": self.metrics.pop(0) if self.metrics else 1.0}

    def samples(self):
        return []

    def save_model(self, directory):
        torch.save(self.plain.state_dict(), directory / "weights.pt")


@pytest.fixture
def settings(tmp_path):
    """settings(name, **changes): a configuration with its output in tmp_path / name."""

    def make(name="run", **changes):
        values = {
            "max_steps": 10,
            "batch_size": 2,
            "gradient_accumulation": 2,
            "log_every": 3,
            "eval_every": 3,
            "save_every": 4,
            "tracker": "none",
        }
        return TrainingConfig(data="", output_dir=str(tmp_path / name), **values | changes)

    return make


def run(config, resume=False, at_step=(), **stage_arguments):
    accelerator = start(config)
    stage = Linear(config, accelerator, **stage_arguments)
    stage.at_step = dict(at_step)
    state = train(stage, config, accelerator, resume=resume)
    return stage, state


class Killed(Exception):
    pass


def kill():
    raise Killed


def test_a_resumed_run_equals_one_that_never_stopped(settings, tmp_path):
    """Checkpoint at step 4: micro-batch 8 of epochs of 3, so within one, with accumulation and dropout."""
    whole, _ = run(settings("whole"))
    with pytest.raises(Killed):
        run(settings("parts"), at_step={6: kill})
    assert os.listdir(tmp_path / "parts/checkpoints") == ["step_4"]
    rest, _ = run(settings("parts"), resume=True)
    assert rest.seen == whole.seen[4 * 4 :]
    assert_same_states(tmp_path / "whole/checkpoints/step_10", tmp_path / "parts/checkpoints/step_10")


def test_each_epoch_sees_full_batches_of_different_clips_in_a_new_order(settings):
    stage, _ = run(settings(max_steps=6))  # 12 micro-batches, 3 an epoch, 7 samples
    epochs = [[index for epoch, index in stage.seen if epoch == number] for number in range(4)]
    assert all(len(epoch) == len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_accumulated_gradients_equal_those_of_a_big_batch(settings):
    small, _ = run(settings("a", max_steps=6, batch_size=1, gradient_accumulation=4), samples=8, dropout=0.0)
    big, _ = run(settings("b", max_steps=6, batch_size=4, gradient_accumulation=1), samples=8, dropout=0.0)
    assert small.seen == big.seen
    for one, other in zip(small.plain.parameters(), big.plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_validation_does_not_change_the_training(settings, tmp_path):
    run(settings("often", eval_every=1))
    run(settings("never", eval_every=100))
    often, never = (torch.load(tmp_path / name / "last/weights.pt") for name in ("often", "never"))
    assert all(torch.equal(often[name], never[name]) for name in often)


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [("loss", [3.0, 1.0, float("nan"), 2.0], (1.0, 6)), ("accuracy", [0.1, 0.3, 0.2, 0.3], (0.3, 6))],
    ids=["a loss: the lowest", "an accuracy: the first of the highest"],
)
def test_best_holds_the_model_with_the_best_metric(settings, tmp_path, monkeypatch, metric, values, best):
    monkeypatch.setattr(Linear, "validate", lambda self: {metric: self.metrics.pop(0)})
    saved = []
    monkeypatch.setattr(Linear, "save_model", lambda self, folder: saved.append(folder.parent / folder.stem))
    _, state = run(settings(best_metric=metric, max_steps=12), metrics=values)
    assert (state.best_metric, state.best_step) == best
    assert [folder.name for folder in saved] == ["best", "best", "last"]


def test_an_unknown_best_metric_is_named(settings):
    with pytest.raises(TrainingError, match="best_metric is wer; validation measures loss"):
        run(settings(best_metric="wer"))


def test_the_latest_checkpoints_stay_and_are_complete(settings, tmp_path):
    run(settings(save_every=2, keep_checkpoints=2))
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["step_10", "step_8"]
    assert json.loads((tmp_path / "run/checkpoints/step_8/training_state.json").read_text())["step"] == 8


def test_a_checkpoint_that_was_being_written_is_not_resumed_from(settings, tmp_path):
    run(settings(max_steps=4))
    (tmp_path / "run/checkpoints/writing_8").mkdir()
    stage, state = run(settings(max_steps=8), resume=True)
    assert state.step == 8 and len(stage.seen) == 4 * 4
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["step_4", "step_8"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_after_the_update_with_a_checkpoint(settings, tmp_path, capsys, number):
    run(settings("whole"))
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop:
        run(settings(), at_step={6: lambda: os.kill(os.getpid(), number)})
    assert stop.value.code == 128 + number
    assert f"stopped by {number.name}" in capsys.readouterr().out
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert sorted(os.listdir(tmp_path / "run/checkpoints")) == ["step_4", "step_7"]
    assert not (tmp_path / "run/last").exists()
    run(settings(), resume=True)
    assert_same_states(tmp_path / "whole/checkpoints/step_10", tmp_path / "run/checkpoints/step_10")


def test_the_clock_ends_the_run_and_it_can_go_on(settings, tmp_path):
    run(settings("whole"))
    _, state = run(settings(max_minutes=1e-9))
    assert state.step == 1 and (tmp_path / "run/last").is_dir()
    _, state = run(settings(), resume=True)
    assert state.step == 10
    assert_same_states(tmp_path / "whole/checkpoints/step_10", tmp_path / "run/checkpoints/step_10")


def test_a_new_run_does_not_overwrite_another(settings):
    run(settings(max_steps=2))
    with pytest.raises(CheckpointError, match=r"holds a training up to step 2.*--resume"):
        run(settings(max_steps=4))


def test_resuming_before_the_first_checkpoint_starts(settings, capsys):
    _, state = run(settings(max_steps=2), resume=True)
    assert state.step == 2 and "starting from the beginning" in capsys.readouterr().out


def test_resuming_a_finished_run_changes_nothing(settings, tmp_path):
    run(settings())
    before = (tmp_path / "run/checkpoints/step_10/training_state.json").stat().st_mtime_ns
    stage, _ = run(settings(), resume=True)
    assert stage.seen == []
    assert (tmp_path / "run/checkpoints/step_10/training_state.json").stat().st_mtime_ns == before


def test_resuming_with_another_batch_size_says_that_the_path_differs(settings, capsys):
    run(settings(max_steps=4))
    run(settings(max_steps=6, batch_size=1), resume=True)
    assert "not along the path" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_ends_the_run(settings):
    config = settings()
    accelerator = start(config)
    stage = Linear(config, accelerator)
    stage.at_step = {1: lambda: nn.init.constant_(stage.plain[1].weight, torch.nan)}
    with pytest.raises(TrainingError, match="loss is not finite at step 3"):
        train(stage, config, accelerator)


def test_too_few_clips_for_a_batch_are_named(settings):
    with pytest.raises(TrainingError, match=r"has 3 clips.*batch_size 5"):
        run(settings(batch_size=5), samples=3)


def test_an_export_replaces_the_directory_as_a_whole(tmp_path):
    target = tmp_path / "best"
    export(target, lambda folder: (folder / "old").touch())

    def fail(folder):
        (folder / "new").touch()
        raise Killed

    with pytest.raises(Killed):
        export(target, fail)
    assert os.listdir(target) == ["old"]
    export(target, lambda folder: (folder / "new").touch())
    assert os.listdir(target) == ["new"] and os.listdir(tmp_path) == ["best"]


def test_an_export_killed_between_its_renames_is_put_right(tmp_path):
    (tmp_path / "best.old").mkdir()
    settle(tmp_path / "best")
    assert os.listdir(tmp_path) == ["best"]
    (tmp_path / "best.old").mkdir()
    settle(tmp_path / "best")
    assert os.listdir(tmp_path) == ["best"]


TWO_PROCESSES = """
import json, os, signal, sys
from hf_lip2speech.training.config import TrainingConfig
from hf_lip2speech.training.loop import start, train
from tests.training.test_train_loop import Linear

config = TrainingConfig(data="", output_dir=sys.argv[1], max_steps=30, batch_size=1, tracker="none")
accelerator = start(config)
stage = Linear(config, accelerator)
if accelerator.process_index == 1:  # a signal that reaches one process only
    stage.at_step = {2: lambda: os.kill(os.getpid(), signal.SIGTERM)}
try:
    train(stage, config, accelerator)
except SystemExit as stop:
    with open(f"{sys.argv[1]}/seen_{accelerator.process_index}.json", "w") as file:
        json.dump([stop.code, stage.seen], file)
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_share_the_order_of_one_and_stop_together(settings, tmp_path):
    (tmp_path / "script.py").write_text(TWO_PROCESSES)
    finish([*TORCHRUN, str(tmp_path / "script.py"), str(tmp_path / "two")], tmp_path / "log")
    codes, seen = zip(
        *(json.loads((tmp_path / f"two/seen_{index}.json").read_text()) for index in (0, 1)), strict=True
    )
    assert codes == (128 + signal.SIGTERM,) * 2
    assert len(seen[0]) == len(seen[1]) == STOP_CHECK_EVERY
    one, _ = run(settings(max_steps=28, batch_size=1, gradient_accumulation=1))
    for epoch in range(3):  # 7 clips: three for each process
        parts = [[index for e, index in part if e == epoch] for part in seen]
        assert [index for pair in zip(*parts, strict=True) for index in pair] == [
            index for e, index in one.seen if e == epoch
        ][:6]


def test_the_learning_rate_rises_linearly_and_falls_as_a_cosine_to_zero():
    factors = [warmup_cosine(step, 4, 12) for step in range(13)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[8] == pytest.approx(0.5) and factors[12] == pytest.approx(0, abs=1e-12)
    assert all(a > b for a, b in zip(factors[4:], factors[5:], strict=False))


def test_only_matrices_and_kernels_are_decayed(settings):
    module = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[2].bias.requires_grad_(False)
    decayed, free = adamw(module, settings().optimizer, torch.device("cpu")).param_groups
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight), id(module[2].weight)}
    assert len(free["params"]) == 3 and free["weight_decay"] == 0 and decayed["weight_decay"] == 0.01


def test_the_weight_average_warms_up_and_includes_batch_norm_statistics():
    module = nn.BatchNorm1d(1)
    average = weight_average(module, 0.999)
    values = [1.0, 2.0, 3.0]
    expected = values[0]
    for n, value in enumerate(values):
        torch.nn.init.constant_(module.weight, value)
        module.running_mean.fill_(value)
        average.update_parameters(module)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = value if n == 0 else decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.running_mean.item() == pytest.approx(expected)
