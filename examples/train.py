"""Train stage 1, silent video -> speech units and mel, on a prepared folder.

    accelerate launch examples/train.py examples/configs/grid_s1.yaml
    accelerate launch examples/train.py CONFIG [--resume] [--init-from DIR] [key.sub=value ...]

`python` instead of `accelerate launch` trains in one process. Settings: hf_lip2speech.training.config.
"""

import torch

from hf_lip2speech.data.augmentation import VideoAugmentation
from hf_lip2speech.data.collation import Lip2SpeechCollator
from hf_lip2speech.data.prepared import prepared_split
from hf_lip2speech.data.sampling import AugmentedDataset
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.arguments import checked, lip2speech_to_train, parse_arguments
from hf_lip2speech.training.config import Lip2SpeechTrainingConfig
from hf_lip2speech.training.lip2speech_stage import Lip2SpeechStage
from hf_lip2speech.training.loop import start, train

FIELDS = ("frames", "mel", "unit_ids", "speaker_embeddings")


def main(argv=None):
    config, arguments = parse_arguments(Lip2SpeechTrainingConfig, __doc__, argv)
    accelerator = start(config)

    model = lip2speech_to_train(config)
    augmentation = checked(VideoAugmentation, config.augmentation, "augmentation.")
    clips = prepared_split(config.data, "train", fields=FIELDS, cache=config.cache)
    train_data = AugmentedDataset(clips, augmentation, max_frames=config.max_frames, seed=config.seed)
    clips = prepared_split(config.data, "val", fields=(*FIELDS, "waveform"), cache=config.cache)
    validation_data = AugmentedDataset(clips, None, max_frames=None)

    stage = Lip2SpeechStage(
        config,
        accelerator,
        model,
        train_data,
        validation_data,
        Lip2SpeechCollator(model.config),
        extras=(Lip2SpeechFeatureExtractor(),),
        voice=vocoder_voice(config.vocoder, accelerator.device) if config.vocoder else None,
    )
    return train(stage, config, accelerator, resume=arguments.resume)


def vocoder_voice(path, device):
    """A trained unit vocoder to speak the validation samples with."""
    vocoder = UnitVocoderModel.from_pretrained(path).to(device).eval()

    def speak(unit_ids, spectrogram, speaker_embedding):
        with torch.no_grad():
            return vocoder(unit_ids[None], spectrogram[None], speaker_embedding[None]).waveform[0]

    return speak


if __name__ == "__main__":
    main()
