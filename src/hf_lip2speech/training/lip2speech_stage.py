"""Stage 1: mouth frames and a voice -> speech units and mel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch.utils.data import Dataset

from ..losses.stoi_like import stoi_like_correlation
from ..models.modeling_lip2speech import Lip2SpeechModel, Lip2SpeechOutput
from .config import ConfigError, Lip2SpeechTrainingConfig
from .griffin_lim import griffin_lim
from .loop import Stage, clip_gradients, training_loader, validation_batches
from .optimization import adamw, set_learning_rate, warmup_cosine, weight_average
from .tracking import Sample

Voice = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Lip2SpeechStage(Stage):
    """Trains a [`Lip2SpeechModel`] on its own loss; validates unit accuracy, mel error and loss.

    Args:
        config, accelerator: the latter from `loop.start`.
        model: to be trained.
        train_data: items that `collate` turns into the model's arguments; `set_epoch` is called on it if it
            has one. config.batch_frames asks for an `AugmentedDataset`.
        validation_data: the same, without augmentation; items with a "waveform" (N,) have it tracked beside
            the prediction.
        collate: list of items -> the model's arguments.
        extras: saved beside the model (a feature extractor): objects with save_pretrained.
        voice: speaks the samples: (unit_ids (U,), spectrogram (2U, 80), speaker embedding (256,)) -> waveform
            (N,); default: Griffin-Lim on the mel.

    Raises:
        ConfigError: an encoder is to be unfrozen later, but the model has no frozen one.
    """

    def __init__(
        self,
        config: Lip2SpeechTrainingConfig,
        accelerator: Accelerator,
        model: Lip2SpeechModel,
        train_data: Dataset,
        validation_data: Dataset,
        collate: Callable[[list], dict[str, torch.Tensor]],
        *,
        extras: tuple = (),
        voice: Voice | None = None,
    ):
        self.config = config
        self.accelerator = accelerator
        self.validation_data = validation_data
        self.collate = collate
        self.extras = extras
        self.voice = voice or (lambda units, mel, speaker: griffin_lim(mel))

        if config.unfreeze_encoder_after is not None:
            if not model.encoder_is_frozen:
                raise ConfigError(
                    f"unfreeze_encoder_after is {config.unfreeze_encoder_after}, but the model has no frozen "
                    "AV-HuBERT: give one (encoder, or an init_from that has one) and leave "
                    "model.freeze_encoder true, or leave unfreeze_encoder_after out."
                )
            # The optimiser and the processes' exchange take in its weights from the start; until then, the
            # forward pass alone keeps gradients from them.
            model.avhubert.requires_grad_(True)
            accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
        if config.freeze_frontend:
            if model.config.encoder is not None:
                raise ConfigError(
                    "freeze_frontend is true, but the model reads lips with an AV-HuBERT and has no front "
                    "end: leave it out, model.freeze_encoder is for that."
                )
            model.frontend.requires_grad_(False)
        self.plain_model = model.to(accelerator.device)
        self.average = weight_average(self.plain_model, config.ema_decay) if config.ema_decay else None
        if self.average is not None:
            accelerator.register_for_checkpointing(self.average)
        optimizer = adamw(self.plain_model, config.optimizer, accelerator.device)
        self.model, self.optimizer = accelerator.prepare(self.plain_model, optimizer)
        self.modules = [self.model]
        self.loader = training_loader(train_data, collate, config, accelerator, config.batch_frames)
        if config.batch_frames is not None:
            self.clips_per_batch = len(train_data) / (len(self.loader) * accelerator.num_processes)
        self._learning_rate = 0.0

    def training_step(self, batch: dict, step: int, epoch: int) -> dict[str, torch.Tensor]:
        factor = warmup_cosine(step, self.config.warmup_steps, self.config.max_steps)
        self._learning_rate = self.config.optimizer.learning_rate * factor
        set_learning_rate(self.optimizer, self._learning_rate)
        unfreeze_after = self.config.unfreeze_encoder_after
        if unfreeze_after is not None and step >= unfreeze_after and self.plain_model.encoder_is_frozen:
            self.plain_model.unfreeze_encoder()

        self.model.train()
        if self.config.freeze_frontend:
            self.plain_model.frontend.eval()
        output = self.model(**batch)
        # The loss is a mean over the batch: where batches differ in size, so each clip counts the same.
        weight = len(batch["unit_labels"]) / self.clips_per_batch if self.clips_per_batch else 1.0
        self.accelerator.backward(output.loss * weight)
        clip_gradients(self.model, self.optimizer, self.config.optimizer.max_grad_norm, self.accelerator)
        self.optimizer.step()
        self.optimizer.zero_grad()
        names = ("loss", "unit_loss", "mel_loss", "spectral_convergence_loss", "correlation_loss")
        return {name: output[name].detach() for name in names if output.get(name) is not None}

    def after_update(self) -> None:
        if self.average is not None:
            self.average.update_parameters(self.plain_model)

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @property
    def best_model(self) -> Lip2SpeechModel:
        """What is validated and saved: the averaged weights, or the weights themselves."""
        return self.plain_model if self.average is None else self.average.module

    def validate(self) -> dict[str, float]:
        """loss, stoi_like_correlation (to the labels as they are) mean over clips; unit_accuracy in 0..1 and
        mel_l1 over all valid positions."""
        sums = torch.zeros(7, dtype=torch.float64, device=self.accelerator.device)
        batches = validation_batches(
            self.validation_data, self.collate, self.config.eval_batch_size, self.config, self.accelerator
        )
        for batch in batches:
            output = self._predict(batch)
            clips = len(batch["unit_labels"])
            valid_units = batch["unit_labels"] != -100
            units = self.best_model.unit_ids(output.unit_logits) + self.best_model.config.unit_offset
            hits = ((units == batch["unit_labels"]) & valid_units).sum()
            valid_mel = batch["mel_attention_mask"].bool()
            error = (output.spectrogram.float() - batch["mel_labels"]).abs().mean(-1)[valid_mel].sum()
            correlation = stoi_like_correlation(output.spectrogram, batch["mel_labels"], valid_mel)
            parts = [
                output.loss * clips,
                correlation.sum(),
                torch.tensor(clips),
                hits,
                valid_units.sum(),
                error,
                valid_mel.sum(),
            ]
            sums += torch.stack([part.to(sums) for part in parts])
        sums = self.accelerator.reduce(sums, reduction="sum").tolist()
        loss, correlation, clips, hits, units, error, frames = sums
        return {
            "loss": loss / clips,
            "stoi_like_correlation": correlation / clips,
            "unit_accuracy": hits / units,
            "mel_l1": error / frames,
        }

    def samples(self) -> list[Sample]:
        samples = []
        for index in range(min(self.config.num_samples, len(self.validation_data))):
            item = self.validation_data[index]
            batch = {k: v.to(self.accelerator.device) for k, v in self.collate([item]).items()}
            output = self._predict(batch)
            units, mel = self.best_model.unit_ids(output.unit_logits)[0], output.spectrogram[0].float()
            waveforms = {"predicted": self.voice(units, mel, batch["speaker_embeddings"][0]).cpu().numpy()}
            if "waveform" in item:
                waveforms["true"] = item["waveform"].numpy()
            samples.append(
                Sample(
                    name=item.get("id", f"clip_{index}"),
                    waveforms=waveforms,
                    spectrograms={
                        "true": batch["mel_labels"][0].cpu().numpy(),
                        "predicted": mel.cpu().numpy(),
                    },
                    units={
                        "true": (batch["unit_labels"][0] - self.best_model.config.unit_offset).cpu().numpy(),
                        "predicted": units.cpu().numpy(),
                    },
                )
            )
        return samples

    def save_model(self, directory: Path) -> None:
        for part in (self.best_model, *self.extras):
            part.save_pretrained(directory)

    def _predict(self, batch: dict[str, torch.Tensor]) -> Lip2SpeechOutput:
        self.best_model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            return self.best_model(**batch)
