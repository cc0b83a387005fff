"""The settings of both trainings. Names that `transformers.TrainingArguments` has mean the same here."""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType
from transformers import TrainingArguments
from transformers.integrations.integration_utils import (
    INTEGRATION_TO_CALLBACK,
    get_available_reporting_integrations,
)

from ..constants import SAMPLES_PER_UNIT
from ..errors import ConfigError
from ..losses.gan import STFT_WINDOWS, VOCODER_LOSS_WEIGHTS
from ..losses.intelligibility import SHORTEST

# what stage 1 measures in validation, the last one for models with a text head
METRICS = ("loss", "unit_accuracy", "mel_l1", "stoi_like_correlation", "character_error_rate")
PIP_NAMES = {"azure_ml": "azureml-mlflow", "flyte": "flytekit"}  # of trackers; else the name with hyphens
UNLISTED = ("flyte",)  # transformers knows it, but does not say whether it is installed


@dataclass(kw_only=True)
class RunArguments:
    """What both stages share beside the names of `transformers.TrainingArguments`.

    Args:
        data: The prepared folder, or a list of several whose units come from the same extractor.
        model: Fields of the model's config that differ from its defaults, or from those of `init_from`.
        init_from: A saved model to start from: `bundled`, a folder or a Hub repository. Its sizes cannot
            be changed by `model`; dropout, loss weights and the like can.
        cache: Keep the data set in memory.
        num_threads: CPU threads of torch; null = torch's default.
        ema_decay: Validate and save an exponential moving average of the weights; 0 = off. It is warmed up:
            the n-th average uses min(ema_decay, (1 + n) / (10 + n)).
        max_minutes: Stop after this wall-clock time with a checkpoint. The learning-rate schedule still ends
            at max_steps, so that `--resume` continues it.
        max_eval_clips: Validate on that many clips; null = all.
        num_samples: Validation clips whose sound and picture are written at each validation.
    """

    data: str | list[str] = field(default_factory=list)
    model: dict = field(default_factory=dict)
    init_from: str | None = None
    cache: bool = False
    num_threads: int | None = None
    ema_decay: float = 0.0
    max_minutes: float | None = None
    max_eval_clips: int | None = None
    num_samples: int = 2

    def check(self: Any, known_trackers: list[str], available_trackers: list[str]) -> None:
        """Raise ConfigError for values that cannot work, and for trackers that are not installed."""
        for name in COUNTS:
            if (value := getattr(self, name, None)) is not None and not 1 <= value <= LARGEST_COUNT:
                raise ConfigError(f"{name} must be at least 1 and at most {LARGEST_COUNT:g}: got {value}.")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name, None)
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{name} must be {least:g} to {most:g}: got {value}.")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1): got {getattr(self, name)}.")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay must be in [0, 1), 0 = off: got {self.ema_decay}.")
        if self.fp16 and not torch.accelerator.is_available():
            raise ConfigError("fp16 needs a GPU; on a CPU use bf16, or neither.")
        for name in self.report_to:
            if name not in known_trackers:
                raise ConfigError(
                    f"report_to is {name}; expected none or some of {', '.join(known_trackers)}."
                )
            if name not in available_trackers and name not in UNLISTED:
                package = PIP_NAMES.get(name, name.replace("_", "-"))
                raise ConfigError(
                    f"report_to is {name}, which is not installed: pip install {package}, or give "
                    "report_to=none."
                )

    @property
    def folders(self) -> list[str]:
        """The prepared folders."""
        return [self.data] if isinstance(self.data, str) else list(self.data)


LARGEST_COUNT = 1e12
COUNTS = (
    "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "logging_steps", "eval_steps", "save_steps", "save_total_limit", "batch_frames", "max_frames",
    "unfreeze_encoder_after", "max_eval_clips", "num_threads", "segment_units",
)  # fmt: skip

