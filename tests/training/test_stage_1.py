"""Stage 1: any Trainer takes its data; preprocessing; batches by frames; AV-HuBERT frozen and unfrozen."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from hf_lip2speech.data.augmentation import VideoAugmentation
from hf_lip2speech.data.collation import FrameBatchSampler, Lip2SpeechCollator
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.errors import ConfigError
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.configuration_avhubert import AVHubertConfig
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_avhubert import AVHubertModel
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.stage_trainer import EpochCallback

from .conftest import EXAMPLES, STAGES, TORCHRUN, Killed, assert_same_states, finish, kill, step_of
from .prepared_folder import write_prepared_folder

FIELDS = ("frames", "mel", "unit_ids", "speaker_embeddings")
MODEL = STAGES["train"]["model"]
REST = {name: value for name, value in MODEL.items() if not name.startswith("frontend")}


def test_transformers_trainer_trains_as_it_comes(prepared, tmp_path):
    """With unused columns removed, as is its default."""
    model = Lip2SpeechModel(Lip2SpeechConfig(**MODEL))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dataset = AugmentedDataset(PreparedDataset(prepared, "train", fields=FIELDS), VideoAugmentation())
    fast = {"max_steps": 4, "per_device_train_batch_size": 3, "learning_rate": 1e-2, "report_to": "none"}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True, save_strategy="no", **fast),
        data_collator=Lip2SpeechCollator(model.config),
        train_dataset=dataset,
        callbacks=[EpochCallback()],
    )
    assert trainer.train().training_loss > 0
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"unit_head.weight", "frontend.stem.weight"} <= {name for name in moved if name.endswith("weight")}
    assert dataset.epoch == 1, "which the callback told it"


def test_the_augmentation_and_the_saved_folder_have_the_numbers_of_the_model_started_from(train, tmp_path):
    """Crop size, mean and deviation come from the feature extractor beside the weights, or from the model."""
    Lip2SpeechModel(Lip2SpeechConfig(**MODEL, crop_size=64)).save_pretrained(tmp_path / "model")
    trainer = train("train", init_from=str(tmp_path / "model"), max_steps=1, model={})
    assert trainer.train_dataset[0]["pixel_values_videos"].shape[1:] == (1, 64, 64)
    Lip2SpeechFeatureExtractor(crop_size=64, pixel_mean=0.5, pixel_std=0.25).save_pretrained(
        tmp_path / "model"
    )
    trainer = train(
        "train", f"output_dir={tmp_path / 'other'}", init_from=str(tmp_path / "model"), model={}, max_steps=1
    )
    assert trainer.train_dataset[0]["pixel_values_videos"].max() <= 2
    saved = Lip2SpeechFeatureExtractor.from_pretrained(tmp_path / "other/best")
    assert (saved.crop_size, saved.pixel_mean, saved.pixel_std) == (64, 0.5, 0.25)


# ---- Batches of clips of about one length


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_frame_batches_resume_in_the_middle_of_an_epoch(train, tmp_path, workers):
    """Four batches are an epoch; the checkpoint at step 3 is in the middle of the second."""
    settings = {"batch_frames": 20, "save_steps": 1, "dataloader_num_workers": workers}
    train("train", f"output_dir={tmp_path / 'whole'}", **settings)
    with pytest.raises(Killed):
        train("train", **settings, at={3: kill})
    train("train", "--resume", **settings)
    assert_same_states(tmp_path / "whole/checkpoint-6", tmp_path / "run/checkpoint-6")


def test_each_clip_counts_the_same_whatever_the_size_of_its_batch(train, tmp_path, monkeypatch):
    data = write_prepared_folder(tmp_path / "data", train=7, frames=(10,))
    seen = []
    step = Trainer.training_step

    def watched(self, model, inputs, *rest):
        loss = step(self, model, inputs, *rest)
        (mean,) = list(self.meter._sums.values())[:1]
        seen.append((len(inputs["unit_labels"]), float(loss), float(mean)))
        return loss

    monkeypatch.setattr(Trainer, "training_step", watched)
    train("train", batch_frames=20, max_steps=1, gradient_accumulation_steps=4, data=str(data))
    sizes, losses, sums = zip(*seen, strict=True)
    assert sorted(sizes) == [1, 2, 2, 2]
    means = [after - before for before, after in zip((0.0, *sums), sums, strict=False)]
    weights = [4 * loss / mean for loss, mean in zip(losses, means, strict=True)]
    assert weights == pytest.approx([size / (7 / 4) for size in sizes], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory in /proc")
def test_the_memory_of_a_worker_is_flat_over_epochs(tmp_path):
    data = write_prepared_folder(tmp_path / "data", train=60, frames=(40, 42, 30))
    dataset = AugmentedDataset(PreparedDataset(data, "train", fields=FIELDS), VideoAugmentation())
    sampler = FrameBatchSampler(dataset.lengths, 200, dataset)
    loader = DataLoader(
        dataset, batch_sampler=sampler, collate_fn=len, num_workers=1, persistent_workers=True
    )

    def resident() -> int:
        (worker,) = loader._iterator._workers
        pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    sizes = []
    for epoch in range(8):
        dataset.set_epoch(epoch)
        assert sum(loader) == 60
        sizes.append(resident())
    assert sizes[-1] - sizes[2] < 2_000_000, sizes


# ---- AV-HuBERT


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
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
    folder = tmp_path_factory.mktemp("avhubert")
    AVHubertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def train_on(train, encoder):
    """train_on(overrides..., **settings): the training script on the small encoder."""
    usual = {"model": REST, "encoder": str(encoder), "ema_decay": 0.0, "warmup_steps": 0}
    return lambda *overrides, at=(), **settings: train("train", *overrides, at=at, **usual | settings)


def moved(encoder, saved) -> set[str]:
    """Names of the encoder's tensors that differ from those it started with."""
    before, after = load_file(encoder / "model.safetensors"), load_file(saved / "model.safetensors")
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[f"avhubert.{name}"])}


