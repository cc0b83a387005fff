"""Stage 3: what a lip-to-speech model predicts -> a sampled mel, on `transformers.Trainer`."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import EvalPrediction

from ..data.collation import MelFlowCollator
from ..models.modeling_mel_flow import MelFlowModel
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import MelFlowTrainingArguments
from .monitoring import Sample
from .stage_trainer import StageTrainer


class MelFlowTrainer(StageTrainer):
    """Trains a [`MelFlowModel`] on its own loss, which it also measures on the validation clips.

    Args:
        model: To be trained.
        args: The settings.
        train_dataset, eval_dataset: `PredictedClips`.
        vocoder: Speaks the samples, see `StageTrainer`.
    """

    title = "Stage 3, mel flow"
    args: MelFlowTrainingArguments

    def __init__(
        self,
        model: MelFlowModel,
        args: MelFlowTrainingArguments,
        train_dataset: Dataset,
        eval_dataset: Dataset,
        vocoder: UnitVocoderModel | None = None,
    ):
        options = {"data_collator": MelFlowCollator(), "compute_metrics": _metrics}
        super().__init__(model, args, train_dataset, eval_dataset, vocoder=vocoder, **options)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        output = model(**inputs)
        self.meter.add({"loss": output.loss})
        return (output.loss, output) if return_outputs else output.loss

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """As `StageTrainer.evaluate`, at the same times of the flow and with the same noise each time."""
        self._noise = torch.Generator().manual_seed(self.args.seed)
        return super().evaluate(*args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """(None, losses, losses): the loss of the batch for each of its clips, (B, 1)."""
        inputs = self._prepare_inputs(self.skipped_in_validation.take(inputs))
        with self.accelerator.autocast():
            loss = self.model(**inputs, generator=self._noise).loss
        losses = loss.float().expand(len(inputs["unit_ids"]), 1).contiguous()
        return None, losses, losses

    def sample(self, model: MelFlowModel, item: dict[str, Any]) -> Sample:
        batch = self._prepare_inputs(self.data_collator([item]))
        batch.pop("mel_labels")
        generator = torch.Generator().manual_seed(self.args.seed)
        with self.accelerator.autocast():
            mel = model(**batch, generator=generator).spectrogram[0]
        speaker = batch["speaker_embeddings"][0]
        return Sample(
            name=item["id"],
            waveforms={"sampled": self.voice(batch["unit_ids"][0], mel, speaker).cpu().numpy()},
            spectrograms={
                "true": item["mel_labels"].numpy(),
                "predicted": item["spectrogram"].numpy(),
                "sampled": mel.cpu().numpy(),
            },
        )


def _metrics(losses: EvalPrediction) -> dict[str, float]:
    return {"loss": float(np.asarray(losses.predictions, np.float64).mean())}
