"""Stage 2: units, mel and a voice -> waveform. A generator against two discriminators (HiFi-GAN's
training)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset

from ..audio.mel import log_mel_spectrogram
from ..data.sampling import PEAK
from ..losses.gan import (
    LogMelLoss,
    adversarial_loss,
    correlation_loss,
    discriminator_loss,
    feature_matching_loss,
    input_mel_loss,
    made_mel,
)
from ..models.discriminators import DiscriminatorOutput, MultiPeriodDiscriminator, MultiScaleDiscriminator
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .config import VocoderTrainingConfig
from .loop import Stage, TrainingError, clip_gradients, training_loader, validation_batches
from .optimization import adamw, set_learning_rate, weight_average
from .tracking import Sample


class Discriminators(nn.Module):
    """Both discriminators as one module. waveform (B, N) -> scores and feature maps of all
    sub-discriminators.

    Args:
        period, scale: arguments of MultiPeriodDiscriminator and MultiScaleDiscriminator that differ from the
        defaults.
    """

    def __init__(self, period: dict | None = None, scale: dict | None = None):
        super().__init__()
        self.period = MultiPeriodDiscriminator(**(period or {}))
        self.scale = MultiScaleDiscriminator(**(scale or {}))

    def forward(self, waveform: torch.Tensor) -> DiscriminatorOutput:
        scores, maps = self.period(waveform)
        more_scores, more_maps = self.scale(waveform)
        return [*scores, *more_scores], [*maps, *more_maps]


class VocoderStage(Stage):
    """Trains a [`UnitVocoderModel`], whose weight norm is put on here and is not in what is saved.

    Args:
        config, accelerator: the latter from `loop.start`.
        generator, discriminators: to be trained.
        train_data: items of equal length; `set_epoch` is called on it if it has one.
        validation_data: whole clips.
        collate: list of items -> unit_ids (B, U), spectrogram (B, 2U, 80), speaker_embeddings (B, 256),
        waveform (B, 320U).
        max_av_offset: by how many mel frames the sound may lag behind predicted mels: see `correlation_loss`.
    """

    def __init__(
        self,
        config: VocoderTrainingConfig,
        accelerator: Accelerator,
        generator: UnitVocoderModel,
        discriminators: Discriminators,
        train_data: Dataset,
        validation_data: Dataset,
        collate: Callable[[list], dict[str, torch.Tensor]],
        max_av_offset: int = 0,
    ):
        if accelerator.mixed_precision == "fp16" and config.gradient_accumulation > 1:
            raise TrainingError(
                "fp16 with gradient_accumulation > 1 is not for the vocoder: its two optimisers share one "
                "loss scale, which may change between them. Use bf16, or a larger batch_size instead."
            )
        self.config = config
        self.accelerator = accelerator
        self.validation_data = validation_data
        self.collate = collate
        self.max_av_offset = max_av_offset
        self.mel_distance = LogMelLoss().to(accelerator.device)
        self.mel_losses = nn.ModuleList(LogMelLoss(size, size // 4) for size in config.mel_loss_windows)
        self.mel_losses.to(accelerator.device)

        generator.apply_weight_norm()
        self.plain_generator = generator.to(accelerator.device)
        self.average = weight_average(self.plain_generator, config.ema_decay) if config.ema_decay else None
        if self.average is not None:
            accelerator.register_for_checkpointing(self.average)
        generator_optimizer = adamw(generator, config.optimizer, accelerator.device)
        discriminator_optimizer = adamw(discriminators, config.optimizer, accelerator.device)
        self.generator, self.discriminators, self.generator_optimizer, self.discriminator_optimizer = (
            accelerator.prepare(generator, discriminators, generator_optimizer, discriminator_optimizer)
        )
        self.modules = [self.generator, self.discriminators]
        self.loader = training_loader(train_data, collate, config, accelerator)
        self._learning_rate = 0.0

    def training_step(self, batch: dict, step: int, epoch: int) -> dict[str, torch.Tensor]:
        self._learning_rate = self.config.optimizer.learning_rate * self.config.lr_decay**epoch
        if self.config.warmup_steps:
            self._learning_rate *= min(1.0, (step + 1) / self.config.warmup_steps)
        set_learning_rate(self.generator_optimizer, self._learning_rate)
        set_learning_rate(self.discriminator_optimizer, self._learning_rate)

        self.generator.train()
        real = batch["waveform"]
        fake = self.generator(**_inputs(batch)).waveform.float()
        of_truth = ~batch["predicted"]
        distances = torch.stack([loss.distances(fake, real) for loss in self.mel_losses]).mean(0)
        losses = {"mel_loss": _mean(distances, of_truth)}
        total = self.config.mel_loss_weight * losses["mel_loss"]
        spectrogram = batch["spectrogram"]
        if self.config.lip2speech is not None or self.config.correlation_loss_weight:
            mel = made_mel(fake, spectrogram.shape[1])
        if self.config.lip2speech is not None:
            losses["input_mel_loss"] = _mean(input_mel_loss(mel, spectrogram), ~of_truth)
            total = total + self.config.mel_loss_weight * losses["input_mel_loss"]
        if self.config.correlation_loss_weight:
            losses["correlation_loss"] = correlation_loss(
                mel, made_mel(real, mel.shape[1]), spectrogram, batch["predicted"], self.max_av_offset
            )
            total = total + self.config.correlation_loss_weight * losses["correlation_loss"]
        if step >= self.config.adversarial_from_step:
            losses["discriminator_loss"] = self._update_discriminators(real, fake.detach())
            losses |= self._judge(real, fake, of_truth)
            total = total + losses["adversarial_loss"]
            total = total + self.config.feature_matching_weight * losses["feature_matching_loss"]
        self.accelerator.backward(total)
        self._update(self.generator, self.generator_optimizer)
        return {name: value.detach() for name, value in losses.items()}

    def _update_discriminators(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        self.discriminators.train()
        scores, _ = self.discriminators(torch.cat([real, fake]))  # one pass: processes synchronise once
        real_scores, fake_scores = zip(*(score.chunk(2) for score in scores), strict=True)
        loss, _, _ = discriminator_loss(real_scores, fake_scores)
        self.accelerator.backward(loss)
        self._update(self.discriminators, self.discriminator_optimizer)
        return loss

    def _judge(
        self, real: torch.Tensor, fake: torch.Tensor, of_truth: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The generator's losses; the discriminators are constants here and gather no gradients. Features are
        matched where the speech was made of the truth."""
        judge = self.accelerator.unwrap_model(self.discriminators).requires_grad_(False)
        with torch.no_grad():
            _, real_maps = judge(real)
        fake_scores, fake_maps = judge(fake)
        if self.config.lip2speech is not None:
            share = of_truth / of_truth.float().mean().clamp(min=1 / len(of_truth))
            real_maps, fake_maps = _weighted(real_maps, share), _weighted(fake_maps, share)
        losses = {
            "adversarial_loss": adversarial_loss(fake_scores),
            "feature_matching_loss": feature_matching_loss(real_maps, fake_maps),
        }
        judge.requires_grad_(True)
        return losses

    def _update(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        clip_gradients(module, optimizer, self.config.optimizer.max_grad_norm, self.accelerator)
        optimizer.step()
        optimizer.zero_grad()

    def after_update(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.plain_generator)

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @property
    def best_model(self) -> UnitVocoderModel:
        """What is validated and saved: the averaged weights, or the weights themselves."""
        return self.plain_generator if self.average is None else self.average.module

    def validate(self) -> dict[str, float]:
        """mel_loss: mean absolute log-mel difference to the true sound, mean over whole clips."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.accelerator.device)
        for batch in validation_batches(self.validation_data, self.collate, 1, self.config, self.accelerator):
            sums[0] += self.mel_distance(self._speak(batch), batch["waveform"])
            sums[1] += 1
        error, clips = self.accelerator.reduce(sums, reduction="sum").tolist()
        return {"mel_loss": error / clips}

    def samples(self) -> list[Sample]:
        samples = []
        for index in range(min(self.config.num_samples, len(self.validation_data))):
            item = self.validation_data[index]
            batch = {k: v.to(self.accelerator.device) for k, v in self.collate([item]).items()}
            waveforms = {"vocoder": self._speak(batch), "true": batch["waveform"]}
            samples.append(
                Sample(
                    name=item.get("id", f"clip_{index}"),
                    waveforms={name: sound[0].float().cpu().numpy() for name, sound in waveforms.items()},
                    spectrograms={
                        name: log_mel_spectrogram(sound[0].float().cpu()).numpy()
                        for name, sound in waveforms.items()
                    },
                )
            )
        return samples

    def save_model(self, directory: Path) -> None:
        self.best_model.save_pretrained(directory)

    def _speak(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(1, 320U) float32."""
        self.best_model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            return self.best_model(**_inputs(batch)).waveform.float()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of the chosen of (B,); 0 where none is."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def _weighted(maps: list[list[torch.Tensor]], weights: torch.Tensor) -> list[list[torch.Tensor]]:
    """Feature maps (B, ...), each clip's times its weight of (B,)."""
    return [[m * weights.view(-1, *[1] * (m.ndim - 1)) for m in layers] for layers in maps]


def _inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("unit_ids", "spectrogram", "speaker_embeddings")}


class WholeClips(Dataset):
    """Validation view of a `PreparedDataset`: whole clips in the form of `VocoderSegmentDataset`'s items.

    The waveform is scaled as there, to a peak of 0.95: that is the loudness the generator learns.
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        waveform = torch.as_tensor(item["waveform"])
        return {
            "id": item["id"],
            "unit_ids": torch.as_tensor(item["unit_ids"]),
            "spectrogram": torch.as_tensor(item["mel"]),
            "speaker_embeddings": torch.as_tensor(item["speaker_embeddings"]),
            "waveform": waveform * (PEAK / waveform.abs().max().clamp(min=1e-8)),
            "predicted": torch.tensor(False),
        }
