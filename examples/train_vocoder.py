r"""Train stage 2, speech units and mel -> sound, on a prepared folder.

    accelerate launch --config_file examples/accelerate/cpu.yaml examples/train_vocoder.py CONFIG.yaml \
        [key=value ...]

`python` instead of `accelerate launch ...` trains in one process.
"""

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.training.arguments import VocoderTrainingArguments
    from hf_lip2speech.training.checkpoints import checkpoint_to_resume
    from hf_lip2speech.training.config import parse_command_line, run_command, save_settings
    from hf_lip2speech.training.stages import vocoder_trainer


def main(argv=None):
    args, settings, resume = parse_command_line(VocoderTrainingArguments, __doc__, argv)
    checkpoint = checkpoint_to_resume(args, resume)
    trainer = vocoder_trainer(args)  # data sets, generator, discriminators
    save_settings(settings, trainer.accelerator)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


if __name__ == "__main__":
    run_command(main)
