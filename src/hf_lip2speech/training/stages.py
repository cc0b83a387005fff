"""The trainings on a prepared folder, from their settings to the trainer; examples/*.py run them."""

import inspect
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from accelerate import Accelerator, PartialState
from accelerate.utils import set_seed
from omegaconf import OmegaConf
from transformers import PreTrainedConfig, PreTrainedModel

from ..composite import feature_extractor_for
from ..constants import CLIP_MEAN, CLIP_STD
from ..data.augmentation import VideoAugmentation
from ..data.collation import VocoderSegmentCollator
from ..data.prepared import prepared_split
from ..data.sampling import AugmentedDataset, PredictedClips, VocoderSegmentDataset
from ..errors import ConfigError, Lip2SpeechError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import model_source, states_type
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.configuration_lip2speech_with_vocoder import SHARED_SIZES
from ..models.discriminators import Discriminators
from ..models.modeling_avhubert import AVHubertModel
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_mel_flow import MelFlowModel
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .arguments import (
    Lip2SpeechTrainingArguments,
    MelFlowTrainingArguments,
    TrainerArguments,
    VocoderTrainingArguments,
)
from .checkpoints import checkpoint_to_resume, checkpoints
from .config import build_arguments, check_keys, checked, readable_values, save_settings
from .lip2speech_trainer import Lip2SpeechTrainer
from .mel_flow_trainer import MelFlowTrainer
from .predictions import StoredPredictions, predict
from .vocoder_augmentation import MelAugmentation
from .vocoder_trainer import VocoderTrainer, start

# modules that a setting adds to a saved model
ADDED = {
    "text_vocabulary": "text_head.",
    "text_conditioner_size": "text_conditioner.",
    "voice_from_face": "face_voice_head.",
}
Model = TypeVar("Model", bound=PreTrainedModel)
LIP2SPEECH_FIELDS = ("mel", "unit_ids", "speaker_embeddings", "text", "word_times")
VOCODER_FIELDS = ("mel", "unit_ids", "speaker_embeddings", "waveform")


def known_fields(model_config: type[PreTrainedConfig]) -> set[str]:
    """The fields that a model's config adds to those of every config of transformers."""
    package = __name__.partition(".")[0]
    own = [parent for parent in model_config.__mro__ if parent.__module__.partition(".")[0] == package]
    return {name for parent in own for name in inspect.get_annotations(parent)} - {"model_type"}


def build_model(kind: type[Model], fields: dict, init_from: str | Path | None) -> Model:
    """A new model with these config fields, or a saved model with its fields changed by them. Parts that it
    lacks and they add have new weights: a text head (`text_vocabulary`), text conditioning, a head for voices
    (`voice_from_face`), another front end (`num_visual_units`).

    Args:
        init_from: `bundled`, a folder or a Hub repository; a composite gives the part of this kind.

    Raises:
        ConfigError: an unknown field, or init_from holds no such model.
    """
    config_class = kind.config_class
    check_keys(fields, known_fields(config_class), prefix="model.")
    if init_from is None:
        with readable_values("model."):
            return kind(config_class(**fields))
    source = model_source(str(init_from))
    try:
        found, _ = PreTrainedConfig.get_config_dict(source)
    except OSError as error:
        raise ConfigError(f"init_from {init_from} cannot be loaded: {error}") from error
    part = found.get(kind.base_model_prefix, found)
    if not states_type(part, config_class):
        raise ConfigError(
            f"init_from {init_from} holds {found.get('model_type') or 'no config.json'}; expected a "
            f"{config_class.model_type} or a composite with one, such as RUN/best or `bundled`."
        )
    with readable_values("model."):
        forgotten = dict.fromkeys({"vocabulary"} & known_fields(config_class))  # it is to learn other words
        config = config_class.from_dict(part | forgotten | fields)
    added = tuple(module for field, module in ADDED.items() if fields.get(field) and not part.get(field))
    if getattr(config, "num_visual_units", None) != part.get("num_visual_units"):
        added += ("frontend.",)  # pictures in place of visual units, or the other way round
    if not added:
        return kind.from_pretrained(source, config=config)
    loaded: Any = kind.from_pretrained(source, config=config, output_loading_info=True)
    model, report = loaded
    if lost := sorted(name for name in report["missing_keys"] if not name.startswith(added)):
        raise ConfigError(f"The weights in init_from {init_from} are incomplete: {lost[0]} is missing.")
    return model


