"""The settings of `personalise`, fine-tuning of both bundled models for one speaker, and what an update costs
here, measured on random input."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState

from ..constants import MEL_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..loading import BUNDLED_NAME
from ..losses.gan import LogMelLoss, reconstruction_losses
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
from .stages import build_model, lip2speech_to_train

TIMED = 2  # updates, after a first one that chooses kernels and makes the optimiser's state

# examples/configs/own_talker.yaml and own_talker_vocoder.yaml, but what depends on machine and data
LIP_READER: dict[str, Any] = {
    "init_from": BUNDLED_NAME,
    "learning_rate": 5e-4,
    "max_grad_norm": 10,
    "augmentation": {"time_mask": 5, "geometry": 1, "light": 1, "camera": 1},
    "ema_decay": 0.998,
}
VOCODER: dict[str, Any] = {
    "init_from": BUNDLED_NAME,
    "adversarial_from_step": None,
    "mel_loss_weight": 3,
    "mel_loss_windows": [512, 1024, 2048],
    "stft_loss_weight": 1,
    "segment_units": 32,
    "learning_rate": 5e-4,
    "max_grad_norm": 10,
    "ema_decay": 0.99,
    "max_eval_clips": 20,
    "discriminators": {
        "period": {"channels": [8, 16, 32, 64, 64]},
        "scale": {
            "num_scales": 1,
            "channels": [16, 32, 64, 64, 64],
            "kernel_sizes": [15, 11, 11, 11, 5],
            "strides": [2, 4, 4, 4, 1],
            "groups": [1, 4, 4, 4, 1],
        },
    },
}


@dataclass(frozen=True)
class Settings:
    """What a machine decides when MODEL is begun, and what was asked for; kept until it is done.

    updates: of the lip reader. batch_size: clips an update, where there are as many. bf16: mixed precision.
    workers: loading processes. cache: the data are kept in memory. text_vocabulary: of a new text head.
    """

    updates: int
    batch_size: int
    bf16: bool
    workers: int
    cache: bool
    text_vocabulary: str | None

    def lip_reader(self) -> dict[str, Any]:
        """Of stage 1, without data and output_dir."""
        model = {} if self.text_vocabulary is None else {"text_vocabulary": self.text_vocabulary}
        twentieth = max(1, self.updates // 20)
        steps = {"max_steps": self.updates, "eval_steps": twentieth, "save_steps": twentieth}
        return LIP_READER | self._shared() | steps | {"model": model}

    def vocoder(self) -> dict[str, Any]:
        """Of stage 2, without data and output_dir."""
        updates = max(1, 3 * self.updates // 10)
        third = max(1, updates // 3)
        steps = {"max_steps": updates, "eval_steps": third, "save_steps": third}
        return VOCODER | self._shared() | steps | {"warmup_steps": min(50, max(1, updates // 12))}

    def _shared(self) -> dict[str, Any]:
        return {
            "warmup_steps": min(100, max(1, self.updates // 20)),
            "per_device_train_batch_size": self.batch_size,
            "bf16": self.bf16,
            "dataloader_num_workers": self.workers,
            "cache": self.cache,
        }

    def seconds_per_update(self, frames: int) -> tuple[float, float]:
        """Seconds of an update of the lip reader with clips of so many video frames, and of the vocoder,
        without discriminators. Waiting for data, validation and saving are not in them."""
        return _lip2speech(self.lip_reader(), frames), _vocoder(self.vocoder())


def _lip2speech(settings: Mapping[str, Any], frames: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = Lip2SpeechTrainingArguments(output_dir=folder, **settings)
    model, _ = lip2speech_to_train(args)
    config, clips = model.config, args.per_device_train_batch_size
    frames = min(frames, args.max_frames)
    units, crop = (clips, UNITS_PER_FRAME * frames), config.crop_size
    batch = {
        "pixel_values_videos": torch.randn(clips, frames, 1, crop, crop),
        "attention_mask": torch.ones(clips, frames, dtype=torch.int64),
        "speaker_embeddings": torch.randn(clips, config.speaker_embedding_dim),
        "unit_labels": torch.randint(config.num_units, units) + config.unit_offset,
        "mel_labels": torch.randn(clips, MEL_PER_FRAME * frames, config.num_mel_bins),
        "mel_attention_mask": torch.ones(clips, MEL_PER_FRAME * frames, dtype=torch.int64),
    }
    batch = {name: value.to(PartialState().device) for name, value in batch.items()}
    return _seconds(model, args.bf16, lambda: model(**batch).loss)


def _vocoder(settings: Mapping[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = VocoderTrainingArguments(output_dir=folder, **settings)
    generator = build_model(UnitVocoderModel, args.model, args.init_from)
    generator.apply_weight_norm()
    config, clips, units = generator.config, args.per_device_train_batch_size, args.segment_units
    device = PartialState().device
    given = {
        "unit_ids": torch.randint(config.num_units, (clips, units)),
        "spectrogram": torch.randn(clips, 2 * units, config.num_mel_bins),
        "speaker_embeddings": torch.randn(clips, config.speaker_embedding_dim),
    }
    if config.generator_type == "istft":
        given["f0"] = torch.full((clips, 2 * units), 120.0)
    given = {name: value.to(device) for name, value in given.items()}
    waveform = torch.rand(clips, SAMPLES_PER_UNIT * units, device=device) - 0.5
    batch = given | {"waveform": waveform, "predicted": torch.zeros(clips, dtype=torch.bool).to(device)}
    mel_losses = [LogMelLoss(size, size // 4).to(device) for size in args.mel_loss_windows]
    return _seconds(
        generator, args.bf16, lambda: reconstruction_losses(generator(**given), batch, mel_losses, args, 0)[1]
    )


def _seconds(model: torch.nn.Module, bf16: bool | None, loss_of: Callable[[], torch.Tensor]) -> float:
    device = PartialState().device
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    times = []
    for _ in range(1 + TIMED):
        begin = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bool(bf16)):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sum(times[1:]) / TIMED
