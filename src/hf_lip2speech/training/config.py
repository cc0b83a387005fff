"""Training configuration: a YAML file and `key=value` overrides that say only what differs from the defaults
here."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..losses.gan import VOCODER_LOSS_WEIGHTS
from ..losses.stoi_like import WINDOW
from .yaml_1_2 import ConfigError, parse_yaml


@dataclass(kw_only=True)
class OptimizerConfig:
    """AdamW. The defaults are those of the lip-to-speech model in Choi et al. 2023.

    Args:
        learning_rate: The peak.
        betas, eps: Of Adam.
        weight_decay: Decoupled; only of weight matrices and kernels, not of biases and normalisation gains
            (our choice; the published training decays all).
        max_grad_norm: Gradients are scaled down to this global norm; null, as published, leaves them alone.
    """

    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float | None = None


@dataclass(kw_only=True)
class TrainingConfig:
    """What both stages share.

    Args:
        data: The prepared folder, or a list of several, whose units the same extractor made.
        output_dir: Checkpoints, best/, last/, logs.
        model: Fields of the model's config that differ from its defaults.
        init_from: A saved model to start from, or `bundled` (fine-tuning); `model` may then change dropout
            and the like, not sizes.
        optimizer: See `OptimizerConfig`.
        max_steps: Optimiser updates; the learning-rate schedule ends there.
        batch_size: Clips a micro-batch and process; an update sees batch_size x gradient_accumulation x
            processes clips.
        gradient_accumulation: Micro-batches an update.
        mixed_precision: no, bf16 or fp16; null takes what `accelerate launch` says.
        seed: Of weights, order and augmentation.
        num_workers: Data-loading processes.
        cache: Keep the data set in memory.
        num_threads: Of torch on a CPU; null = torch's.
        log_every, eval_every, save_every: In updates.
        keep_checkpoints: How many of the latest stay.
        ema_decay: Validate and save an exponential moving average of the weights; 0 = off. It is warmed up:
            the n-th average takes min(ema_decay, (1 + n) / (10 + n)).
        max_minutes: Stop after this wall-clock time of one run, with a checkpoint. The schedule still counts
            to max_steps, so that --resume goes on where it stopped.
        best_metric: The validation metric whose best value decides what best/ holds; higher is better for
            names that end in "accuracy" or "correlation", lower for all others.
        max_eval_clips: Validate on that many clips; null = all.
        eval_batch_size: Clips a validation batch.
        num_samples: Validation clips whose sound and picture go to the tracker.
        tracker: Any that accelerate knows (tensorboard, wandb, trackio ...), or none.
    """

    data: str | tuple[str, ...]
    output_dir: str
    model: dict = field(default_factory=dict)
    init_from: str | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    max_steps: int = 150_000
    batch_size: int = 16
    gradient_accumulation: int = 1
    mixed_precision: str | None = None
    seed: int = 0
    num_workers: int = 0
    cache: bool = False
    num_threads: int | None = None
    log_every: int = 50
    eval_every: int = 1000
    save_every: int = 1000
    keep_checkpoints: int = 2
    ema_decay: float = 0.0
    max_minutes: float | None = None
    best_metric: str = "loss"
    max_eval_clips: int | None = None
    eval_batch_size: int = 8
    num_samples: int = 2
    tracker: str = "tensorboard"

    def __post_init__(self):
        for name in (
            "max_steps",
            "batch_size",
            "gradient_accumulation",
            "log_every",
            "eval_every",
            "save_every",
            "keep_checkpoints",
            "eval_batch_size",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1: got {getattr(self, name)}.")
        if self.mixed_precision not in (None, "no", "bf16", "fp16"):
            raise ConfigError(f"mixed_precision must be no, bf16 or fp16: got {self.mixed_precision!r}.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must lie in [0, 1), 0 = off: got {self.ema_decay}.")

    @property
    def higher_is_better(self) -> bool:
        return self.best_metric.endswith(("accuracy", "correlation"))

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a validation metric is better than the best one so far (None: there is none)."""
        if best is None or not math.isfinite(value):
            return math.isfinite(value)
        return value > best if self.higher_is_better else value < best


