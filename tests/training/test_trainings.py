"""Both trainings as a user starts them, on a small prepared folder: the scripts in examples/."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import Dataset

from hf_lip2speech.data.prepared import PreparedDataset, speaker_voices
from hf_lip2speech.errors import ConfigError, TrainingError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.models.configuration_lip2speech_with_vocoder import Lip2SpeechWithVocoderConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.models.voices import read_voices
from hf_lip2speech.training import lip2speech_trainer
from hf_lip2speech.training.arguments import METRICS
from hf_lip2speech.training.common import is_decayed, set_epoch, training_loader, weight_average
from hf_lip2speech.training.stages import build_model
from hf_lip2speech.training.vocoder_trainer import VocoderTrainer

from .conftest import STAGES, TORCHRUN, TRAINERS, both, checkpoints, finish, step_of
from .prepared_folder import NUM_UNITS

MODELS = {"train": Lip2SpeechModel, "train_vocoder": UnitVocoderModel}
CLIP = "s1_clip6"


@both
def test_a_run_leaves_complete_models_sound_pictures_and_curves(script, train, prepared, tmp_path, capsys):
    trainer = train(script, report_to="tensorboard", max_steps=3, num_samples=1)
    run = tmp_path / "run"
    for name in ("best", "last"):
        model, report = MODELS[script].from_pretrained(run / name, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert (
            SpeechUnitExtractor.from_pretrained(run / name / "unit_extractor").config.num_units == NUM_UNITS
        )
        voices = read_voices(run / name)
        assert {who: voice.tolist() for who, voice in voices.items()} == {
            who: voice.tolist() for who, voice in speaker_voices(prepared).items()
        }
    assert model.config.num_units == NUM_UNITS
    if script == "train":
        assert Lip2SpeechFeatureExtractor.from_pretrained(run / "best").crop_size == 88

    predicted, metrics, best = {
        "train": ("predicted", {"eval/loss", "eval/mel_l1", "train/unit_loss"}, "eval/unit_accuracy"),
        "train_vocoder": ("vocoder", {"train/mel_loss"}, "eval/mel_loss"),
    }[script]
    events = EventAccumulator(str(run / "logs")).Reload()
    tags = events.Tags()
    assert set(tags["audio"]) == {f"{CLIP}/{predicted}", f"{CLIP}/true"} and tags["images"] == [
        f"{CLIP}/targets"
    ]
    usual = {"train/learning_rate", "train/seconds_per_step", "train/waiting_for_data", "train/epoch"}
    assert metrics | usual | {best} <= set(tags["scalars"])
    found = trainer.state.best_metric if script == "train" else trainer.best
    assert found in [pytest.approx(event.value) for event in events.Scalars(best)]
    assert [event.step for event in events.Scalars(best)] == [2, 3], "the end is validated, too"
    sound = read_audio(run / "samples" / CLIP / f"{predicted}.wav")
    assert len(sound) == 10 * 640 and np.abs(sound).max() > 0
    assert (run / "samples" / CLIP / "targets.png").is_file()

    said = capsys.readouterr().out
    for fact in ("device  ", "parameters, ", "6 training clips", "1.5 per epoch", f"writes to      {run}"):
        assert fact in said
    assert f"look at it     tensorboard --logdir {run}\n" in said


def test_validation_measures_what_the_saved_model_does(train, prepared, tmp_path):
    """One clip at a time through the reloaded model, against the numbers of the run in batches of two."""
    trainer = train("train", per_device_eval_batch_size=2, max_steps=2)
    model = Lip2SpeechModel.from_pretrained(tmp_path / "run/best").eval()
    extractor = Lip2SpeechFeatureExtractor.from_pretrained(tmp_path / "run/best")
    hits = total = 0
    for clip in PreparedDataset(prepared, "val"):
        inputs = extractor(clip["frames"], return_tensors="pt")
        speaker = torch.from_numpy(clip["speaker_embeddings"])[None]
        with torch.no_grad():
            units = model.unit_ids(model(**inputs, speaker_embeddings=speaker).unit_logits)[0].numpy()
        hits, total = hits + (units == clip["unit_ids"]).sum(), total + len(units)
    assert trainer.state.best_metric == pytest.approx(hits / total)


@both
def test_training_lowers_the_loss(script, train, capsys):
    changes = {
        "train": {"augmentation": {"erasing": 0, "time_mask": 0}, "warmup_steps": 1},
        "train_vocoder": {"mel_augmentation": None, "adversarial_from_step": 1000},
    }[script]
    rare = {"max_steps": 16, "logging_steps": 8, "eval_steps": 100, "save_steps": 100, "max_eval_clips": 1}
    rare["gradient_accumulation_steps"] = 1
    train(script, learning_rate=1e-2, **rare, **changes)
    name = "loss" if script == "train" else "mel_loss"
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    losses = [float(line.split(f"{name} ")[1].split()[0]) for line in lines]
    assert losses[-1] < 0.95 * losses[0]


@both
def test_init_from_starts_at_the_saved_weights_and_keeps_their_sizes(script, train, tmp_path):
    train(script, max_steps=1)
    change = {"train": "hidden_dropout", "train_vocoder": "unit_dropout"}[script]
    still = {"max_steps": 1, "learning_rate": 0.0, "ema_decay": 0.0, "model": {change: 0.3}}
    train(script, "--init-from", str(tmp_path / "run/best"), f"output_dir={tmp_path}/tuned", **still)
    before, after = (MODELS[script].from_pretrained(tmp_path / name) for name in ("run/best", "tuned/last"))
    for (name, one), (_, other) in zip(before.named_parameters(), after.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)  # weight norm and back: equal to rounding
    assert getattr(after.config, change) == 0.3


def test_init_from_takes_its_part_of_a_composite_and_names_what_it_cannot_take(tmp_path):
    torch.manual_seed(5)
    sizes = {"lip2speech": STAGES["train"]["model"], "vocoder": STAGES["train_vocoder"]["model"]}
    composite = Lip2SpeechWithVocoder(Lip2SpeechWithVocoderConfig(**sizes))
    composite.save_pretrained(tmp_path / "composite")
    composite.vocoder.save_pretrained(tmp_path / "vocoder")
    for kind, part in ((Lip2SpeechModel, composite.lip2speech), (UnitVocoderModel, composite.vocoder)):
        loaded = build_model(kind, {}, tmp_path / "composite")
        assert all(torch.equal(a, b) for a, b in zip(part.parameters(), loaded.parameters(), strict=True))
    with pytest.raises(
        ConfigError, match=r"init_from .*vocoder holds \w*unit_vocoder; expected a lip2speech"
    ):
        build_model(Lip2SpeechModel, {}, tmp_path / "vocoder")
    for nothing in (tmp_path / "nothing", "nobody/nothing"):
        with pytest.raises(ConfigError, match=r"init_from .*nothing"):
            build_model(Lip2SpeechModel, {}, nothing)


@both
def test_bfloat16_trains_on_a_cpu_and_saves_float32(script, train, tmp_path, capsys, monkeypatch):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    train(script, bf16=True, max_steps=2, num_threads=3)
    assert threads[0] == 3 and "mixed precision: bf16" in capsys.readouterr().out
    weights = load_file(tmp_path / "run/best/model.safetensors")
    assert all(w.isfinite().all() for w in weights.values())
    assert {w.dtype for w in weights.values() if w.is_floating_point()} == {torch.float32}


@both
@pytest.mark.parametrize(
    ("values", "best"),
    [([3.0, 1.0, math.nan], 2), ([math.nan, 1.0, 1.0], 2)],
    ids=["lowest", "first of them"],
)
def test_best_is_the_model_with_the_best_metric_and_the_latest_checkpoints_stay(
    script, train, tmp_path, monkeypatch, values, best
):
    given = iter(values)
    others = dict.fromkeys(METRICS, 0.0)
    monkeypatch.setattr(lip2speech_trainer, "_metrics", lambda sums: others | {"loss": next(given)})
    monkeypatch.setattr(VocoderTrainer, "evaluate", lambda self: {"mel_loss": next(given)})
    saved, export = [], TRAINERS[script]._export
    monkeypatch.setattr(
        TRAINERS[script],
        "_export",
        lambda self, name: saved.append((name, step_of(self))) or export(self, name),
    )
    often = {"max_steps": 3, "eval_steps": 1, "save_steps": 1, "gradient_accumulation_steps": 1}
    trainer = train(script, **often, **({"metric_for_best_model": "loss"} if script == "train" else {}))
    found = (trainer.state.best_global_step, trainer.state.best_metric) if script == "train" else (
        trainer.best_step, trainer.best)  # fmt: skip
    assert found == (best, 1.0) and saved[-2:] == [("best", best), ("last", 3)]
    assert checkpoints(tmp_path / "run") == ["checkpoint-2", "checkpoint-3"]


@both
def test_a_loss_that_is_not_finite_ends_the_run(script, train):
    def spoil(trainer):
        module = trainer.model if script == "train" else trainer.plain_generator
        nn.init.constant_(next(module.parameters()), math.nan)

    with pytest.raises(TrainingError, match=r"loss.* is not finite at step 2. Lower learning_rate"):
        train(script, at={1: spoil})


@both
def test_too_few_clips_for_a_batch_are_named(script, train):
    with pytest.raises(TrainingError, match=r"has 6 clips.*per_device_train_batch_size 7"):
        train(script, per_device_train_batch_size=7)


@both
@pytest.mark.slow
def test_the_scripts_train_on_the_official_sample(script, train, lrs3_sample_dir, tmp_path):
    model = STAGES[script]["model"] | {"num_units": 200}
    few = {"max_steps": 3, "max_eval_clips": 1} | ({"max_frames": 40} if script == "train" else {})
    train(script, data=str(lrs3_sample_dir), model=model, **few)
    saved = MODELS[script].from_pretrained(tmp_path / "run/last")
    assert saved.config.num_units == 200
    assert all(value.isfinite().all() for value in saved.parameters())


# ---- Stage 2 alone


def test_before_the_adversarial_start_the_discriminators_stand_still(train):
    seen = []

    def look(trainer):
        seen.append([p.detach().clone() for p in trainer.discriminators.parameters()])

    train(
        "train_vocoder", adversarial_from_step=2, max_steps=4, eval_steps=9, at=dict.fromkeys((1, 2, 3), look)
    )
    moved = [any(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert moved == [False, True]


def test_accumulated_gradients_equal_those_of_a_big_batch(train, tmp_path):
    same = {"eval_steps": 9, "max_steps": 2, "mel_augmentation": None}
    for name, size, count in (("small", 1, 3), ("big", 3, 1)):
        batch = {"per_device_train_batch_size": size, "gradient_accumulation_steps": count}
        train("train_vocoder", f"output_dir={tmp_path / name}", **same, **batch)
    one, other = (load_file(tmp_path / name / "last/model.safetensors") for name in ("small", "big"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name, rtol=1e-3, atol=1e-5)


# ---- The parts


class Numbers(Dataset):
    """Samples that say which they are and in which epoch they were drawn."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return [index, self.epoch]

    def set_epoch(self, epoch):
        self.epoch = epoch