def test_a_frozen_encoder_comes_out_as_it_went_in_and_init_from_can_unfreeze_it(train_on, encoder, tmp_path):
    start = train_on(max_steps=2).args.output_dir + "/last"
    assert moved(encoder, Path(start)) == set()
    model = Lip2SpeechModel.from_pretrained(start)
    assert model.encoder_is_frozen
    assert model.avhubert_proj.bias.abs().sum() > 0, "which starts at zero"
    again = {"encoder": None, "init_from": start, "max_steps": 1}
    train_on(f"output_dir={tmp_path}/still", model={}, **again)
    assert moved(encoder, tmp_path / "still/last") == set()
    train_on(f"output_dir={tmp_path}/open", model={"freeze_encoder": False}, **again)
    assert "fusion_proj.weight" in moved(encoder, tmp_path / "open/last")
    train_on(f"output_dir={tmp_path}/taken", encoder=start, max_steps=1)
    assert moved(encoder, tmp_path / "taken/last") == set(), "a model with an encoder gives it"


def test_a_model_without_an_encoder_is_none(train_on, tmp_path):
    Lip2SpeechModel(Lip2SpeechConfig(**MODEL)).save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match="encoder .* cannot be loaded"):
        train_on(encoder=str(tmp_path / "model"))


def test_published_training_moves_the_frozen_encoders_batch_norms(train_on, encoder, tmp_path):
    train_on(max_steps=2, model=REST | {"frozen_encoder_eval": False})
    names = moved(encoder, tmp_path / "run/last")
    assert {name.rpartition(".")[2] for name in names} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_an_encoder_is_unfrozen_after_the_updates_that_were_asked_for_also_when_resumed(
    train_on, encoder, tmp_path
):
    settings = {"unfreeze_encoder_after": 2, "ema_decay": 0.9, "save_steps": 1, "max_steps": 4}
    at = {}
    train_on(
        f"output_dir={tmp_path / 'whole'}",
        **settings,
        at={2: lambda t: at.update(weights(t)), 3: lambda t: None},
    )
    before = load_file(encoder / "model.safetensors")
    assert all(torch.equal(before[name], value) for name, value in at.items())
    names = moved(encoder, tmp_path / "whole/last")
    assert {"fusion_proj.weight", "layers.0.in_proj.weight", "frontend.stem.weight"} <= names
    assert not any(name.startswith("audio_proj") for name in names)
    with pytest.raises(Killed):
        train_on(**settings, at={3: kill})
    train_on("--resume", **settings)
    assert_same_states(tmp_path / "whole/checkpoint-4", tmp_path / "run/checkpoint-4")


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.avhubert.named_parameters()}