@dataclass(kw_only=True)
class Lip2SpeechTrainingConfig(TrainingConfig):
    """Stage 1: mouth frames -> units and mel. Learning rate: linear warm-up, then cosine to 0 at max_steps.

    Args:
        warmup_steps: Of the learning rate.
        max_frames: Longer training clips are cut to a random stretch of this many frames.
        batch_frames: Clips of about one length form micro-batches of at most this many frames, padding
            included; batch_size then is not read, and each clip counts the same whatever the size of its
            batch. null = batch_size clips of any length.
        augmentation: Fields of the video augmentation that differ from its defaults.
        encoder: A saved AV-HuBERT (folder or Hub repository) that a new model reads lips with, frozen unless
            model.freeze_encoder is false; null = the front end.
        unfreeze_encoder_after: Updates after which a frozen one is trained with the rest, at the same
            learning rate; null = never.
        freeze_frontend: Train the rest alone, at a third of the cost, on the lip reading that init_from
            brings.
        vocoder: A saved unit vocoder that voices the validation samples; null = Griffin-Lim on the predicted
            mel.
    """

    warmup_steps: int = 10_000
    max_frames: int = 600
    batch_frames: int | None = None
    augmentation: dict = field(default_factory=dict)
    encoder: str | None = None
    unfreeze_encoder_after: int | None = None
    freeze_frontend: bool = False
    vocoder: str | None = None
    ema_decay: float = 0.999
    best_metric: str = "unit_accuracy"

    def __post_init__(self):
        super().__post_init__()
        if self.batch_frames is not None and self.batch_frames < 1:
            raise ConfigError(f"batch_frames must be at least 1, or null: got {self.batch_frames}.")
        if self.encoder is not None and self.init_from is not None:
            raise ConfigError(
                f"encoder {self.encoder} is for a new model, but init_from {self.init_from} names a saved "
                "one, which has its own: give one of them."
            )
        if self.unfreeze_encoder_after is not None and self.unfreeze_encoder_after < 1:
            raise ConfigError(
                "unfreeze_encoder_after counts updates and must be at least 1 (model.freeze_encoder: false "
                f"trains the encoder from the start): got {self.unfreeze_encoder_after}."
            )


@dataclass(kw_only=True)
class VocoderTrainingConfig(TrainingConfig):
    """Stage 2: units, mel and speaker -> waveform, a GAN. Learning rate: x lr_decay after each epoch.

    Args:
        warmup_steps: Linear warm-up of the learning rate; rates above 2e-4 need some, since a generator that
            falls silent stays so: below the mel loss's floor there is no gradient.
        discriminators: Widths of the discriminators, where they differ from the defaults.
        segment_units: Training segments are this many units (320 samples each) long.
        adversarial_from_step: Updates before it train the generator alone, on the mel loss.
        mel_loss_windows: FFT sizes in samples whose log-mel L1 losses are averaged; hops are a quarter. The
            published one is 1024 alone; shorter ones sharpen the sound's onsets. Validation measures 1024
            always.
        correlation_loss_weight: Of 1 - `stoi_like_correlation` of the sound and the recording, which the
            published training does not have: it is near to what STOI and ESTOI measure.
        mel_loss_weight, feature_matching_weight: Against the generator's adversarial loss of weight 1.
        mel_augmentation: Fields of the blur and noise on the input mel; null = no augmentation.
        lip2speech: A trained lip-to-speech model whose predictions stand in for the true mel and units in
            half of the segments, so that the vocoder learns to voice what it will be given; null = none.
    """

    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=2e-4, betas=(0.8, 0.99))
    )
    warmup_steps: int = 0
    lr_decay: float = 0.999
    max_steps: int = 1_000_000
    discriminators: dict = field(default_factory=dict)
    segment_units: int = 28
    adversarial_from_step: int = 0
    mel_loss_weight: float = VOCODER_LOSS_WEIGHTS["mel"]
    mel_loss_windows: tuple[int, ...] = (1024,)
    feature_matching_weight: float = VOCODER_LOSS_WEIGHTS["feature_matching"]
    correlation_loss_weight: float = 0.0
    mel_augmentation: dict | None = None
    lip2speech: str | None = None
    max_eval_clips: int | None = 50
    best_metric: str = "mel_loss"

    def __post_init__(self):
        super().__post_init__()
        least = -(-WINDOW // 2)
        if self.correlation_loss_weight and self.segment_units < least:
            raise ConfigError(
                f"correlation_loss_weight compares windows of {WINDOW} mel frames, and segment_units is "
                f"{self.segment_units}, {2 * self.segment_units} frames: give at least {least} units."
            )


Config = typing.TypeVar("Config", bound=TrainingConfig)


def load_config(kind: type[Config], path: str | os.PathLike, overrides: Iterable[str] = ()) -> Config:
    """The configuration in the YAML file `path`, changed by overrides such as "optimizer.learning_rate=3e-4".

    Relative paths in it are relative to the working directory.

    Raises:
        ConfigError: the file cannot be read, a key is unknown or doubled, a value has the wrong type.
    """
    try:
        values = parse_yaml(Path(path).read_text(encoding="utf-8"), where=str(path))
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror}.") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold `key: value` lines: got a {type(values).__name__}.")
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key.strip():
            raise ConfigError(
                f"{override!r} is not an override: write key=value, for example max_steps=1000."
            )
        _set(values, key.strip().split("."), parse_yaml(text, where=override))
    return _build(kind, values, prefix="")