def lip2speech_to_train(
    args: Lip2SpeechTrainingArguments, checkpoint: Path | None = None
) -> tuple[Lip2SpeechModel, Lip2SpeechFeatureExtractor]:
    """The model of stage 1, with the AV-HuBERT in args.encoder if one is given, and its feature extractor:
    that of `init_from`; for a new model one that brings every clip to the same light.

    Args:
        checkpoint: Take sizes from this checkpoint of the run, which is to be resumed.

    Raises:
        ConfigError: see `build_model`; or args.encoder holds no AV-HuBERT.
    """
    set_seed(args.seed)
    source = checkpoint or args.init_from
    if source is not None or args.encoder is None:
        model = build_model(Lip2SpeechModel, args.model, source)
    else:
        check_keys(args.model, known_fields(Lip2SpeechConfig) - {"encoder"}, prefix="model.")
        try:
            encoder = AVHubertModel.from_pretrained(args.encoder)
        except (OSError, Lip2SpeechError) as error:
            raise ConfigError(f"encoder {args.encoder} cannot be loaded: {error}") from error
        model = Lip2SpeechModel.with_encoder(encoder, **args.model)
    if source is None:
        light = {"clip_mean": CLIP_MEAN, "clip_std": CLIP_STD}
        return model, Lip2SpeechFeatureExtractor(crop_size=model.config.crop_size, **light)
    return model, feature_extractor_for(source, model)


def lip2speech_trainer(
    args: Lip2SpeechTrainingArguments, checkpoint: Path | None = None
) -> Lip2SpeechTrainer:
    """Stage 1: silent video -> speech units and mel.

    Args:
        args: The settings, with the prepared folder.
        checkpoint: That of `checkpoint_to_resume`; `train` takes it as well.

    Raises:
        ConfigError, DatasetError: settings or data that cannot work.
    """
    augmentation = checked(VideoAugmentation, args.augmentation, "augmentation.")
    model, extractor = lip2speech_to_train(args, checkpoint)
    fields = (input_field(model), *LIP2SPEECH_FIELDS)
    with_sound = (*fields, "waveform")
    heard = with_sound if args.intelligibility_loss_weight else fields
    train = prepared_split(args.data, "train", fields=heard, cache=args.cache)
    val = prepared_split(args.data, "val", fields=with_sound, cache=args.cache)
    if model.config.num_visual_units is not None:
        augmentation = None  # which changes pictures
    return Lip2SpeechTrainer(
        model,
        args,
        AugmentedDataset(
            train, augmentation, max_frames=args.max_frames, seed=args.seed, extractor=extractor
        ),
        AugmentedDataset(val, None, max_frames=None, extractor=extractor),
        extractor,
        vocoder=speaking_vocoder(args),
    )


def input_field(model: Lip2SpeechModel) -> str:
    """What of the prepared data a model reads."""
    return "frames" if model.config.num_visual_units is None else "visual_units"


def speaking_vocoder(args: TrainerArguments) -> UnitVocoderModel | None:
    """The trained vocoder that is given, for validation samples and what is learnt through it."""
    return None if args.vocoder is None else UnitVocoderModel.from_pretrained(args.vocoder)


def vocoder_trainer(args: VocoderTrainingArguments) -> VocoderTrainer:
    """Stage 2: speech units and mel -> sound; args.lip2speech predicts what it is given in half of the time.

    Raises:
        ConfigError, DatasetError: settings or data that cannot work.
    """
    accelerator = start(args)
    generator = build_model(UnitVocoderModel, args.model, args.init_from)
    discriminators = checked(Discriminators, args.discriminators, "discriminators.")
    augmentation = None
    if args.mel_augmentation is not None:
        augmentation = checked(MelAugmentation, args.mel_augmentation, "mel_augmentation.")
    train = prepared_split(args.data, "train", fields=VOCODER_FIELDS, cache=args.cache)
    val = prepared_split(args.data, "val", fields=VOCODER_FIELDS, cache=args.cache)
    predictions, max_av_offset = None, 0
    if args.lip2speech is not None:
        lip2speech = Lip2SpeechModel.from_pretrained(args.lip2speech).to(accelerator.device).eval()
        predictions = predictions_of(lip2speech, args, "train", accelerator)
        max_av_offset = lip2speech.config.max_av_offset
    return VocoderTrainer(
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
        VocoderSegmentDataset(val, segment_units=None),
        VocoderSegmentCollator(generator.config.num_units),
        max_av_offset,
    )


