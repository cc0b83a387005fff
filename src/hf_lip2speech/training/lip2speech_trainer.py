"""Stage 1: mouth frames and a speaker -> speech units and mel, on `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import set_seed
from rapidfuzz.distance import Levenshtein
from torch.utils.data import DataLoader, Dataset, Subset
from transformers import EvalPrediction, Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, TrainerState

from ..composite import save_beside_weights
from ..constants import UNITS_PER_FRAME
from ..data.batching import FrameBatchSampler
from ..data.collation import Lip2SpeechCollator
from ..data.sampling import AugmentedDataset
from ..data.unread import ReadableClips, ReadableCollator, UnreadClip
from ..errors import ConfigError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..losses.stoi_like import stoi_like_correlation
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..text.ctc import greedy_classes
from .arguments import METRICS, Lip2SpeechTrainingArguments
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
from .griffin_lim import griffin_lim
from .models import data_beside
from .monitoring import Meter, Sample, print_banner, print_skipped, write_sample

Voice = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES = (
    "loss", "unit_loss", "mel_loss", "spectral_convergence_loss", "correlation_loss", "ctc_loss",
    "text_conditioned_loss",
)  # fmt: skip
AVERAGE = "average.pt"  # in a checkpoint


class EpochCallback(TrainerCallback):
    """Tells the training data which epoch begins: their augmentation is drawn from it. Fits any Trainer."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        set_epoch(train_dataloader, int(state.epoch or 0))


