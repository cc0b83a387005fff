"""Stage 2: units, mel and a speaker -> waveform. A generator against two discriminators, HiFi-GAN's training.

What makes a resumed run equal one that never stopped: the position in the data follows from the number of
updates; each epoch's order is drawn from (seed, epoch), each segment from (seed, epoch, index); learning
rates are functions of step and epoch; weights, optimisers, average and random states are in the checkpoint.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils import DataLoaderConfiguration, GradientAccumulationPlugin, set_seed
from accelerate.utils.constants import RNG_STATE_NAME
from accelerate.utils.other import load
from torch import nn
from torch.utils.data import Dataset, Subset

from ..audio.mel import log_mel_spectrogram
from ..composite import save_beside_weights
from ..data.unread import ReadableClips, ReadableCollator
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
from .checkpoints import check_environment, new_checkpoint, reading, replaced_folder, settle
from .common import (
    StopRequest,
    is_decayed,
    loader,
    set_epoch,
    skipped_clips,
    training_loader,
    weight_average,
)
from .monitoring import Meter, Sample, print_banner, print_skipped, write_samples
from .stage_trainer import data_beside

STATE = "vocoder_state.pt"  # in a checkpoint, beside accelerate's files


def start(args: VocoderTrainingArguments) -> Accelerator:
    """The accelerator; torch's threads and random generators are set, equally on all processes."""
    if args.num_threads is not None:
        torch.set_num_threads(args.num_threads)
    set_seed(args.seed)
    return Accelerator(
        mixed_precision="fp16" if args.fp16 else {None: None, True: "bf16", False: "no"}[args.bf16],
        # updates cross the ends of epochs, so that each sees equally many segments
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=args.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        dataloader_config=DataLoaderConfiguration(
            use_seedable_sampler=True, data_seed=args.seed, non_blocking=True
        ),
        log_with=args.report_to or None,
        project_dir=args.output_dir,
    )