RANGES = {
    "learning_rate": (0, 100),
    "lr_decay": (0, 1),
    "adam_epsilon": (1e-30, 1),
    "weight_decay": (0, 100),
    "max_grad_norm": (0, 1e9),
    "warmup_steps": (0, 1e12),
    "max_minutes": (0, 1e9),
    "num_samples": (0, 1e6),
    "seed": (0, 2**32 - 1),
    "data_seed": (0, 2**32 - 1),
    "num_threads": (1, 1024),
    "dataloader_num_workers": (0, 1024),
    "adversarial_from_step": (0, 1e12),
    "mel_loss_weight": (0, 1e9),
    "feature_matching_weight": (0, 1e9),
    "correlation_loss_weight": (0, 1e9),
    "intelligibility_loss_weight": (0, 1e9),
    "stft_loss_weight": (0, 1e9),
    "pitch_loss_weight": (0, 1e9),
}


@dataclass(kw_only=True)
class TrainerArguments(RunArguments, TrainingArguments):
    """What the trainings on `transformers.Trainer` share, stages 1 and 3; validation measures `metrics`.

    Args:
        max_frames: Longer training clips are cut to a random stretch of this many frames.
        vocoder: A saved unit vocoder that speaks the validation samples; null = Griffin-Lim on the mel.
        max_grad_norm: Gradients are scaled down to this global norm; 0 = they are left alone, as published.
    """

    metrics: ClassVar[tuple[str, ...]]

    max_frames: int = 600
    vocoder: str | None = None
    ema_decay: float = 0.999

    learning_rate: float = 1e-3
    lr_scheduler_type: str = "cosine"
    weight_decay: float = 0.01
    adam_beta2: float = 0.98
    max_grad_norm: float = 0.0
    per_device_train_batch_size: int = 16
    logging_steps: float = 50
    eval_strategy: str = "steps"
    eval_steps: float | None = 1000
    save_steps: float = 1000
    save_total_limit: int | None = 2
    report_to: None | str | list[str] = "tensorboard"
    seed: int = 0
    dataloader_drop_last: bool = True
    logging_nan_inf_filter: bool = False
    disable_tqdm: bool | None = True

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        if self.data_seed is None:
            self.data_seed = self.seed
        super().__post_init__()
        self.check([*INTEGRATION_TO_CALLBACK], get_available_reporting_integrations())
        if self.metric_for_best_model not in self.metrics:
            raise ConfigError(
                f"metric_for_best_model is {self.metric_for_best_model}; expected one of "
                f"{', '.join(self.metrics)}."
            )
        if self.load_best_model_at_end:
            raise ConfigError("load_best_model_at_end is not supported: best/ holds the best model anyway.")


