"""What an update of each training costs here, measured on random input before there is any data."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..constants import MEL_PER_FRAME, SAMPLES_PER_UNIT, UNITS_PER_FRAME
from ..data.collation import VocoderSegmentCollator
from ..models.discriminators import Discriminators
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
from .models import build_model, lip2speech_to_train
from .vocoder_trainer import VocoderTrainer, start

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
    config, device, clips = model.config, args.device, args.per_device_train_batch_size
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
    batch = {name: value.to(device) for name, value in batch.items()}
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)

    def update() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return _seconds(update)


def _vocoder(settings: Mapping[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        args = VocoderTrainingArguments(output_dir=folder, **settings)
        accelerator = start(args)
        generator = build_model(UnitVocoderModel, args.model, args.init_from)
        config, units = generator.config, args.segment_units
        segment = {
            "unit_ids": torch.randint(config.num_units, (units,)),
            "spectrogram": torch.randn(2 * units, config.num_mel_bins),
            "speaker_embeddings": torch.randn(config.speaker_embedding_dim),
            "waveform": torch.rand(SAMPLES_PER_UNIT * units) - 0.5,
            "predicted": torch.tensor(False),
        }
        if config.generator_type == "istft":
            segment["f0"] = torch.full((2 * units,), 120.0)
        segments: Any = [segment] * args.per_device_train_batch_size
        collate = VocoderSegmentCollator(config.num_units)
        discriminators = Discriminators(**args.discriminators)
        data = (segments, segments[:1], collate)
        trainer = VocoderTrainer(args, accelerator, generator, discriminators, *data)
    batch = {name: value.to(accelerator.device) for name, value in collate(segments).items()}
    return _seconds(lambda: trainer.training_step(batch, 0))


def _seconds(update: Callable[[], Any]) -> float:
    times = []
    for _ in range(1 + TIMED):
        begin = time.perf_counter()
        update()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return sum(times[1:]) / TIMED
