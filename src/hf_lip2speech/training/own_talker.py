"""The settings of `personalise`: fine-tuning of both bundled models for one speaker."""

from dataclasses import dataclass
from typing import Any

from ..loading import BUNDLED_NAME

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