class VocoderTrainer:
    """Trains a [`UnitVocoderModel`], whose weight norm is applied here and is not in what is saved.

    Args:
        args, accelerator: The settings; the latter from `start`.
        generator, discriminators: To be trained.
        train_data: Items of equal length, see `VocoderSegmentDataset`.
        validation_data: Whole clips, `VocoderSegmentDataset` without `segment_units`.
        collate: List of items -> batch, see `VocoderSegmentCollator`.
        max_av_offset: By how many mel frames sound may lag behind predicted mels: see `intelligibility_loss`.
    """

    def __init__(
        self,
        args: VocoderTrainingArguments,
        accelerator: Accelerator,
        generator: UnitVocoderModel,
        discriminators: Discriminators,
        train_data: Dataset,
        validation_data: Dataset,
        collate: Callable[[list], dict[str, torch.Tensor]],
        max_av_offset: int = 0,
    ):
        self.args, self.accelerator, self.max_av_offset = args, accelerator, max_av_offset
        self.collate, self.beside = collate, data_beside(args.folders, args.init_from)
        clips = range(len(validation_data))[: args.max_eval_clips]
        self.train_data, self.validation_data = train_data, Subset(validation_data, clips)
        self.validation_loss = LogMelLoss().to(accelerator.device)
        self.mel_losses = nn.ModuleList(LogMelLoss(size, size // 4) for size in args.mel_loss_windows)
        self.mel_losses.to(accelerator.device)

        generator.apply_weight_norm()
        self.plain_generator = generator.to(accelerator.device)
        self.average = weight_average(self.plain_generator, args.ema_decay) if args.ema_decay else None
        optimizers = (self._optimizer(module) for module in (generator, discriminators))
        self.generator, self.discriminators, self.generator_optimizer, self.discriminator_optimizer = (
            accelerator.prepare(generator, discriminators, *optimizers)
        )
        self.loader = training_loader(
            ReadableClips(train_data),
            ReadableCollator(collate),
            args.per_device_train_batch_size,
            args.dataloader_num_workers,
            accelerator,
        )
        self.skipped, self.skipped_in_validation = skipped_clips(
            train_data, self.validation_data, args.output_dir, accelerator.num_processes
        )
        self.segments_per_update = (
            args.per_device_train_batch_size * args.gradient_accumulation_steps * accelerator.num_processes
        )
        self.meter = Meter(accelerator, args.max_steps, self.segments_per_update)
        self.step, self.best, self.best_step, self.learning_rate = 0, float("inf"), None, 0.0

    def _optimizer(self, module: nn.Module) -> torch.optim.AdamW:
        args, parameters = self.args, [p for p in module.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            [
                {"params": [p for p in parameters if is_decayed(p)], "weight_decay": args.weight_decay},
                {"params": [p for p in parameters if not is_decayed(p)], "weight_decay": 0.0},
            ],
            lr=args.learning_rate,
            betas=(args.adam_beta1, args.adam_beta2),
            eps=args.adam_epsilon,
            fused=self.accelerator.device.type in ("cpu", "cuda"),
        )

    # ---- The loop

    def train(self, resume_from_checkpoint: Path | None = None) -> None:
        """Train to max_steps, to max_minutes or to a signal; each ends with a checkpoint.

        Raises:
            SystemExit: (128 + signal) after a signal.
            TrainingError: a loss is not finite; the checkpoint cannot be resumed from.
        """
        args, accelerator = self.args, self.accelerator
        print_banner("Stage 2, vocoder", args, accelerator,
                     {"generator": self.plain_generator, "discriminators": self.discriminators},
                     self.train_data, self.validation_data, len(self.loader))  # fmt: skip
        set_seed(args.seed, device_specific=True)  # the processes' dropout masks differ
        if resume_from_checkpoint is not None:
            self._load(resume_from_checkpoint)
        if accelerator.is_main_process:
            for name in ("best", "last"):
                settle(Path(args.output_dir) / name)
        if args.report_to:
            # a resumed run overwrites what a killed one logged after its last checkpoint
            options = {"tensorboard": {"purge_step": self.step + 1}} if self.step else {}
            if args.run_name is not None and "wandb" in args.report_to:
                options["wandb"] = {"name": args.run_name}
            project = "logs" if args.report_to[0] == "tensorboard" else "hf-lip2speech"
            accelerator.init_trackers(project, init_kwargs=options)
        self.meter.start(self.step)
        saved_at = self.step
        with StopRequest(args.max_minutes) as stop:
            epoch, skip = divmod(self.step * args.gradient_accumulation_steps, len(self.loader))
            while self.step < args.max_steps and not stop.reason:
                set_epoch(self.loader, epoch)
                batches = iter(skip_first_batches(self.loader, skip) if skip else self.loader)
                while (batch := self.meter.waiting(next, batches, None)) is not None:
                    batch = self.skipped.take(batch)
                    with accelerator.accumulate(self.generator, self.discriminators):
                        self.meter.add(self.training_step(batch, epoch))
                    if not accelerator.sync_gradients:
                        continue
                    if self.average is not None:
                        self.average.update_parameters(self.plain_generator)
                    self.step += 1
                    last = self.step >= args.max_steps
                    if last or self.step % args.logging_steps == 0:
                        self._log()
                    if last or self.step % args.eval_steps == 0:
                        self.meter.paused(self._validate)
                    if last or self.step % args.save_steps == 0:
                        self.meter.paused(self._save)
                        saved_at = self.step
                    if last or stop.requested(accelerator, self.step):
                        break
                epoch, skip = epoch + 1, 0
            if saved_at != self.step:
                self._save()
        self.meter.print_end(self.step, stop.reason, "mel_loss", self.best, self.best_step)
        if args.report_to:
            accelerator.end_training()
        print_skipped(self.skipped, self.skipped_in_validation)
        stop.exit_after_signal()
        self._export("last")

    # ---- An update

    def training_step(self, batch: dict[str, torch.Tensor], epoch: int) -> dict[str, torch.Tensor]:
        """Forward and backward of both networks and, at the end of an update, the optimisers' steps."""
        args = self.args
        self.learning_rate = args.learning_rate * args.lr_decay**epoch
        if args.warmup_steps:
            self.learning_rate *= min(1.0, (self.step + 1) / args.warmup_steps)
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate

        self.generator.train()
        real = batch["waveform"]
        # in the other half it speaks with the pitch that it predicts
        given = {"f0": batch["f0"]} if "f0" in batch and torch.rand(()) < 0.5 else {}
        output = self.generator(**_inputs(batch), **given)
        losses, total = reconstruction_losses(output, batch, self.mel_losses, args, self.max_av_offset)
        fake, of_truth = output.waveform.float(), ~batch["predicted"]
        if args.adversarial_from_step is not None and self.step >= args.adversarial_from_step:
            losses["discriminator_loss"] = self._update_discriminators(real, fake.detach())
            losses |= self._judge(real, fake, of_truth)
            total = total + losses["adversarial_loss"]
            total = total + args.feature_matching_weight * losses["feature_matching_loss"]
        self._update(total, self.generator, self.generator_optimizer)
        return losses

    def _update_discriminators(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        self.discriminators.train()
        scores, _ = self.discriminators(torch.cat([real, fake]))  # one pass: processes synchronise once
        real_scores, fake_scores = zip(*(score.chunk(2) for score in scores), strict=True)
        loss, _, _ = discriminator_loss(real_scores, fake_scores)
        self._update(loss, self.discriminators, self.discriminator_optimizer)
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
        return {
            "adversarial_loss": adversarial_loss(fake_scores),
            "feature_matching_loss": feature_matching_loss(
                real_maps, fake_maps, None if self.args.lip2speech is None else of_truth
            ),
        }

    def _update(self, loss: torch.Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.accelerator.backward(loss)
        if self.args.max_grad_norm and self.accelerator.sync_gradients:
            self.accelerator.unscale_gradients(optimizer)
            torch.nn.utils.clip_grad_norm_(module.parameters(), self.args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    # ---- Validation and logging

    @property
    def best_model(self) -> UnitVocoderModel:
        """What is validated and saved: the averaged weights, or the weights themselves."""
        return self.plain_generator if self.average is None else self.average.module

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """mel_loss: mean absolute log-mel difference to the recording, mean over whole clips."""
        accelerator = self.accelerator
        sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
        share = range(accelerator.process_index, len(self.validation_data), accelerator.num_processes)
        clips, collate = ReadableClips(Subset(self.validation_data, share)), ReadableCollator(self.collate)
        for batch in loader(clips, collate, self.args.dataloader_num_workers, batch_size=1):
            batch = self.skipped_in_validation.take(batch)
            batch = {name: value.to(accelerator.device) for name, value in batch.items()}
            sums[0] += self.validation_loss(self._speak(batch), batch["waveform"])
            sums[1] += 1
        error, clips = accelerator.reduce(sums, reduction="sum").tolist()
        return {"mel_loss": error / clips}

    def _validate(self) -> None:
        metrics = self.evaluate()
        better = metrics["mel_loss"] < self.best
        if better:
            self.best, self.best_step = metrics["mel_loss"], self.step
            self._export("best")
        self.meter.print_validation(self.step, metrics, better)
        self.accelerator.log({f"eval/{name}": value for name, value in metrics.items()}, step=self.step)
        if self.accelerator.is_main_process:
            board = next((t for t in self.accelerator.trackers if t.name == "tensorboard"), None)
            writer = getattr(board, "writer", None)
            write_samples(self._sample, self.validation_data, self.args, self.step, writer)
        self.accelerator.wait_for_everyone()

    def _sample(self, item: dict[str, Any]) -> Sample:
        batch = {name: value.to(self.accelerator.device) for name, value in self.collate([item]).items()}
        sounds = {"vocoder": self._speak(batch), "true": batch["waveform"]}
        waveforms = {name: sound[0].float().cpu() for name, sound in sounds.items()}
        return Sample(
            name=item["id"],
            waveforms={name: sound.numpy() for name, sound in waveforms.items()},
            spectrograms={name: log_mel_spectrogram(sound).numpy() for name, sound in waveforms.items()},
        )

    def _speak(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(1, 320U) float32."""
        self.best_model.eval()
        with torch.no_grad(), self.accelerator.autocast():
            return self.best_model(**_inputs(batch)).waveform.float()

    def _log(self) -> None:
        losses, pace = self.meter.read(self.step)
        epoch = self.step * self.args.gradient_accumulation_steps / len(self.loader)
        self.meter.print(self.step, epoch, losses, pace, self.learning_rate)
        values = losses | pace | {"learning_rate": self.learning_rate, "epoch": epoch}
        self.accelerator.log({f"train/{name}": value for name, value in values.items()}, step=self.step)

    # ---- Saving and resuming

    def _export(self, name: str) -> None:
        if self.accelerator.is_main_process:
            with replaced_folder(Path(self.args.output_dir) / name) as folder:
                self.best_model.save_pretrained(folder)
                save_beside_weights(folder, **self.beside)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        args = self.args
        state = (args.output_dir, self.step, args.save_total_limit, self.accelerator)
        with new_checkpoint(*state, self.segments_per_update) as folder:
            # torch.save rather than safetensors: it keeps the memory layout of channels-last weights
            self.accelerator.save_state(str(folder), safe_serialization=False)
            if self.accelerator.is_main_process:
                average = None if self.average is None else self.average.state_dict()
                numbers = {"step": self.step, "best": self.best, "best_step": self.best_step}
                torch.save(numbers | {"average": average}, folder / STATE)
                self.plain_generator.config.save_pretrained(folder)

    def _load(self, checkpoint: Path) -> None:
        check_environment(checkpoint, self.accelerator, self.segments_per_update)
        with reading(checkpoint):
            # where these cannot be read, accelerate continues without a word, to other results
            load(checkpoint / f"{RNG_STATE_NAME}_{self.accelerator.process_index}.pkl")
            self.accelerator.load_state(str(checkpoint))
            state = torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)
            self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
            if self.average is not None:
                self.average.load_state_dict(state["average"])


def _inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("unit_ids", "spectrogram", "speaker_embeddings")}
