"""Stage 2: units, mel and a speaker -> waveform. A generator against discriminators, HiFi-GAN's training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import EvalPrediction
from transformers.trainer import WEIGHTS_NAME

from ..audio.mel import log_mel_spectrogram
from ..data.collation import VocoderSegmentCollator
from ..losses.gan import (
    LogMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
    reconstruction_losses,
)
from ..models.discriminators import Discriminators
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import VocoderTrainingArguments
from .checkpoints import reading
from .monitoring import Sample
from .stage_trainer import StageTrainer

DISCRIMINATORS = "discriminators.pt"  # in a checkpoint


class VocoderTrainer(StageTrainer):
    """Trains a [`UnitVocoderModel`], whose weight norm is applied here and is not in best/ and last/.
    Validation measures "mel_loss", the mean absolute log-mel difference to the recordings of whole clips.

    Args:
        generator, discriminators: To be trained.
        args: The settings.
        train_dataset: Segments, see `VocoderSegmentDataset`; eval_dataset: the same of whole clips.
        max_av_offset: By how many mel frames the sound may lag behind predicted mels: see `correlation_loss`.
    """

    title = "Stage 2, vocoder"
    args: VocoderTrainingArguments

    def __init__(
        self,
        generator: UnitVocoderModel,
        discriminators: Discriminators,
        args: VocoderTrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        max_av_offset: int = 0,
    ):
        generator.apply_weight_norm()
        if args.ddp_find_unused_parameters is None:
            args.ddp_find_unused_parameters = False
        collate = VocoderSegmentCollator(generator.config.num_units)
        options = {"data_collator": collate, "compute_metrics": _metrics}
        super().__init__(generator, args, train_dataset, eval_dataset, **options)
        self.discriminators, self.max_av_offset = discriminators, max_av_offset
        self.networks = {"generator": generator, "discriminators": discriminators}
        self.validation_loss = LogMelLoss().to(args.device)
        self.mel_losses = nn.ModuleList(LogMelLoss(size, size // 4) for size in args.mel_loss_windows)
        self.mel_losses.to(args.device)

    # ---- An update

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Of the generator; the discriminators have one of the same kind."""
        if self.optimizer is None:
            theirs = super().create_optimizer(self.discriminators)
            prepared = self.accelerator.prepare(self.discriminators, theirs)
            self.discriminators, self.discriminator_optimizer = prepared
            self.optimizer = None
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        args, per_epoch = self.args, -(-self.batches_per_epoch // self.args.gradient_accumulation_steps)

        def factor(step: int) -> float:
            warm = min(1.0, (step + 1) / args.warmup_steps) if args.warmup_steps else 1.0
            return warm * args.lr_decay ** (step // per_epoch)

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The generator's loss; updates the discriminators."""
        args, real, of_truth = self.args, inputs["waveform"], ~inputs["predicted"]
        # in the other half it speaks with the pitch that it predicts
        given = {"f0": inputs["f0"]} if "f0" in inputs and torch.rand(()) < 0.5 else {}
        output = model(**_given(inputs), **given)
        losses, total = reconstruction_losses(output, inputs, self.mel_losses, args, self.max_av_offset)
        if args.adversarial_from_step is not None and self.state.global_step >= args.adversarial_from_step:
            fake = output.waveform.float()
            losses["discriminator_loss"] = self._update_discriminators(real, fake.detach())
            losses |= self._judge(real, fake, of_truth)
            total = total + losses["adversarial_loss"]
            total = total + args.feature_matching_weight * losses["feature_matching_loss"]
        self.meter.add(losses)
        return (total, output) if return_outputs else total

    def _update_discriminators(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        accelerator, optimizer = self.accelerator, self.discriminator_optimizer
        self.discriminators.train()
        scores, _ = self.discriminators(torch.cat([real, fake]))  # one pass: processes synchronise once
        real_scores, fake_scores = zip(*(score.chunk(2) for score in scores), strict=True)
        loss, _, _ = discriminator_loss(real_scores, fake_scores)
        accelerator.backward(loss / self.current_gradient_accumulation_steps)
        if self.args.max_grad_norm and accelerator.sync_gradients:
            accelerator.unscale_gradients(optimizer)
            nn.utils.clip_grad_norm_(self.discriminators.parameters(), self.args.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = self._get_learning_rate()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def _judge(
        self, real: torch.Tensor, fake: torch.Tensor, of_truth: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The generator's losses; the discriminators are constant here. Features are matched where the input
        was the ground truth."""
        judge = self.accelerator.unwrap_model(self.discriminators).requires_grad_(False)
        with torch.no_grad():
            _, real_maps = judge(real)
        fake_scores, fake_maps = judge(fake)
        judge.requires_grad_(True)
        counting = None if self.args.lip2speech is None else of_truth
        return {
            "adversarial_loss": adversarial_loss(fake_scores),
            "feature_matching_loss": feature_matching_loss(real_maps, fake_maps, counting),
        }

    # ---- Validation

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(None, losses, losses): of each clip, (1, 1)."""
        inputs = self._prepare_inputs(self.skipped_in_validation.take(inputs))
        losses = self.validation_loss.distances(self._speak(self.model, inputs), inputs["waveform"])[:, None]
        return None, losses, losses

    def sample(self, model: UnitVocoderModel, item: dict[str, Any]) -> Sample:
        batch = self._prepare_inputs(self.data_collator([item]))
        sounds = {"vocoder": self._speak(model, batch), "true": batch["waveform"]}
        waveforms = {name: sound[0].float().cpu() for name, sound in sounds.items()}
        return Sample(
            name=item["id"],
            waveforms={name: sound.numpy() for name, sound in waveforms.items()},
            spectrograms={name: log_mel_spectrogram(sound).numpy() for name, sound in waveforms.items()},
        )

    def _speak(self, model: UnitVocoderModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(1, 320U) float32."""
        with self.accelerator.autocast():
            return model(**_given(batch)).waveform.float()

    # ---- Saving and resuming

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Into a checkpoint, with weight norm: folding it away and back would change the last bits."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(self.model.state_dict(), folder / WEIGHTS_NAME)
            self.model.config.save_pretrained(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            networks = self.accelerator.unwrap_model(self.discriminators), self.discriminator_optimizer
            torch.save([part.state_dict() for part in networks], Path(output_dir) / DISCRIMINATORS)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            networks = self.accelerator.unwrap_model(self.discriminators), self.discriminator_optimizer
            with reading(checkpoint):
                path = Path(checkpoint) / DISCRIMINATORS
                states = torch.load(path, map_location="cpu", weights_only=True)
                for part, state in zip(networks, states, strict=True):
                    part.load_state_dict(state)


def _given(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("unit_ids", "spectrogram", "speaker_embeddings")}


def _metrics(losses: EvalPrediction) -> dict[str, float]:
    return {"mel_loss": float(np.asarray(losses.predictions, np.float64).mean())}