def seen_in(epochs: int, batch: int) -> list[list]:
    accelerator = Accelerator()
    loader = training_loader(Numbers(7), torch.tensor, batch, 0, accelerator)
    found = []
    for epoch in range(epochs):
        set_epoch(loader, epoch)
        batches = torch.stack(list(loader)).tolist()
        assert all(drawn == epoch for batch in batches for _, drawn in batch)
        found.append([index for batch in batches for index, _ in batch])
    return found


def test_each_epoch_sees_full_batches_of_different_clips_in_a_new_order():
    epochs = seen_in(4, batch=2)
    assert all(len(epoch) == len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


TWO_PROCESSES = """
import json, os, signal, sys
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from tests.training.test_trainings import seen_in
from hf_lip2speech.training.common import StopRequest

accelerator = Accelerator()
with StopRequest(None) as stop:
    if accelerator.process_index == 1:  # a signal that reaches one process only
        os.kill(os.getpid(), signal.SIGTERM)
    asked = [stop.requested(accelerator, step) for step in (9, 10)]
with open(f"{sys.argv[1]}/{accelerator.process_index}.json", "w") as file:
    json.dump([asked, stop.signal, seen_in(3, batch=1)], file)
"""


@pytest.mark.slow
def test_two_processes_share_an_epoch_and_stop_together(tmp_path):
    (tmp_path / "script.py").write_text(TWO_PROCESSES)
    finish([*TORCHRUN, str(tmp_path / "script.py"), str(tmp_path)], tmp_path / "log")
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one[:2] == other[:2] == [[False, True], 15]
    for mine, yours in zip(one[2], other[2], strict=True):  # 7 clips: three for each process
        assert len(mine) == len(yours) == 3 and not set(mine) & set(yours)


def test_only_matrices_and_kernels_are_decayed():
    module = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Linear(3, 2))
    assert [is_decayed(p) for p in module.parameters()] == [True, False, False, False, True, False]


def test_the_weight_average_warms_up_and_includes_batch_norm_statistics():
    module = nn.BatchNorm1d(1)
    average = weight_average(module, 0.999)
    expected = 0.0
    for n, value in enumerate([1.0, 2.0, 3.0]):
        nn.init.constant_(module.weight, value)
        module.running_mean.fill_(value)
        average.update_parameters(module)
        decay = min(0.999, (1 + n) / (10 + n))
        expected = value if n == 0 else decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.running_mean.item() == pytest.approx(expected)
