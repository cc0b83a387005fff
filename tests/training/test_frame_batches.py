"""Training on batches of clips of about one length (batch_frames)."""

import os
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from hf_lip2speech.data.augmentation import VideoAugmentation
from hf_lip2speech.data.batching import FrameBatchSampler
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.training.config import ConfigError, load_config
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage

from .conftest import EXAMPLES, assert_same_states, finish, launch
from .prepared_folder import write_prepared_folder


class Killed(Exception):
    pass


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_run_equals_one_that_never_stopped(scripts, configuration, tmp_path, monkeypatch, workers):
    """Four batches an epoch; the checkpoint at step 3 is in the middle of the second."""
    config = str(configuration("train", batch_frames=20, save_every=1, num_workers=workers))
    scripts["train"].main([config, f"output_dir={tmp_path / 'whole'}"])
    step = Lip2SpeechStage.training_step

    def step_until_killed(self, batch, number, epoch):
        if number == 3:
            raise Killed
        return step(self, batch, number, epoch)

    monkeypatch.setattr(Lip2SpeechStage, "training_step", step_until_killed)
    with pytest.raises(Killed):
        scripts["train"].main([config])
    monkeypatch.undo()
    assert "step_3" in os.listdir(tmp_path / "run/checkpoints")
    scripts["train"].main([config, "--resume"])
    assert_same_states(tmp_path / "whole/checkpoints/step_6", tmp_path / "run/checkpoints/step_6")


def test_each_clip_counts_the_same_whatever_the_size_of_its_batch(
    scripts, configuration, tmp_path, monkeypatch
):
    data = write_prepared_folder(tmp_path / "data", train=7, frames=(10,))
    seen = []
    step, backward = Lip2SpeechStage.training_step, Accelerator.backward

    def watched(self, batch, number, epoch):
        losses = step(self, batch, number, epoch)
        seen[-1] = (len(batch["unit_labels"]), seen[-1] / float(losses["loss"]))
        return losses

    monkeypatch.setattr(Lip2SpeechStage, "training_step", watched)
    monkeypatch.setattr(
        Accelerator, "backward", lambda self, loss: (seen.append(loss.item()), backward(self, loss))
    )
    scripts["train"].main([str(configuration("train", batch_frames=20, max_steps=2, data=str(data)))])
    sizes, weights = zip(*seen, strict=True)
    assert sorted(sizes) == [1, 2, 2, 2]
    assert weights == pytest.approx([size / (7 / 4) for size in sizes], rel=1e-4)


def test_an_impossible_number_of_frames_is_refused(configuration):
    from hf_lip2speech.training.config import Lip2SpeechTrainingConfig

    with pytest.raises(ConfigError, match="batch_frames must be at least 1"):
        load_config(Lip2SpeechTrainingConfig, str(configuration("train", batch_frames=0)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory in /proc")
def test_the_memory_of_a_worker_is_flat_over_epochs(tmp_path):
    data = write_prepared_folder(tmp_path / "data", train=60, frames=(40, 42, 30))
    clips = PreparedDataset(data, "train", fields=("frames", "mel", "unit_ids", "speaker_embeddings"))
    dataset = AugmentedDataset(clips, VideoAugmentation())
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


@pytest.mark.slow
def test_two_machines_train_together_by_the_cluster_configuration(configuration, tmp_path):
    """Both on this one: accelerate's launcher is told the same as on two, and that there is no GPU."""
    config = configuration("train", batch_frames=20, max_steps=2, mixed_precision="no")
    port = 20_000 + os.getpid() % 20_000

    def command(rank: int) -> list[str]:
        return [
            *(sys.executable, "-m", "accelerate.commands.launch"),
            *("--config_file", str(EXAMPLES / "accelerate" / "cluster.yaml")),
            *("--num_processes", "2", "--machine_rank", str(rank)),
            *("--main_process_ip", "127.0.0.1", "--main_process_port", str(port)),
            *(str(EXAMPLES / "train.py"), str(config)),
        ]

    other = launch(command(1), tmp_path / "log1")
    finish(command(0), tmp_path / "log0")
    assert other.wait(timeout=300) == 0, (tmp_path / "log1").read_text()
    state = torch.load(tmp_path / "run/checkpoints/step_2/random_states_1.pkl", weights_only=False)
    assert state, "the second machine's process wrote its own random state"
    assert '"processes": 2' in (tmp_path / "run/checkpoints/step_2/training_state.json").read_text()
    assert (tmp_path / "run/last/model.safetensors").is_file()