def predictions_of(
    lip2speech: Lip2SpeechModel,
    args: VocoderTrainingArguments | MelFlowTrainingArguments,
    split: str,
    accelerator: Accelerator | PartialState,
) -> StoredPredictions:
    """What `lip2speech`, loaded from args.lip2speech, predicts of a split; of "train" with augmentation."""
    frames = prepared_split(args.data, split, fields=(input_field(lip2speech), "speaker_embeddings"))
    extractor = feature_extractor_for(args.lip2speech, lip2speech)
    augmented = split == "train" and lip2speech.config.num_visual_units is None
    augmentation = VideoAugmentation() if augmented else None
    clips = AugmentedDataset(frames, augmentation, max_frames=None, seed=args.seed, extractor=extractor)
    folder = Path(args.output_dir) / ("predictions" if split == "train" else f"predictions_{split}")
    workers = args.dataloader_num_workers
    return predict(lip2speech, clips, folder, accelerator, workers=workers, split=split)


def mel_flow_trainer(args: MelFlowTrainingArguments, checkpoint: Path | None = None) -> MelFlowTrainer:
    """Stage 3: what args.lip2speech predicts -> a sampled mel.

    Args:
        args: The settings, with the prepared folder.
        checkpoint: That of `checkpoint_to_resume`; `train` takes it as well.

    Raises:
        ConfigError, DatasetError: settings or data that cannot work.
    """
    lip2speech = Lip2SpeechModel.from_pretrained(args.lip2speech).to(args.device).eval()
    set_seed(args.seed)
    sizes = {name: getattr(lip2speech.config, name) for name in SHARED_SIZES}
    model = build_model(MelFlowModel, sizes | args.model, checkpoint or args.init_from)
    datasets = []
    for split in ("train", "val"):
        clips = prepared_split(args.data, split, fields=("mel", "speaker_embeddings"), cache=args.cache)
        datasets.append(
            PredictedClips(
                clips,
                predictions_of(lip2speech, args, split, args.distributed_state or PartialState()),
                max_frames=args.max_frames if split == "train" else None,
                max_av_offset=lip2speech.config.max_av_offset,
                seed=args.seed,
            )
        )
    return MelFlowTrainer(model, args, *datasets, vocoder=speaking_vocoder(args))


def train_stage(
    kind: type[Lip2SpeechTrainingArguments] | type[VocoderTrainingArguments],
    settings: Mapping[str, Any],
    on_update: Callable[[int], Any] = lambda step: None,
) -> None:
    """Train one stage in this process to its end, from the latest checkpoint in output_dir if there is one.

    Args:
        kind: Which stage.
        settings: Names and values, as a configuration file has them.
        on_update: Called after each update (of one micro-batch) with the number of updates.

    Raises:
        SystemExit: (128 + signal) after SIGTERM or Ctrl-C, with a checkpoint.
        ConfigError, DatasetError, TrainingError: see the trainers.
    """
    values = OmegaConf.create(dict(settings))
    args: Any = build_arguments(kind, values)
    checkpoint = checkpoint_to_resume(args, resume=bool(checkpoints(args.output_dir)))
    is_lip2speech = kind is Lip2SpeechTrainingArguments
    trainer = lip2speech_trainer(args, checkpoint) if is_lip2speech else vocoder_trainer(args)
    save_settings(values, trainer.accelerator)
    done = itertools.count(int(checkpoint.name.partition("-")[2]) + 1 if checkpoint else 1)
    trainer.meter.on_batch = lambda: on_update(next(done))
    trainer.train(resume_from_checkpoint=checkpoint)