@dataclass(kw_only=True)
class Lip2SpeechTrainingArguments(TrainerArguments):
    """Stage 1, mouth frames -> units and mel: `transformers.TrainingArguments` and the following.

    The defaults are the paper's (Choi, Kim & Ro 2023), where it names them: AdamW with betas 0.9 and 0.98,
    10,000 warm-up updates to 1e-3, then cosine to 0 at max_steps. Biases and normalisation gains are not
    decayed (the published training decays all).

    Args:
        batch_frames: Batches hold clips of about one length and at most this many frames per device, padding
            included; per_device_train_batch_size is then not used, and every clip counts the same whatever
            the size of its batch. null = per_device_train_batch_size clips of any length.
        augmentation: Fields of `VideoAugmentation` that differ from its defaults.
        encoder: A saved AV-HuBERT (folder or Hub repository) with which a new model reads lips, frozen unless
            model.freeze_encoder is false; null = the front end.
        unfreeze_encoder_after: Updates after which a frozen encoder is trained with the rest, at the same
            learning rate; null = never.
        freeze_frontend: Leave the lip reading as init_from brings it and train the rest, at a third of the
            cost.
        train_only: Modules of the model that are trained, such as [text_conditioner]; the rest stays as
            init_from brings it. null = everything.
        metric_for_best_model: The validation metric that decides what best/ holds: loss, unit_accuracy,
            mel_l1, stoi_like_correlation or, with a text head, character_error_rate.
        intelligibility_loss_weight: Of `intelligibility_loss`, 1 - the mean of STOI and ESTOI of what
            `vocoder` makes of the predicted units and mel: the lip reader learns through the vocoder, which
            stays as it is. Not with augmentation.speed.
        chunk_frames: [least, most]. In half of the updates no output sees beyond the end of its chunk, whose
            length in frames is drawn from this range, so that the model learns to read with a bounded
            look-ahead, as in a live stream. null, as published = every output sees the whole clip.
    """

    metrics = METRICS

    batch_frames: int | None = None
    augmentation: dict = field(default_factory=dict)
    chunk_frames: list[int] | None = None
    encoder: str | None = None
    unfreeze_encoder_after: int | None = None
    freeze_frontend: bool = False
    train_only: list[str] | None = None
    intelligibility_loss_weight: float = 0.0
    warmup_steps: float = 10_000
    max_steps: int = 150_000
    metric_for_best_model: str | None = "unit_accuracy"

    def __post_init__(self):
        if self.greater_is_better is None:
            self.greater_is_better = self.metric_for_best_model in ("unit_accuracy", "stoi_like_correlation")
        super().__post_init__()
        if self.chunk_frames is not None and not (
            len(self.chunk_frames) == 2 and 1 <= self.chunk_frames[0] <= self.chunk_frames[1]
        ):
            raise ConfigError(
                f"chunk_frames is {self.chunk_frames}; expected [least, most] frames, such as [8, 40]."
            )
        if self.intelligibility_loss_weight and self.vocoder is None:
            raise ConfigError(
                "intelligibility_loss_weight is for the speech of a vocoder, and vocoder is missing: give a "
                "trained one, such as vocoder=bundled."
            )
        if self.intelligibility_loss_weight and self.augmentation.get("speed"):
            raise ConfigError(
                "intelligibility_loss_weight compares with the recording, whose speed cannot be changed: "
                "leave augmentation.speed out."
            )
        if self.encoder is not None and self.init_from is not None:
            raise ConfigError(
                f"encoder {self.encoder} is for a new model, but init_from {self.init_from} names a saved "
                "one, which has its own: give one of them."
            )


@dataclass(kw_only=True)
class MelFlowTrainingArguments(TrainerArguments):
    """Stage 3, predicted mel, units and speaker -> a sampled mel: `transformers.TrainingArguments` and the
    following.

    Args:
        lip2speech: The trained lip-to-speech model (`bundled`, a folder, a Hub repository) whose predictions
            the flow starts from. They are stored in output_dir.
    """

    metrics = ("loss",)

    lip2speech: str = ""
    warmup_steps: float = 500
    max_steps: int = 150_000
    max_grad_norm: float = 1.0
    metric_for_best_model: str | None = "loss"

    def __post_init__(self):
        super().__post_init__()
        if not self.lip2speech:
            raise ConfigError(
                "lip2speech is missing: give the trained model whose predictions the flow starts from, "
                "such as lip2speech=RUN/best or lip2speech=bundled."
            )


