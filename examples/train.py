"""Train stage 1, silent video -> speech units and mel, on a prepared folder.

    accelerate launch --config_file examples/accelerate/cpu.yaml examples/train.py CONFIG.yaml [key=value ...]

`python` instead of `accelerate launch ...` trains in one process.
"""

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments
    from hf_lip2speech.training.checkpoints import checkpoint_to_resume
    from hf_lip2speech.training.config import parse_command_line, run_command, save_settings
    from hf_lip2speech.training.stages import lip2speech_trainer


def main(argv=None):
    args, settings, resume = parse_command_line(Lip2SpeechTrainingArguments, __doc__, argv)
    checkpoint = checkpoint_to_resume(args, resume)
    trainer = lip2speech_trainer(args, checkpoint)  # data sets, model, feature extractor
    save_settings(settings, trainer.accelerator)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


if __name__ == "__main__":
    run_command(main)
