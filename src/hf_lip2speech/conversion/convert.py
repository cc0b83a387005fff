"""Published checkpoints -> models of this package, tensor by tensor; and the vocoder's way back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from ..cards import converted_card
from ..composite import feature_extractor_for, save_beside_weights, save_composite
from ..constants import NUM_MEL_BINS, SAMPLES_PER_UNIT, SAMPLING_RATE
from ..errors import CheckpointError, Lip2SpeechError
from ..files import new_folder
from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_unit_vocoder import UnitVocoderConfig
from ..models.convolution import fold_weight_norm
from ..models.modeling_avhubert import AVHubertModel
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_lip2speech_with_vocoder import Embedding, Lip2SpeechWithVocoder
from ..models.modeling_unit_vocoder import UnitVocoderModel
from .names import avhubert_names, lip2speech_names, vocoder_names
from .published import Kind, PublishedFile, read_published

PUBLISHED_VOCODER = "g_00000000"  # the published code looks for g_ and eight digits
_NAMED = 10  # tensors that an error names of each sort of mistake


_LIP2SPEECH = (  # for cards: the paper, and where its code and weights are
    'Choi, Kim, Ro, "Intelligible Lip-to-Speech Synthesis with Speech Units", Interspeech 2023 '
    "([arXiv 2305.19603](https://arxiv.org/abs/2305.19603))",
    "https://github.com/choijeongsoo/lip2speech-unit",
)
_AVHUBERT = (
    'Shi, Hsu, Lakhotia, Mohamed, "Learning Audio-Visual Speech Representation by Masked Multimodal Cluster '
    'Prediction", ICLR 2022 ([arXiv 2201.02184](https://arxiv.org/abs/2201.02184))',
    "https://github.com/facebookresearch/av_hubert",
)


@dataclass(frozen=True)
class Conversion:
    """A published checkpoint and the model that was made of it: float32, on the CPU, in eval mode.

    `file` is None where the source was a model of this package already; `dropped` are the published names of
    the tensors that no model here has.
    """

    kind: Kind
    model: Any
    file: PublishedFile | None
    dropped: list[str]
    source: str | Path

    def card_lines(self) -> dict[str, str]:
        """What a card says of the file and of its tensors."""
        name = Path(self.source).name
        if self.file is None:
            return {
                "file": f"{name}, converted before: {self.kind.value}",
                "tensors": f"{name}: see its own card",
            }
        with self.file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        size, tensors = self.file.path.stat().st_size, len(self.file.tensors)
        names = ", ".join(f"`{dropped}`" for dropped in self.dropped)
        left_out = f"; dropped, because only pre-training needs them: {names}" if names else ""
        return {
            "file": f"{name} ({size:,} bytes, SHA-256 {digest}): {self.kind.value}",
            "tensors": f"{name}: {tensors - len(self.dropped)} of {tensors} tensors used{left_out}",
        }


def convert(source: str | Path, destination: str | Path) -> Conversion:
    """Write a published checkpoint as a folder that `from_pretrained` loads, with a card, or write nothing.

    Args:
        source: the file, of any of the four kinds; a vocoder's config.json beside it.
        destination: a folder that does not exist.

    Raises:
        CheckpointError: see `load_published`.
        Lip2SpeechError: `destination` exists.
    """
    with new_folder(destination) as folder:
        conversion = load_published(source)
        conversion.model.save_pretrained(folder)
        if conversion.kind is not Kind.VOCODER:
            save_beside_weights(folder, feature_extractor_for(None, conversion.model))
        _write_card(folder, conversion.kind.value, conversion, model_class=type(conversion.model).__name__)
    return conversion


def convert_composite(
    lip2speech: str | Path,
    vocoder: str | Path,
    destination: str | Path,
    voices: Mapping[str, Embedding] | None = None,
    default_voice: str | None = None,
) -> list[Conversion]:
    """Write a lip-to-speech model and a vocoder as the one folder that the pipeline loads, with a card.

    Args:
        lip2speech, vocoder: published files, or folders or Hub names of models of this package.
        destination: a folder that does not exist.
        voices, default_voice: as of `Lip2SpeechWithVocoder.set_voices`; the first voice is the default.

    Returns:
        Both parts.

    Raises:
        CheckpointError: see `load_published`; or a file holds another kind of model.
        Lip2SpeechError: `destination` exists, or the models do not fit together.
    """
    default_voice = default_voice or next(iter(voices or ()), None)
    with new_folder(destination) as folder:
        parts = [_part(lip2speech, Lip2SpeechModel), _part(vocoder, UnitVocoderModel)]
        model = Lip2SpeechWithVocoder.from_parts(parts[0].model, parts[1].model, voices, default_voice)
        source = None if parts[0].file else lip2speech
        save_composite(model, folder, feature_extractor_for(source, model))
        _write_card(folder, "multi-target lip-to-speech model with vocoder", *parts, has_voice=bool(voices))
    return parts


def _part(source: str | Path, model_class: Any) -> Conversion:
    if not Path(source).is_file():
        model = model_class.from_pretrained(source)
        kind = Kind.VOCODER
        if isinstance(model, Lip2SpeechModel):
            kind = Kind.LIP2SPEECH if model.config.encoder is None else Kind.LIP2SPEECH_AVHUBERT
        return Conversion(kind, model, None, [], source)
    conversion = load_published(source)
    if not isinstance(conversion.model, model_class):
        expected = f"{Kind.LIP2SPEECH.value} and a {Kind.VOCODER.value}"
        raise CheckpointError(
            f"{source} holds a {conversion.kind.value}; expected, in this order, a {expected}."
        )
    return conversion


def _write_card(folder: Path, title: str, *parts: Conversion, **options: Any) -> None:
    papers: list[tuple[str, str]] = []
    for part in parts:
        papers += [_LIP2SPEECH] if part.kind is not Kind.AVHUBERT else []
        papers += [_AVHUBERT] if part.kind in (Kind.AVHUBERT, Kind.LIP2SPEECH_AVHUBERT) else []
    lines = [part.card_lines() for part in parts]
    card = converted_card(title[:1].upper() + title[1:], list(dict.fromkeys(papers)), lines, **options)
    (folder / "README.md").write_text(card, encoding="utf-8")


def load_published(source: str | Path) -> Conversion:
    """The model that a published checkpoint holds.

    Raises:
        CheckpointError: the file is of no known kind, or a tensor of it is missing, unknown or mis-shaped;
            the message names it. UnsafeCheckpointError: it would run code.
    """
    file = read_published(source)
    try:
        model, names = _empty_model(file)
    except Lip2SpeechError:
        raise
    except (StrictDataclassError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        known, problem = file.kind.value, " ".join(str(error).split())
        raise CheckpointError(f"{file.path} is a {known}, but its sizes are impossible: {problem}") from error
    _check(file, names, _published_shapes(names, model))
    for name, value in file.tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CheckpointError(f"{file.path} is damaged: {name} holds numbers that are not finite.")
    kept = {ours: file.tensors[theirs] for theirs, ours in names.items() if ours is not None}
    if file.kind is Kind.VOCODER:
        kept = fold_weight_norm(kept)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    weights = {
        # A pointwise convolution is a linear layer here, without the kernel's dimension of 1.
        name: (value.float() if value.is_floating_point() else value).reshape(shapes[name]).clone()
        for name, value in kept.items()
    }
    model.load_state_dict(weights, assign=True)
    dropped = sorted(name for name in file.tensors if names[name] is None)
    return Conversion(file.kind, model.eval(), file, dropped, source)


def _empty_model(file: PublishedFile) -> tuple[PreTrainedModel, dict[str, str | None]]:
    """A model of the file's sizes without memory behind it, and how the file calls its tensors."""
    config = file.config()
    with torch.device("meta"), no_init_weights():
        if isinstance(config, UnitVocoderConfig):
            normed = any(name.endswith(".weight_g") for name in file.tensors)
            vocoder = UnitVocoderModel(config)
            return vocoder, dict(vocoder_names(vocoder, weight_norm=normed))
        if isinstance(config, AVHubertConfig):
            avhubert = AVHubertModel(config)
            return avhubert, avhubert_names(avhubert)
        model = Lip2SpeechModel(config)
        return model, lip2speech_names(model)


