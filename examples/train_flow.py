r"""Train stage 3, a lip-to-speech model's predicted mel -> a sampled mel, on a prepared folder.

    accelerate launch --config_file examples/accelerate/cpu.yaml examples/train_flow.py CONFIG.yaml \
        [key=value ...]

`python` instead of `accelerate launch ...` trains in one process.
"""

from hf_lip2speech_extras import needs_extra

with needs_extra("train"):
    from hf_lip2speech.training.arguments import MelFlowTrainingArguments
    from hf_lip2speech.training.checkpoints import checkpoint_to_resume
    from hf_lip2speech.training.config import parse_command_line, run_command, save_settings
    from hf_lip2speech.training.stages import mel_flow_trainer


def main(argv=None):
    args, settings, resume = parse_command_line(MelFlowTrainingArguments, __doc__, argv)
    checkpoint = checkpoint_to_resume(args, resume)
    trainer = mel_flow_trainer(args, checkpoint)  # predictions, data sets, model
    save_settings(settings, trainer.accelerator)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


if __name__ == "__main__":
    run_command(main)
