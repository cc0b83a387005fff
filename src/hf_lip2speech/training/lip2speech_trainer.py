"""Stage 1: mouth frames and a speaker -> speech units and mel, on `transformers.Trainer`."""

from typing import Any

import numpy as np
import torch
from rapidfuzz.distance import Levenshtein
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, TrainerCallback

from ..constants import UNITS_PER_FRAME
from ..data.collation import FrameBatchSampler, Lip2SpeechCollator
from ..data.sampling import AugmentedDataset
from ..errors import ConfigError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..losses.intelligibility import intelligibility_loss, stoi_like_correlation
from ..models.modeling_lip2speech import Lip2SpeechModel, Lip2SpeechOutput
from ..models.modeling_unit_vocoder import UnitVocoderModel
from ..text.transcripts import greedy
from .arguments import Lip2SpeechTrainingArguments
from .monitoring import Sample
from .stage_trainer import StageTrainer

LOSSES = (
    "loss", "unit_loss", "mel_loss", "spectral_convergence_loss", "correlation_loss", "ctc_loss",
    "text_conditioned_loss", "face_voice_loss", "intelligibility_loss",
)  # fmt: skip


class UnfreezeCallback(TrainerCallback):
    """Trains the frozen encoder with the rest after args.unfreeze_encoder_after updates."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step >= args.unfreeze_encoder_after and model.encoder_is_frozen:
            model.unfreeze_encoder()


class Lip2SpeechTrainer(StageTrainer):
    """Trains a [`Lip2SpeechModel`] on its own loss; measures the `metrics` of its arguments on the validation
    clips. What it adds to `transformers.Trainer`: see `StageTrainer`; and batches by frames.

    Args:
        model: To be trained.
        args: The settings.
        train_dataset: An `AugmentedDataset`; eval_dataset: the same without augmentation. Clips with a
            "waveform" (N,) have it written beside the prediction.
        processing_class: The feature extractor that the data sets use; saved beside the model.
        vocoder: Speaks the samples, and what `intelligibility_loss` hears; see `StageTrainer`.

    Raises:
        ConfigError: settings that do not fit the model.
    """

    title = "Stage 1, lip to speech"
    args: Lip2SpeechTrainingArguments
    train_dataset: AugmentedDataset

    def __init__(
        self,
        model: Lip2SpeechModel,
        args: Lip2SpeechTrainingArguments,
        train_dataset: AugmentedDataset,
        eval_dataset: Dataset,
        processing_class: Lip2SpeechFeatureExtractor,
        vocoder: UnitVocoderModel | None = None,
    ):
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
        super().__init__(
            model,
            args,
            train_dataset,
            eval_dataset,
            vocoder=vocoder,
            data_collator=Lip2SpeechCollator(model.config, waveform=bool(args.intelligibility_loss_weight)),
            processing_class=processing_class,
            compute_metrics=_metrics,
        )
        if args.unfreeze_encoder_after is not None:
            self.add_callback(UnfreezeCallback())

    def batches(self) -> int | Sampler:
        args, clips = self.args, self.train_dataset
        if args.batch_frames is None:
            return super().batches()
        batches = FrameBatchSampler(clips.lengths, args.batch_frames, clips, self.accelerator.num_processes)
        self.clips_per_batch = len(clips) / len(batches)
        return batches

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.args.freeze_frontend:
            self.model.frontend.eval()
        if self.args.train_only is not None:
            for name, module in self.model.named_children():
                module.train(name in self.args.train_only)
        waveform = inputs.pop("waveform", None)
        output = model(**inputs, chunk_frames=self._chunk_frames())
        losses = {name: output[name] for name in LOSSES if output.get(name) is not None}
        if waveform is not None:
            of_sound = self._intelligibility_loss(output, inputs, waveform)
            losses["intelligibility_loss"] = of_sound
            losses["loss"] = output.loss + self.args.intelligibility_loss_weight * of_sound
        self.meter.add(losses)
        loss = losses["loss"]
        if self.args.batch_frames is not None:  # a mean over the batch: let each clip count the same
            loss = loss * (len(inputs["unit_labels"]) / self.clips_per_batch)
        return (loss, output) if return_outputs else loss

    def _intelligibility_loss(
        self, output: Lip2SpeechOutput, inputs: dict[str, torch.Tensor], waveform: torch.Tensor
    ) -> torch.Tensor:
        """That of what the vocoder makes of the predictions, in the speakers' own voices."""
        units, speakers = self.model.unit_ids(output.unit_logits), inputs["speaker_embeddings"]
        mask = inputs["attention_mask"].repeat_interleave(UNITS_PER_FRAME, dim=1)
        speech = self.vocoder(units, output.spectrogram, speakers, mask).waveform
        mels = (output.spectrogram, inputs["mel_labels"], inputs["mel_attention_mask"].bool())
        everywhere = torch.ones(len(units), dtype=torch.bool, device=units.device)
        return intelligibility_loss(speech, waveform, *mels, everywhere, self.model.config.max_av_offset)

    def _chunk_frames(self) -> int | None:
        """Of this update; drawn from its number, so that a resumed run draws the same."""
        if self.args.chunk_frames is None:
            return None
        least, most = self.args.chunk_frames
        random = np.random.default_rng((self.args.seed, self.state.global_step))
        return int(random.integers(least, most + 1)) if random.random() < 0.5 else None

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(None, sums, sums): per clip what `_metrics` adds up, (B, 6); (B, 8) with a text head."""
        inputs = self._prepare_inputs(self.skipped_in_validation.take(inputs))
        waveform = inputs.pop("waveform", None)
        with self.accelerator.autocast():
            output = self.model(**inputs)
            loss = output.loss
            if waveform is not None:
                of_sound = self._intelligibility_loss(output, inputs, waveform)
                loss = loss + self.args.intelligibility_loss_weight * of_sound
        units, mel_mask = inputs["unit_labels"], inputs["mel_attention_mask"].bool()
        predicted = self.model.unit_ids(output.unit_logits) + self.model.config.unit_offset
        errors = (output.spectrogram.float() - inputs["mel_labels"]).abs().mean(-1) * mel_mask
        sums = [
            loss.expand(len(units)),
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

    def sample(self, model: Lip2SpeechModel, item: dict[str, Any]) -> Sample:
        batch = self._prepare_inputs(self.data_collator([item]))
        batch.pop("waveform", None)
        with self.accelerator.autocast():
            output = model(**batch)
        units, mel = model.unit_ids(output.unit_logits)[0], output.spectrogram[0].float()
        waveforms = {"predicted": self.voice(units, mel, batch["speaker_embeddings"][0]).cpu().numpy()}
        if "waveform" in item:
            waveforms["true"] = item["waveform"].numpy()
        return Sample(
            name=item["id"],
            waveforms=waveforms,
            spectrograms={"true": item["mel_labels"].numpy(), "predicted": mel.cpu().numpy()},
            units={"true": item["unit_labels"].numpy(), "predicted": units.cpu().numpy()},
        )


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
        edits = Levenshtein.distance(text, greedy(logits[: UNITS_PER_FRAME * frames])[0]) if text else 0
        pairs.append((edits, len(text)))
    return list(torch.tensor(pairs, device=text_logits.device).T)