def _published_shapes(names: Mapping[str, str | None], model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """The shape that each published tensor must have; dropped ones may have any."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    published = {}
    for theirs, ours in names.items():
        if ours is None:
            continue
        if ours.endswith(".weight_g"):
            plain = shapes[ours.removesuffix("_g")]
            published[theirs] = (plain[0], *[1] * (len(plain) - 1))
        elif ours.endswith(".weight_v"):
            published[theirs] = shapes[ours.removesuffix("_v")]
        elif theirs.endswith((".pointwise_cov1.weight", ".pointwise_cov2.weight")):
            published[theirs] = (*shapes[ours], 1)
        else:
            published[theirs] = shapes[ours]
    return published


def _check(file: PublishedFile, names: Mapping[str, str | None], shapes: dict[str, tuple[int, ...]]) -> None:
    """Raise a CheckpointError that names what the file lacks, has too much, or has in another shape."""
    mistakes = {
        "lacks": [name for name in shapes if name not in file.tensors],
        "holds the unknown": [name for name in file.tensors if name not in names],
        "has in another shape": [
            f"{name} {tuple(file.tensors[name].shape)} (expected {shape})"
            for name, shape in shapes.items()
            if name in file.tensors and tuple(file.tensors[name].shape) != shape
        ],
        "has of another type": [
            f"{name} ({file.tensors[name].dtype})"
            for name in shapes
            if name in file.tensors
            and file.tensors[name].is_floating_point() == name.endswith("num_batches_tracked")
        ],
    }
    told = []
    for mistake, tensors in mistakes.items():
        if tensors:
            more = f" and {len(tensors) - _NAMED} more" if len(tensors) > _NAMED else ""
            told.append(f"{mistake} {', '.join(tensors[:_NAMED])}{more}")
    if told:
        raise CheckpointError(
            f"{file.path} was recognised as a {file.kind.value}, but it {'; it '.join(told)}. Expected "
            "every tensor of that model and no other. Nothing was written."
        )


def to_published(source: str | Path, destination: str | Path) -> Path:
    """Write a vocoder as the published code reads it: {"generator": weights with weight norm}, config.json.

    Args:
        source: folder or Hub repository of a `UnitVocoderModel`, or of a composite, whose vocoder is taken.
        destination: a folder that does not exist.

    Returns:
        The checkpoint file in it. Converted again, it gives the same weights, bit by bit.

    Raises:
        CheckpointError: the vocoder is not a HiFi-GAN, the only kind that the published code reads.
    """
    model = UnitVocoderModel.from_pretrained(source, dtype=torch.float32)
    config = cast(UnitVocoderConfig, model.config)
    if config.generator_type != "hifigan":
        raise CheckpointError(
            f'The vocoder in {source} has generator_type "{config.generator_type}", which the published code '
            'does not know; expected "hifigan".'
        )
    plain = {ours: model.get_parameter(ours).detach() for ours in vocoder_names(model).values()}
    generator = {}
    for theirs, ours in vocoder_names(model, weight_norm=True).items():
        if ours.endswith(".weight_g"):
            weight = plain[ours.removesuffix("_g")]
            generator[theirs] = _magnitude(weight)
        elif ours.endswith(".weight_v"):
            weight = plain[ours.removesuffix("_v")]
            # A filter of zeros has no direction: any will do, times its magnitude of 0.
            generator[theirs] = torch.where(_magnitude(weight) == 0, torch.ones_like(weight), weight)
        else:
            generator[theirs] = plain[ours].clone()
    with new_folder(destination) as folder:
        torch.save({"generator": generator}, folder / PUBLISHED_VOCODER)
        text = json.dumps(_published_settings(config), indent=4) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")
    return Path(destination) / PUBLISHED_VOCODER


def _magnitude(weight: torch.Tensor) -> torch.Tensor:
    """The norm of each filter as `fold_weight_norm` computes it, which then multiplies by exactly 1."""
    return torch.linalg.vector_norm(weight, dim=(1, 2), keepdim=True)


def _published_settings(config: UnitVocoderConfig) -> dict[str, object]:
    """The published config.json's entries that describe the model; its trainings' own are not known here."""
    return {
        "resblock": "1",
        "upsample_rates": config.upsample_rates,
        "upsample_kernel_sizes": config.upsample_kernel_sizes,
        "upsample_initial_channel": config.upsample_initial_channel,
        "resblock_kernel_sizes": config.resblock_kernel_sizes,
        "resblock_dilation_sizes": config.resblock_dilation_sizes,
        "num_embeddings": config.num_units,
        "embedding_dim": config.unit_embedding_dim,
        "model_in_dim": config.input_channels,
        "code_hop_size": SAMPLES_PER_UNIT,
        "num_mels": NUM_MEL_BINS,
        "sampling_rate": SAMPLING_RATE,
    }
