"""What the trainings on `transformers.Trainer` share, stages 1 and 3."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate.utils import set_seed
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from transformers import PreTrainedModel, Trainer, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, TrainerState

from ..audio.mel import griffin_lim
from ..composite import common_unit_extractor, save_beside_weights
from ..data.prepared import speaker_voices
from ..data.unread import ReadableClips, ReadableCollator
from ..errors import Lip2SpeechError
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import TrainerArguments
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

AVERAGE = "average.pt"  # in a checkpoint


class EpochCallback(TrainerCallback):
    """Tells the training data which epoch begins: their augmentation is drawn from it. Fits any Trainer."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        set_epoch(train_dataloader, int(state.epoch or 0))


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


class StageTrainer(Trainer):
    """A `transformers.Trainer` with what this package's trainings need: an average of the weights that is
    validated and saved, best/ and last/ as complete folders, checkpoints that are whole or not there, damaged
    clips left out, sound and pictures of validation clips, and a checkpoint on SIGTERM, Ctrl-C and after
    args.max_minutes.

    A subclass gives `title`, for the banner, and `sample`; where its loss has parts, `compute_loss`, which
    adds them to `self.meter`; and `prediction_step`, whose sums `compute_metrics` makes args.metrics of.

    Args:
        model, args, data_collator, compute_metrics: As of `Trainer`.
        train_dataset: With `set_epoch`, see `EpochDataset`; eval_dataset: without random numbers.
        processing_class: The feature extractor, which is saved beside the model.
        vocoder: Speaks the samples, and is not trained; default: Griffin-Lim on the mel.
    """

    title: ClassVar[str]
    args: Any  # TrainerArguments
    loss_is_scaled_for_ga = False  # the model's loss is a mean over the batch
    _saving_to: Path | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainerArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        *,
        vocoder: UnitVocoderModel | None = None,
        **options: Any,
    ):
        if args.num_threads is not None:
            torch.set_num_threads(args.num_threads)
        if args.max_eval_clips is not None:
            eval_dataset = Subset(eval_dataset, range(min(len(eval_dataset), args.max_eval_clips)))
        super().__init__(model, args, train_dataset=train_dataset, eval_dataset=eval_dataset, **options)
        self.vocoder = None if vocoder is None else vocoder.to(args.device).eval().requires_grad_(False)
        self.beside = data_beside(args.folders, args.init_from)
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

    def sample(self, model: Any, item: dict[str, Any]) -> Sample:
        """A validation clip as `model` does it, to look at and listen to."""
        raise NotImplementedError

    @torch.no_grad()
    def voice(self, unit_ids: torch.Tensor, mel: torch.Tensor, speaker: torch.Tensor) -> torch.Tensor:
        """Units (U,), mel (2U, 80) and a speaker embedding (256,) as sound (320 U,)."""
        if self.vocoder is None:
            return griffin_lim(mel)
        return self.vocoder(unit_ids[None], mel[None], speaker[None]).waveform[0]

    # ---- Data

    def batches(self) -> int | Sampler:
        """Clips of a batch, or a sampler of batches."""
        return self.args.per_device_train_batch_size

    def get_train_dataloader(self) -> DataLoader:
        readable, collate = ReadableClips(self.train_dataset), ReadableCollator(self.data_collator)
        workers = self.args.dataloader_num_workers
        return training_loader(readable, collate, self.batches(), workers, self.accelerator)

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
                writer = getattr(self._tensorboard(), "tb_writer", None)
                given = (self.eval_dataset, self.args, self.state.global_step, writer)
                self.meter.paused(write_samples, partial(self.sample, model), *given)
        return metrics

    def _tensorboard(self) -> TensorBoardCallback | None:
        callbacks = self.callback_handler.callbacks
        return next((found for found in callbacks if isinstance(found, TensorBoardCallback)), None)

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
        shown = {name: metrics[f"eval_{name}"] for name in self.args.metrics if f"eval_{name}" in metrics}
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
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME):
                (Path(checkpoint) / name).stat()  # the Trainer would resume without them
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
        print_banner(self.title, args, accelerator, {"model": self.model}, self.train_dataset,
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


def data_beside(folders: list[str], init_from: str | None = None) -> dict[str, Any]:
    """What the prepared data add to a trained model's folder: arguments of `save_beside_weights`. Warns where
    their units are not those of the model in `init_from`.

    Raises:
        Lip2SpeechError: see `common_unit_extractor`.
    """
    extractor, voices = common_unit_extractor(folders), {}
    if extractor is not None and init_from is not None:
        try:
            common_unit_extractor([init_from, extractor])
        except Lip2SpeechError as error:
            goes_on = f"The units of {extractor} are learned anew, and do not fit a vocoder of {init_from}."
            warnings.warn(f"{error} {goes_on}", stacklevel=2)
    for folder in folders:
        voices |= speaker_voices(folder, most=100)
    return {"unit_extractor": extractor, "voices": voices}
