"""What an update of each training costs here, measured on random input before there is any data."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..constants import MEL_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..losses.gan import LogMelLoss, reconstruction_losses
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import Lip2SpeechTrainingArguments, RunArguments, VocoderTrainingArguments
from .models import build_model, lip2speech_to_train

TIMED = 2  # updates, after a first one that chooses kernels and makes the optimiser's state


def seconds_per_update(lip2speech: Mapping[str, Any], vocoder: Mapping[str, Any], frames: int) -> list[float]:
    """Seconds of an update of the lip reader, and of the vocoder, without discriminators.

    Waiting for data, validation and saving are not in them.

    Args:
        lip2speech, vocoder: Settings of both stages, without data and output_dir.
        frames: Of a clip, at 25 per second.
    """
    return [_lip2speech(lip2speech, frames), _vocoder(vocoder)]


def _lip2speech(settings: Mapping[str, Any], frames: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = Lip2SpeechTrainingArguments(output_dir=folder, **settings)
    model, _ = lip2speech_to_train(args)
    config, clips = model.config, args.per_device_train_batch_size
    frames = min(frames, args.max_frames)
    units, crop = (clips, UNITS_PER_FRAME * frames), config.crop_size
    batch = {
        "pixel_values_videos": torch.randn(clips, frames, 1, crop, crop),
        "attention_mask": torch.ones(clips, frames, dtype=torch.int64),
        "speaker_embeddings": torch.randn(clips, config.speaker_embedding_dim),
        "unit_labels": torch.randint(config.num_units, units) + config.unit_offset,
        "mel_labels": torch.randn(clips, MEL_PER_FRAME * frames, config.num_mel_bins),
        "mel_attention_mask": torch.ones(clips, MEL_PER_FRAME * frames, dtype=torch.int64),
    }
    batch = {name: value.to(args.device) for name, value in batch.items()}
    return _seconds(model, args, lambda: model(**batch).loss)


def _vocoder(settings: Mapping[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = VocoderTrainingArguments(output_dir=folder, **settings)
    generator = build_model(UnitVocoderModel, args.model, args.init_from)
    generator.apply_weight_norm()
    config, clips, units = generator.config, args.per_device_train_batch_size, args.segment_units
    given = {
        "unit_ids": torch.randint(config.num_units, (clips, units)),
        "spectrogram": torch.randn(clips, 2 * units, config.num_mel_bins),
        "speaker_embeddings": torch.randn(clips, config.speaker_embedding_dim),
    }
    if config.generator_type == "istft":
        given["f0"] = torch.full((clips, 2 * units), 120.0)
    given = {name: value.to(args.device) for name, value in given.items()}
    waveform = torch.rand(clips, SAMPLES_PER_UNIT * units, device=args.device) - 0.5
    batch = given | {"waveform": waveform, "predicted": torch.zeros(clips, dtype=torch.bool).to(args.device)}
    mel_losses = [LogMelLoss(size, size // 4).to(args.device) for size in args.mel_loss_windows]
    return _seconds(
        generator, args, lambda: reconstruction_losses(generator(**given), batch, mel_losses, args, 0)[1]
    )


def _seconds(model: torch.nn.Module, args: RunArguments, loss_of: Callable[[], torch.Tensor]) -> float:
    model.to(args.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    times = []
    for _ in range(1 + TIMED):
        begin = time.perf_counter()
        with torch.autocast(args.device.type, torch.bfloat16, enabled=bool(args.bf16)):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sum(times[1:]) / TIMED