class UnfreezeCallback(TrainerCallback):
    """Trains the frozen encoder with the rest after args.unfreeze_encoder_after updates."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step >= args.unfreeze_encoder_after and model.encoder_is_frozen:
            model.unfreeze_encoder()


class AverageCallback(TrainerCallback):
    """Keeps the moving average of the weights up to date."""

    def __init__(self, average: torch.optim.swa_utils.AveragedModel):
        self.average = average

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.average.update_parameters(model)


class StopCallback(TrainerCallback):
    """Ends the training with a checkpoint after a signal or args.max_minutes; logs the last update."""

    def __init__(self, stop: StopRequest, accelerator):
        self.stop, self.accelerator = stop, accelerator

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            control.should_log = True
        elif self.stop.requested(self.accelerator, state.global_step):
            control.should_training_stop = control.should_save = True


class Lip2SpeechTrainer(Trainer):
    """Trains a [`Lip2SpeechModel`] on its own loss; measures `METRICS` on the validation clips.

    What it adds to `transformers.Trainer`: batches by frames, an average of the weights that is validated and
    saved, best/ and last/ as complete folders, checkpoints that are whole or not there, sound and pictures of
    validation clips, and a checkpoint on SIGTERM, Ctrl-C and after args.max_minutes.

    Args:
        model: To be trained.
        args: The settings.
        train_dataset: An `AugmentedDataset`; eval_dataset: the same without augmentation. Clips with a
            "waveform" (N,) have it written beside the prediction.
        processing_class: The feature extractor that the data sets use; saved beside the model.
        voice: Speaks the samples: (unit_ids (U,), spectrogram (2U, 80), speaker embedding (256,)) -> waveform
            (N,); default: Griffin-Lim on the mel.

    Raises:
        ConfigError: settings that do not fit the model.
    """

    args: Lip2SpeechTrainingArguments
    train_dataset: AugmentedDataset
    loss_is_scaled_for_ga = False  # the model's loss is a mean over the batch
    _saving_to: Path | None = None

    def __init__(
        self,
        model: Lip2SpeechModel,
        args: Lip2SpeechTrainingArguments,
        train_dataset: AugmentedDataset,
        eval_dataset: Dataset,
        processing_class: Lip2SpeechFeatureExtractor,
        voice: Voice | None = None,
    ):
        if args.num_threads is not None:
            torch.set_num_threads(args.num_threads)
        if args.unfreeze_encoder_after is not None:
            if not model.encoder_is_frozen:
                raise ConfigError(
                    f"unfreeze_encoder_after is {args.unfreeze_encoder_after}, but the model has no frozen "
                    "AV-HuBERT: give one (encoder, or an init_from that has one) and leave "
                    "model.freeze_encoder true, or leave unfreeze_encoder_after out."
                )
            # The optimiser and the processes' exchange include its weights from the start; until then, the
            # forward pass alone keeps gradients from them.
            model.avhubert.requires_grad_(True)
        if args.freeze_frontend:
            if model.config.encoder is not None:
                raise ConfigError(
                    "freeze_frontend is true, but the model reads lips with an AV-HuBERT and has no front "
                    "end: leave it out, model.freeze_encoder is for that."
                )
            model.frontend.requires_grad_(False)
        if args.train_only is not None:
            modules = dict(model.named_children())
            if not args.train_only or not set(args.train_only) <= modules.keys():
                raise ConfigError(
                    f"train_only is {args.train_only}; expected some of {', '.join(modules)}, the model's "
                    "modules."
                )
            model.requires_grad_(False)
            for name in args.train_only:
                modules[name].requires_grad_(True)
        if args.metric_for_best_model == "character_error_rate" and model.config.text_vocabulary is None:
            raise ConfigError(
                "metric_for_best_model is character_error_rate, but the model has no text head: give "
                "model.text_vocabulary, or another metric."
            )
        if args.ddp_find_unused_parameters is None:  # an AV-HuBERT has some for sound
            args.ddp_find_unused_parameters = model.config.encoder is not None
        if args.max_eval_clips is not None:
            eval_dataset = Subset(eval_dataset, range(min(len(eval_dataset), args.max_eval_clips)))
        super().__init__(
            model,
            args,
            data_collator=Lip2SpeechCollator(model.config),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            compute_metrics=_metrics,
        )
        self.voice = voice or (lambda units, mel, speaker: griffin_lim(mel))
        self.beside = data_beside(args.folders)
        self.average = weight_average(self.model, args.ema_decay) if args.ema_decay else None
        self.skipped, self.skipped_in_validation = skipped_clips(
            train_dataset, eval_dataset, args.output_dir, self.accelerator.num_processes
        )
        self.clips_per_batch: float = args.per_device_train_batch_size
        self.stop = StopRequest(args.max_minutes)
        self.meter = Meter(self.accelerator, args.max_steps, 0)
        self.remove_callback(PrinterCallback)
        self.add_callback(EpochCallback())
        self.add_callback(StopCallback(self.stop, self.accelerator))
        if self.average is not None:
            self.add_callback(AverageCallback(self.average))
        if args.unfreeze_encoder_after is not None:
            self.add_callback(UnfreezeCallback())

    # ---- Data

    def get_train_dataloader(self) -> DataLoader:
        args, clips, processes = self.args, self.train_dataset, self.accelerator.num_processes
        batches = args.per_device_train_batch_size
        if args.batch_frames is not None:
            batches = FrameBatchSampler(clips.lengths, args.batch_frames, clips, processes)
            self.clips_per_batch = len(clips) / len(batches)
        workers = args.dataloader_num_workers
        readable, collate = ReadableClips(clips), ReadableCollator(self.data_collator)
        return training_loader(readable, collate, batches, workers, self.accelerator)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        clips = ReadableClips(self.eval_dataset if eval_dataset is None else eval_dataset, at_least=None)
        collate, workers = ReadableCollator(self.data_collator), self.args.dataloader_num_workers
        return self.accelerator.prepare_data_loader(
            loader(clips, collate, workers, batch_size=self.args.eval_batch_size)
        )

    def get_batch_samples(self, *args, **kwargs):
        batches, items = self.meter.waiting(super().get_batch_samples, *args, **kwargs)
        return [self.skipped.take(batch) for batch in batches], items

    # ---- An update

    def get_decay_parameter_names(self, model) -> list[str]:
        return [name for name, parameter in model.named_parameters() if is_decayed(parameter)]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.args.freeze_frontend:
            self.model.frontend.eval()
        if self.args.train_only is not None:
            for name, module in self.model.named_children():
                module.train(name in self.args.train_only)
        output = model(**inputs, chunk_frames=self._chunk_frames())
        self.meter.add({name: output[name] for name in LOSSES if output.get(name) is not None})
        loss = output.loss
        if self.args.batch_frames is not None:  # a mean over the batch: let each clip count the same
            loss = loss * (len(inputs["unit_labels"]) / self.clips_per_batch)
        return (loss, output) if return_outputs else loss

    def _chunk_frames(self) -> int | None:
        """Of this update; drawn from its number, so that a resumed run draws the same."""
        if self.args.chunk_frames is None:
            return None
        least, most = self.args.chunk_frames
        random = np.random.default_rng((self.args.seed, self.state.global_step))
        return int(random.integers(least, most + 1)) if random.random() < 0.5 else None

    # ---- Validation

    @contextmanager
    def averaged(self) -> Generator[Any]:
        """Inside, self.model is what is validated and saved: the average, if there is one."""
        trained = self.model
        self.model = trained if self.average is None else self.average.module
        try:
            yield self.model
        finally:
            self.model = trained

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """As `Trainer.evaluate`; draws no random numbers that training would miss."""
        devices = [self.args.device] if self.args.device.type == "cuda" else []
        with self.averaged() as model, torch.random.fork_rng(devices=devices), torch.no_grad():
            metrics = self.meter.paused(super().evaluate, *args, **kwargs)
            if self.is_in_train and self.is_world_process_zero():
                self.meter.paused(self._write_samples, model)
        return metrics

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(None, sums, sums): per clip what `_metrics` adds up, (B, 6); (B, 8) with a text head."""
        inputs = self._prepare_inputs(self.skipped_in_validation.take(inputs))
        with self.accelerator.autocast():
            output = self.model(**inputs)
        units, mel_mask = inputs["unit_labels"], inputs["mel_attention_mask"].bool()
        predicted = self.model.unit_ids(output.unit_logits) + self.model.config.unit_offset
        errors = (output.spectrogram.float() - inputs["mel_labels"]).abs().mean(-1) * mel_mask
        sums = [
            output.loss.expand(len(units)),
            stoi_like_correlation(output.spectrogram, inputs["mel_labels"], mel_mask),
            ((predicted == units) & (units != -100)).sum(1),
            (units != -100).sum(1),
            errors.sum(1),
            mel_mask.sum(1),
        ]
        if output.text_logits is not None:
            sums += _character_errors(output.text_logits, inputs)
        stacked = torch.stack([column.float() for column in sums], dim=1)
        return None, stacked, stacked

    def _tensorboard(self) -> TensorBoardCallback | None:
        callbacks = self.callback_handler.callbacks
        return next((found for found in callbacks if isinstance(found, TensorBoardCallback)), None)

    def _write_samples(self, model: Lip2SpeechModel) -> None:
        writer = getattr(self._tensorboard(), "tb_writer", None)
        for index in range(min(self.args.num_samples, len(self.eval_dataset))):
            item = ReadableClips(self.eval_dataset)[index]
            if isinstance(item, UnreadClip):
                continue
            batch = self._prepare_inputs(self.data_collator([item]))
            with self.accelerator.autocast():
                output = model(**batch)
            units, mel = model.unit_ids(output.unit_logits)[0], output.spectrogram[0].float()
            waveforms = {"predicted": self.voice(units, mel, batch["speaker_embeddings"][0]).cpu().numpy()}
            if "waveform" in item:
                waveforms["true"] = item["waveform"].numpy()
            sample = Sample(
                name=item.get("id", f"clip_{index}"),
                waveforms=waveforms,
                spectrograms={"true": item["mel_labels"].numpy(), "predicted": mel.cpu().numpy()},
                units={"true": item["unit_labels"].numpy(), "predicted": units.cpu().numpy()},
            )
            write_sample(self.args.output_dir, sample, self.state.global_step, self.args.report_to, writer)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As `Trainer.log`, with every part of the loss and the pace; prints a line."""
        step = self.state.global_step
        if "learning_rate" in logs:
            losses, pace = self.meter.read(step)
            self.meter.print(step, self.state.epoch, losses, pace, logs["learning_rate"])
            logs |= losses | pace
        super().log(logs, start_time)

    def _determine_best_metric(self, metrics, trial) -> bool:
        better = super()._determine_best_metric(metrics, trial)
        shown = {name: metrics[f"eval_{name}"] for name in METRICS if f"eval_{name}" in metrics}
        self.meter.print_validation(self.state.global_step, shown, better)
        if better:
            self._export("best")
        return better

    # ---- Saving and resuming

    def _export(self, name: str) -> None:
        """Write a complete folder: the averaged model, the feature extractor, unit extractor and voices."""
        if self.args.should_save:
            with self.averaged() as model, replaced_folder(Path(self.args.output_dir) / name) as folder:
                model.save_pretrained(folder)
                save_beside_weights(folder, self.processing_class, **self.beside)
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial) -> str:
        return str(self._saving_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model, trial) -> None:
        args = self.args
        state = (args.output_dir, self.state.global_step, args.save_total_limit, self.accelerator)
        with new_checkpoint(*state, self.meter.clips_per_update) as folder:
            self._saving_to = folder.parent
            super()._save_checkpoint(model, trial)
            self._saving_to = None
            if args.should_save:  # the Trainer takes the unfinished folder for the best checkpoint's place
                self.state.best_model_checkpoint = None
                self.state.save_to_json(str(folder / TRAINER_STATE_NAME))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.average is not None and self.args.should_save:
            torch.save(self.average.state_dict(), Path(output_dir) / AVERAGE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        with reading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return super()._load_optimizer_and_scheduler(checkpoint)
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)
            if self.average is not None:
                saved = torch.load(Path(checkpoint) / AVERAGE, map_location="cpu", weights_only=True)
                self.average.load_state_dict(saved)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        with reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def train(self, resume_from_checkpoint: str | Path | None = None, **kwargs):
        """As `Trainer.train`; ends with last/, or with SystemExit(128 + signal) after a signal."""
        args, accelerator = self.args, self.accelerator
        prepared = self.get_train_dataloader()
        self.meter.clips_per_update = (
            self.clips_per_batch * args.gradient_accumulation_steps * accelerator.num_processes
        )
        print_banner("Stage 1, lip to speech", args, accelerator, {"model": self.model}, self.train_dataset,
                     self.eval_dataset, len(prepared))  # fmt: skip
        step = 0
        if resume_from_checkpoint is not None:
            check_environment(Path(resume_from_checkpoint), accelerator, self.meter.clips_per_update)
            resume_from_checkpoint = str(resume_from_checkpoint)
            step = int(Path(resume_from_checkpoint).name.partition("-")[2])
            with reading(resume_from_checkpoint):
                TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
        self.meter.start(step)
        if accelerator.is_main_process:
            for name in ("best", "last"):
                settle(Path(args.output_dir) / name)
            if (board := self._tensorboard()) is not None:  # overwrites what a killed run logged after `step`
                from torch.utils.tensorboard import SummaryWriter

                purge = step + 1 if step else None
                board.tb_writer = SummaryWriter(Path(args.output_dir) / "logs", purge_step=purge)
        set_seed(args.seed, device_specific=True)  # the processes' dropout masks differ
        if step >= args.max_steps:
            accelerator.print(f"Already trained to step {step}.")
            return None
        with self.stop:
            result = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        state, metric = self.state, args.metric_for_best_model
        self.meter.print_end(
            state.global_step, self.stop.reason, metric, state.best_metric, state.best_global_step
        )
        print_skipped(self.skipped, self.skipped_in_validation)
        self.stop.exit_after_signal()
        self._export("last")
        return result


def _metrics(sums: EvalPrediction) -> dict[str, float]:
    """Sums over clips -> METRICS: loss and stoi_like_correlation (to the labels as they are) are means over
    clips, unit_accuracy in 0..1 and mel_l1 over all valid positions, character_error_rate (greedy) over all
    characters, if there are any."""
    loss, correlation, hits, units, error, frames, *text = np.asarray(sums.predictions, np.float64).sum(0)
    clips = len(sums.predictions)
    edits, characters = text or (0, 0)
    return {
        "loss": loss / clips,
        "stoi_like_correlation": correlation / clips,
        "unit_accuracy": hits / units,
        "mel_l1": error / frames,
    } | ({"character_error_rate": edits / characters} if characters else {})


def _character_errors(text_logits: torch.Tensor, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Edits that turn what is read into the text, and the text's characters: (B,) each, 0 without text."""
    pairs = []
    for logits, frames, labels in zip(
        text_logits, inputs["attention_mask"].sum(1), inputs["text_labels"], strict=True
    ):
        text = labels[labels > 0].tolist()
        edits = Levenshtein.distance(text, greedy_classes(logits[: UNITS_PER_FRAME * frames])) if text else 0
        pairs.append((edits, len(text)))
    return list(torch.tensor(pairs, device=text_logits.device).T)
