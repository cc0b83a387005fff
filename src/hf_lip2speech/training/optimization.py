"""Optimiser, learning-rate schedules and weight averaging. A learning rate is a function of the step: nothing
to restore."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .config import OptimizerConfig


def adamw(module: nn.Module, config: OptimizerConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW over the module's trainable parameters; vectors (biases, normalisation gains) are not decayed."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.squeeze().ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.squeeze().ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=device.type in ("cpu", "cuda"),
    )


def warmup_cosine(step: int, warmup_steps: int, max_steps: int) -> float:
    """Factor on the peak learning rate for the update after `step` updates: linear warm-up, then cosine to
    0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def weight_average(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the module's weights and batch-norm statistics, to be updated after
    each step."""

    def average(averaged, current, num_averaged):
        n = int(num_averaged)  # short trainings: the first, random weights must not linger
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averaged, current, num_averaged)

    return AveragedModel(module, multi_avg_fn=average, use_buffers=True).requires_grad_(False).eval()
