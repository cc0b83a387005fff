"""Train stage 2, speech units and mel -> sound, on a prepared folder.

    accelerate launch examples/train_vocoder.py examples/configs/grid_s1_vocoder.yaml
    accelerate launch examples/train_vocoder.py CONFIG [--resume] [--init-from DIR] [key.sub=value ...]

`python` instead of `accelerate launch` trains in one process. Settings: hf_lip2speech.training.config.
"""

from hf_lip2speech.data.augmentation import VideoAugmentation
from hf_lip2speech.data.collation import VocoderSegmentCollator
from hf_lip2speech.data.prepared import prepared_split
from hf_lip2speech.data.sampling import AugmentedDataset, VocoderSegmentDataset
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.arguments import build_model, checked, parse_arguments
from hf_lip2speech.training.config import VocoderTrainingConfig
from hf_lip2speech.training.loop import start, train
from hf_lip2speech.training.predictions import predicted_inputs
from hf_lip2speech.training.vocoder_augmentation import MelAugmentation
from hf_lip2speech.training.vocoder_stage import Discriminators, VocoderStage, WholeClips

FIELDS = ("mel", "unit_ids", "speaker_embeddings", "waveform")


def main(argv=None):
    config, arguments = parse_arguments(VocoderTrainingConfig, __doc__, argv)
    accelerator = start(config)

    generator = build_model(UnitVocoderModel, UnitVocoderConfig, config)
    discriminators = checked(Discriminators, config.discriminators, "discriminators.")
    augmentation = None
    if config.mel_augmentation is not None:
        augmentation = checked(MelAugmentation, config.mel_augmentation, "mel_augmentation.")
    predictions, max_av_offset = None, 0
    if config.lip2speech is not None:
        lip2speech = Lip2SpeechModel.from_pretrained(config.lip2speech).to(accelerator.device).eval()
        clips = prepared_split(config.data, "train", fields=("frames", "speaker_embeddings"))
        clips = AugmentedDataset(clips, VideoAugmentation(), max_frames=None, seed=config.seed)
        predictions = predicted_inputs(lip2speech, clips, progress=accelerator.is_local_main_process)
        max_av_offset = lip2speech.config.max_av_offset
    train_data = VocoderSegmentDataset(
        prepared_split(config.data, "train", fields=FIELDS, cache=config.cache),
        segment_units=config.segment_units,
        augmentation=augmentation,
        predictions=predictions,
        seed=config.seed,
    )
    validation_data = WholeClips(prepared_split(config.data, "val", fields=FIELDS, cache=config.cache))

    collate = VocoderSegmentCollator()
    stage = VocoderStage(
        config, accelerator, generator, discriminators, train_data, validation_data, collate, max_av_offset
    )
    return train(stage, config, accelerator, resume=arguments.resume)


if __name__ == "__main__":
    main()
