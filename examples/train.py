"""Train stage 1, silent video -> speech units and mel, on a prepared folder.

    accelerate launch --config_file examples/accelerate/cpu.yaml examples/train.py CONFIG.yaml [key=value ...]

`python` instead of `accelerate launch ...` trains in one process.
"""

import torch

from hf_lip2speech.extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.data.augmentation import VideoAugmentation
    from hf_lip2speech.data.prepared import prepared_split
    from hf_lip2speech.data.sampling import AugmentedDataset
    from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
    from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments
    from hf_lip2speech.training.checkpoints import checkpoint_to_resume
    from hf_lip2speech.training.config import checked, parse_command_line, run_command, save_settings
    from hf_lip2speech.training.lip2speech_trainer import Lip2SpeechTrainer
    from hf_lip2speech.training.models import lip2speech_to_train

FIELDS = ("frames", "mel", "unit_ids", "speaker_embeddings", "text", "word_times")


def main(argv=None):
    args, settings, resume = parse_command_line(Lip2SpeechTrainingArguments, __doc__, argv)
    checkpoint = checkpoint_to_resume(args, resume)
    augmentation = checked(VideoAugmentation, args.augmentation, "augmentation.")
    train = prepared_split(args.data, "train", fields=FIELDS, cache=args.cache)
    val = prepared_split(args.data, "val", fields=(*FIELDS, "waveform"), cache=args.cache)
    model, extractor = lip2speech_to_train(args, checkpoint)
    trainer = Lip2SpeechTrainer(
        model,
        args,
        AugmentedDataset(
            train, augmentation, max_frames=args.max_frames, seed=args.seed, extractor=extractor
        ),
        AugmentedDataset(val, None, max_frames=None, extractor=extractor),
        extractor,
        voice=speaking_vocoder(args.vocoder, args.device) if args.vocoder else None,
    )
    save_settings(settings, trainer.accelerator)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def speaking_vocoder(name, device):
    """A trained unit vocoder that speaks the validation samples."""
    vocoder = UnitVocoderModel.from_pretrained(name).to(device).eval()

    def speak(unit_ids, spectrogram, speaker_embedding):
        with torch.no_grad():
            return vocoder(unit_ids[None], spectrogram[None], speaker_embedding[None]).waveform[0]

    return speak


if __name__ == "__main__":
    run_command(main)