def check_keys(given: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    """Raise ConfigError for the first key of `given` that is not among the known ones, with the nearest of
    them."""
    known = sorted(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known keys: {', '.join(known)}."
            raise ConfigError(f"Unknown key {prefix}{key}. {hint}")


def to_yaml(config: TrainingConfig) -> str:
    """The whole configuration, defaults included, as YAML that load_config reads."""
    values = json.loads(json.dumps(dataclasses.asdict(config)))  # tuples become lists
    return yaml.safe_dump(values, sort_keys=False)


def _set(values: dict, keys: list[str], value: Any) -> None:
    for position, key in enumerate(keys[:-1]):
        values = values.setdefault(key, {})
        if values is None or not isinstance(values, dict):
            raise ConfigError(
                f"{'.'.join(keys[: position + 1])} holds no keys of its own: got {'.'.join(keys)}."
            )
    values[keys[-1]] = value


def _build(kind: type, values: dict, prefix: str):
    fields = {f.name: f for f in dataclasses.fields(kind)}
    check_keys(values, fields, prefix)
    hints = typing.get_type_hints(kind)
    default = {
        name: f.default_factory()
        for name, f in fields.items()
        if f.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(hints[name])
    }
    arguments = {}
    for name, value in values.items():
        if name in default:  # a nested group of settings: what is not said keeps this stage's default
            if not isinstance(value, dict):
                raise ConfigError(f"{prefix}{name} takes keys of its own: got {value!r}.")
            value = _build(hints[name], dataclasses.asdict(default[name]) | value, f"{prefix}{name}.")
        else:
            value = _convert(value, hints[name], f"{prefix}{name}")
        arguments[name] = value
    missing = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and name not in arguments
    ]
    if missing:
        raise ConfigError(f"The configuration lacks {', '.join(prefix + name for name in missing)}: add it.")
    return kind(**arguments)


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as the annotated type; whole floats such as 1e5 are accepted as ints."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if typing.get_origin(option) is tuple:
            parts = typing.get_args(option)
            if isinstance(value, list | tuple) and value:
                parts = len(value) * parts[:1] if parts[-1] is Ellipsis else parts
                if len(value) == len(parts):
                    return tuple(_convert(v, part, name) for v, part in zip(value, parts, strict=True))
        elif option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        elif option is int and isinstance(value, float) and value.is_integer():
            return int(value)
        elif (
            isinstance(option, type)
            and isinstance(value, option)
            and (option is bool) == isinstance(value, bool)
        ):
            return value
    expected = " or ".join("null" if o is type(None) else getattr(o, "__name__", str(o)) for o in options)
    raise ConfigError(f"{name} must be {expected}: got {value!r}.")