@dataclass(kw_only=True)
class VocoderTrainingArguments(RunArguments):
    """Stage 2, units, mel and speaker -> waveform, a GAN. What is not described here means the same as in
    `transformers.TrainingArguments`.

    Args:
        learning_rate: Of AdamW, for generator and discriminators; multiplied by lr_decay after each epoch.
        lr_decay: See learning_rate.
        warmup_steps: Linear warm-up. Rates above 2e-4 need some, since a generator that falls silent stays
            silent: below the mel loss's floor there is no gradient.
        weight_decay: Of weight matrices and kernels, not of biases and gains.
        max_grad_norm: Gradients are scaled down to this global norm; 0 = they are left alone, as published.
        bf16, fp16: Mixed precision; bf16=null = what `accelerate launch` says, false = float32.
        discriminators: Sizes of the discriminators that differ from the defaults, under `period`, `scale` and
            `resolution`; null = without it, as `resolution` is by default.
        segment_units: Training segments are this many units (320 samples each) long.
        adversarial_from_step: Before this update the generator is trained alone, on the other losses; null =
            to the end.
        mel_loss_windows: FFT sizes in samples whose log-mel L1 losses are averaged; hops are a quarter. The
            published one is 1024 alone; shorter ones sharpen the sound's onsets. Validation measures 1024
            always.
        stft_loss_weight: Of `stft_distances` between speech and recording; for training without
            discriminators (adversarial_from_step: null), which the inverse-STFT generator allows.
        pitch_loss_weight: Of `pitch_loss`; of generator_type "istft" alone. It is given the recording's pitch
            in half of its updates and speaks with the predicted one in the others.
        correlation_loss_weight: Of `intelligibility_loss`, 1 - the mean of STOI and ESTOI of speech and
            recording, which the published training does not have.
        mel_loss_weight, feature_matching_weight: Against the generator's adversarial loss of weight 1.
        mel_augmentation: Fields of `MelAugmentation`, the blur and noise on the input mel; null = none.
        lip2speech: A trained lip-to-speech model (`bundled`, a folder, a Hub repository) whose predictions
            replace the true mel and units in half of the segments, so that the vocoder learns to speak what
            it will be given in use; null = none.
    """

    output_dir: str = ""
    learning_rate: float = 2e-4
    lr_decay: float = 0.999
    warmup_steps: int = 0
    adam_beta1: float = 0.8
    adam_beta2: float = 0.99
    adam_epsilon: float = 1e-8
    weight_decay: float = 0.01
    max_grad_norm: float = 0.0
    max_steps: int = 1_000_000
    per_device_train_batch_size: int = 16
    gradient_accumulation_steps: int = 1
    logging_steps: int = 50
    eval_steps: int = 1000
    save_steps: int = 1000
    save_total_limit: int = 2
    seed: int = 0
    bf16: bool | None = None
    fp16: bool = False
    dataloader_num_workers: int = 0
    report_to: None | str | list[str] = "tensorboard"
    run_name: str | None = None
    resume_from_checkpoint: str | None = None
    discriminators: dict = field(default_factory=dict)
    segment_units: int = 28
    adversarial_from_step: int | None = 0
    mel_loss_weight: float = VOCODER_LOSS_WEIGHTS["mel"]
    mel_loss_windows: list[int] = field(default_factory=lambda: [1024])
    feature_matching_weight: float = VOCODER_LOSS_WEIGHTS["feature_matching"]
    stft_loss_weight: float = 0.0
    pitch_loss_weight: float = 1.0
    correlation_loss_weight: float = 0.0
    mel_augmentation: dict | None = None
    lip2speech: str | None = None
    max_eval_clips: int | None = 50

    def __post_init__(self):
        names = [] if self.report_to in (None, "none") else self.report_to
        self.report_to = [names] if isinstance(names, str) else list(names)
        self.check([str(name) for name in LoggerType], [str(name) for name in get_available_trackers()])
        if self.bf16 and self.fp16:
            raise ConfigError("bf16 and fp16 are both true: give one of them.")
        if self.fp16 and self.gradient_accumulation_steps > 1:
            raise ConfigError(
                "fp16 with gradient_accumulation_steps > 1 does not work for the vocoder: its two optimisers "
                "share one loss scale, which may change between them. Use bf16, or a larger batch."
            )
        if not self.mel_loss_windows:
            raise ConfigError("mel_loss_windows is empty: give at least one FFT size, such as 1024.")
        least = math.ceil(max(STFT_WINDOWS) / SAMPLES_PER_UNIT)
        if self.stft_loss_weight and self.segment_units < least:
            raise ConfigError(
                f"stft_loss_weight compares windows of {max(STFT_WINDOWS)} samples, and segment_units is "
                f"{self.segment_units}, {SAMPLES_PER_UNIT * self.segment_units} samples: give at least "
                f"{least} units."
            )
        least = math.ceil(SHORTEST / SAMPLES_PER_UNIT)
        if self.correlation_loss_weight and self.segment_units < least:
            raise ConfigError(
                f"correlation_loss_weight compares segments of {SHORTEST} samples, and segment_units is "
                f"{self.segment_units}, {SAMPLES_PER_UNIT * self.segment_units} samples: give at least "
                f"{least} units."
            )