def test_a_front_end_can_be_left_as_it_is(train, tmp_path):
    train("train", max_steps=1, ema_decay=0.0)
    frozen = {"init_from": str(tmp_path / "run/last"), "freeze_frontend": True, "warmup_steps": 0}
    assert step_of(train("train", f"output_dir={tmp_path}/tuned", max_steps=2, ema_decay=0.0, **frozen)) == 2
    one, other = (load_file(tmp_path / name / "last/model.safetensors") for name in ("run", "tuned"))
    same = {name for name, value in one.items() if torch.equal(value, other[name])}
    assert {name for name in one if name.startswith("frontend.")} <= same
    assert "unit_head.weight" not in same


def test_it_learns_through_a_vocoder_which_stays_as_it_is(train, tmp_path):
    train("train", max_steps=1, ema_decay=0.0)
    vocoder = UnitVocoderModel(UnitVocoderConfig(**STAGES["train_vocoder"]["model"]))
    vocoder.save_pretrained(tmp_path / "vocoder")
    settings = {
        "init_from": str(tmp_path / "run/last"),
        "vocoder": str(tmp_path / "vocoder"),
        "train_only": ["mel_head"],
        "intelligibility_loss_weight": 10.0,
        "model": {"mel_loss_weight": 0.0},  # so that nothing else moves the mel head
        "max_frames": 15,
        "weight_decay": 0.0,
        "metric_for_best_model": "loss",
        "report_to": "tensorboard",
    }
    trainer = train("train", f"output_dir={tmp_path}/tuned", max_steps=2, ema_decay=0.0, **settings)
    one, other = (load_file(tmp_path / name / "last/model.safetensors") for name in ("run", "tuned"))
    moved = {name for name, value in one.items() if not torch.equal(value, other[name])}
    assert moved == {name for name in one if name.startswith("mel_head.")}
    for name, value in trainer.vocoder.state_dict().items():
        assert torch.equal(value, vocoder.state_dict()[name])
    events = EventAccumulator(str(tmp_path / "tuned/logs")).Reload()
    assert all(0.5 < event.value < 1.5 for event in events.Scalars("train/intelligibility_loss"))


# The training script, stopping where the two processes' encoders differ after an update.
WATCHED = f"""
import sys
sys.path.insert(0, {str(EXAMPLES)!r})
from hf_lip2speech.training.stage_trainer import StopCallback
import train

def watch(self, args, state, control, model=None, **kwargs):
    total = sum(p.detach().double().abs().sum() for p in model.avhubert.parameters())
    one, other = self.accelerator.gather(total[None]).tolist()
    assert one == other, (one, other)
    self.accelerator.print("equal", one)
    step_end(self, args, state, control)

step_end, StopCallback.on_step_end = StopCallback.on_step_end, watch
train.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_two_processes_keep_one_encoder_through_the_unfreezing(configuration, encoder, tmp_path):
    (tmp_path / "watched.py").write_text(WATCHED)
    settings = {"model": REST, "encoder": str(encoder), "ema_decay": 0.0, "warmup_steps": 0, "max_steps": 4}
    path = configuration("train", unfreeze_encoder_after=2, gradient_accumulation_steps=1, **settings)
    finish([*TORCHRUN, str(tmp_path / "watched.py"), str(path)], tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()
    totals = [float(line.split()[1]) for line in lines if line.startswith("equal")]
    assert totals[0] == totals[1] and len(set(totals)) == 3, "moved after two of four updates"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "nowhere/at_all"}, "encoder nowhere/at_all cannot be loaded"),
        ({"model": REST | {"encoder": {}}}, r"Unknown key model\.encoder"),
        ({"encoder": None, "unfreeze_encoder_after": 2}, "no frozen AV-HuBERT"),
        ({"model": REST | {"freeze_encoder": False}, "unfreeze_encoder_after": 2}, "no frozen AV-HuBERT"),
        ({"freeze_frontend": True}, "has no front end"),
    ],
)
def test_contradictions_are_named(train_on, changes, message):
    with pytest.raises(ConfigError, match=message):
        train_on(**changes)
