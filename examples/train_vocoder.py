r"""Train stage 2, speech units and mel -> sound, on a prepared folder.

    accelerate launch --config_file examples/accelerate/cpu.yaml examples/train_vocoder.py CONFIG.yaml \
        [key=value ...]

`python` instead of `accelerate launch ...` trains in one process.
"""

from pathlib import Path

from hf_lip2speech.extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.composite import feature_extractor_for
    from hf_lip2speech.data.augmentation import VideoAugmentation
    from hf_lip2speech.data.collation import VocoderSegmentCollator
    from hf_lip2speech.data.prepared import prepared_split
    from hf_lip2speech.data.sampling import AugmentedDataset, VocoderSegmentDataset, WholeClips
    from hf_lip2speech.models.discriminators import Discriminators
    from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
    from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
    from hf_lip2speech.training.arguments import VocoderTrainingArguments
    from hf_lip2speech.training.checkpoints import checkpoint_to_resume
    from hf_lip2speech.training.config import checked, parse_command_line, run_command, save_settings
    from hf_lip2speech.training.models import build_model
    from hf_lip2speech.training.predictions import predict
    from hf_lip2speech.training.vocoder_augmentation import MelAugmentation
    from hf_lip2speech.training.vocoder_trainer import VocoderTrainer, start

FIELDS = ("mel", "unit_ids", "speaker_embeddings", "waveform")


def main(argv=None):
    args, settings, resume = parse_command_line(VocoderTrainingArguments, __doc__, argv)
    checkpoint = checkpoint_to_resume(args, resume)
    accelerator = start(args)
    generator = build_model(UnitVocoderModel, args.model, args.init_from)
    discriminators = checked(Discriminators, args.discriminators, "discriminators.")
    augmentation = None
    if args.mel_augmentation is not None:
        augmentation = checked(MelAugmentation, args.mel_augmentation, "mel_augmentation.")
    train = prepared_split(args.data, "train", fields=FIELDS, cache=args.cache)
    val = prepared_split(args.data, "val", fields=FIELDS, cache=args.cache)
    predictions, max_av_offset = None, 0
    if args.lip2speech is not None:
        lip2speech = Lip2SpeechModel.from_pretrained(args.lip2speech).to(accelerator.device).eval()
        frames = prepared_split(args.data, "train", fields=("frames", "speaker_embeddings"))
        extractor = feature_extractor_for(args.lip2speech, lip2speech)
        clips = AugmentedDataset(
            frames, VideoAugmentation(), max_frames=None, seed=args.seed, extractor=extractor
        )
        folder, workers = Path(args.output_dir) / "predictions", args.dataloader_num_workers
        predictions = predict(lip2speech, clips, folder, accelerator, workers=workers)
        max_av_offset = lip2speech.config.max_av_offset
    trainer = VocoderTrainer(
        args,
        accelerator,
        generator,
        discriminators,
        VocoderSegmentDataset(
            train,
            segment_units=args.segment_units,
            augmentation=augmentation,
            predictions=predictions,
            pitch=generator.config.generator_type == "istft",
            seed=args.seed,
        ),
        WholeClips(val),
        VocoderSegmentCollator(),
        max_av_offset,
    )
    save_settings(settings, accelerator)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


if __name__ == "__main__":
    run_command(main)
