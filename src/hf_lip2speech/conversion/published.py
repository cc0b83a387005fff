"""A published file, read: which of four kinds it is, by the names in it, and the sizes of its model.

Where several tensors show a size, the most common value counts (the published one breaks a tie): a single
mis-shaped tensor is thus found instead of believed. Settings are read for what no shape shows.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..loading import json_object
from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.configuration_unit_vocoder import UnitVocoderConfig
from .names import AVHUBERT_PREFIX
from .unpickle import read_checkpoint, setting

Tensors = Mapping[str, torch.Tensor]

AVHUBERT_HEAD_SIZE = 64  # in Base (12 heads of 768) and Large (16 of 1024)
_HIFIGAN_DILATIONS = [1, 3, 5]


class Kind(Enum):
    """The four kinds, each with the name that messages and cards use."""

    LIP2SPEECH = "multi-target lip-to-speech model"
    LIP2SPEECH_AVHUBERT = "multi-target lip-to-speech model on AV-HuBERT"
    VOCODER = "multi-input vocoder"
    AVHUBERT = "AV-HuBERT pre-training model"


# The part of the checkpoint that holds the tensors, and beginnings of names that only this kind has.
_SIGNS = {
    Kind.VOCODER: ("generator", "resblocks.", "ups."),
    Kind.LIP2SPEECH: ("model", "encoder.encoder.frontend.", "encoder.proj_out.", "encoder.mel_"),
    Kind.LIP2SPEECH_AVHUBERT: ("model", AVHUBERT_PREFIX, "conformer."),
    Kind.AVHUBERT: ("model", "feature_extractor_video.", "encoder.layers."),
}


@dataclass(frozen=True)
class PublishedFile:
    """A published checkpoint, read: its kind, and its tensors by their published names.

    `settings` are the training's configuration (fairseq's `cfg`), or the vocoder's config.json; None where
    there is none. Read them with `setting`.
    """

    path: Path
    kind: Kind
    tensors: Tensors
    settings: Any

    def config(self) -> Lip2SpeechConfig | UnitVocoderConfig | AVHubertConfig:
        """The configuration of the model in it.

        Raises:
            CheckpointError: the settings describe another architecture, or do not say what no shape shows.
            Others: whatever the configs raise for sizes that no model can have.
        """
        if self.kind is Kind.VOCODER:
            return _vocoder_config(self)
        if self.kind is Kind.AVHUBERT:
            return _avhubert_config(self, self.tensors, self.settings)
        return _lip2speech_config(self)


def read_published(path: str | Path) -> PublishedFile:
    """Read a published checkpoint and tell its kind; nothing in it is run. A CheckpointError where it is none
    of the four kinds, or cannot be read; an UnsafeCheckpointError where it would run code."""
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder; expected the checkpoint file itself. Name the file in it: "
            f"{', '.join(sorted(entry.name for entry in path.iterdir())[:8]) or 'it is empty'}."
        )
    checkpoint = read_checkpoint(path)
    parts = checkpoint if isinstance(checkpoint, Mapping) else {}
    for kind, (part, *signs) in _SIGNS.items():
        tensors = parts.get(part)
        if not isinstance(tensors, Mapping):
            continue
        if not all(any(str(name).startswith(sign) for name in tensors) for sign in signs):
            continue
        for name, value in tensors.items():
            if not isinstance(value, torch.Tensor):
                raise CheckpointError(f"{path}: {name} is a {type(value).__name__}; expected a tensor.")
        settings = setting(parts, "cfg")
        if kind is Kind.VOCODER:
            config = path.parent / "config.json"
            settings = json_object(config) if config.is_file() else None
        return PublishedFile(path, kind, {str(name): value for name, value in tensors.items()}, settings)
    names = [str(name) for part in parts.values() if isinstance(part, Mapping) for name in part]
    raise CheckpointError(
        f"{path} is not a checkpoint that can be converted: it holds "
        f"{', '.join(map(str, parts)) or type(checkpoint).__name__}"
        f"{' with ' + ', '.join(names[:3]) + ', ...' if names else ''}. Expected a published "
        f"{', '.join(kind.value for kind in Kind)}."
    )


def _size(tensors: Tensors, pattern: str, dimension: int, published: int) -> int:
    """The most common size along a dimension of the tensors whose whole name matches; `published` if none."""
    sizes = [
        value.shape[dimension]
        for name, value in tensors.items()
        if re.fullmatch(pattern, name) and value.ndim > dimension
    ]
    return Counter([*sizes, published]).most_common(1)[0][0]


def _count(tensors: Tensors, pattern: str, published: int) -> int:
    """One more than the largest number that the pattern's group matches at a name's beginning.

    A number far above the count of numbers is a stray one, and no reason to build so many layers.
    """
    matches = [re.match(pattern, name) for name in tensors]
    numbers = {int(match[1]) for match in matches if match and len(match[1]) < 10}
    return max((number for number in numbers if number < 4 * len(numbers)), default=published - 1) + 1


def _stated(settings: Any, **places: tuple[str, str]) -> dict[str, Any]:
    """The values that the settings have at these places, by the names here."""
    found = {name: setting(settings, *place) for name, place in places.items()}
    return {name: value for name, value in found.items() if value is not None}


def _refuse_unless(file: PublishedFile, settings: Any, **expected: Any) -> None:
    """What changes the computation and shows in no tensor must be as published, where it is stated."""
    for name, value in expected.items():
        stated = setting(settings, "model", name)
        if stated is not None and stated != value:
            expectation = f"expected {value!r}, as published"
            raise CheckpointError(f"{file.path}: its settings say {name}={stated!r}; {expectation}.")


def _lip2speech_config(file: PublishedFile) -> Lip2SpeechConfig:
    tensors, settings, defaults = file.tensors, file.settings, Lip2SpeechConfig()
    on_avhubert = file.kind is Kind.LIP2SPEECH_AVHUBERT
    prefix = "conformer" if on_avhubert else "encoder"
    _refuse_unless(file, settings, conformer_layer_norm_first=True, use_conformer=True)
    layer = rf"{prefix}\.encoder\.encoders\.\d+"
    if on_avhubert:
        start, args = AVHUBERT_PREFIX, setting(settings, "model", "w2v_args")
        theirs = {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}
        reader: dict[str, Any] = {"encoder": _avhubert_config(file, theirs, args)}
    else:
        reader = _frontend_sizes(tensors, r"encoder\.encoder\.frontend")
    return Lip2SpeechConfig(
        hidden_size=_size(tensors, rf"{layer}\.norm_\w+\.\w+", 0, defaults.hidden_size),
        num_hidden_layers=_count(tensors, rf"{prefix}\.encoder\.encoders\.(\d+)\.", 12),
        num_attention_heads=_size(tensors, rf"{layer}\.self_attn\.pos_bias_.", 0, 8),
        intermediate_size=_size(tensors, rf"{layer}\.feed_forward(_macaron)?\.w_1\.\w+", 0, 2048),
        conv_kernel_size=_size(tensors, rf"{layer}\.conv_module\.depthwise_conv\.weight", 2, 31),
        num_units=_size(tensors, rf"{prefix}\.proj_out\.\w+", 0, 204) - defaults.unit_offset,
        mel_head_size=_size(tensors, rf"{prefix}\.mel_conv\.\d+\.\w+", 0, defaults.mel_head_size),
        mel_head_layers=(_count(tensors, rf"{prefix}\.mel_conv\.(\d+)\.", 7) + 2) // 3,
        **_stated(
            settings,
            hidden_dropout=("model", "conformer_dropout"),
            attention_dropout=("model", "conformer_attention_dropout"),
            label_smoothing=("criterion", "label_smoothing"),
            mel_loss_weight=("criterion", "mel_weight"),
        ),
        **reader,
    )


def _avhubert_config(file: PublishedFile, tensors: Tensors, settings: Any) -> AVHubertConfig:
    """Of AV-HuBERT's tensors under their pre-training names, and of its pre-training's settings.

    Heads, position groups and audio features come from the settings if these are of a model of this width;
    else heads are 64 wide and the shapes of the convolution and of the audio projection tell the others.
    """
    _refuse_unless(file, settings, layer_norm_first=True, activation_fn="gelu", modality_fuse="concat")
    defaults = AVHubertConfig()
    width = _size(tensors, r"encoder\.layers\.\d+\.\w+_norm\.\w+", 0, defaults.hidden_size)
    heads, groups = max(1, width // AVHUBERT_HEAD_SIZE), defaults.position_groups
    audio = _size(tensors, r"feature_extractor_audio\.proj\.weight", 1, defaults.audio_feature_size)
    positions = tensors.get("encoder.pos_conv.0.weight_v")
    if positions is not None and positions.ndim == 3 and positions.shape[1]:
        groups = max(1, width // positions.shape[1])
    if setting(settings, "model", "encoder_embed_dim") == width:
        heads = setting(settings, "model", "encoder_attention_heads") or heads
        groups = setting(settings, "model", "conv_pos_groups") or groups
        audio = setting(settings, "model", "audio_feat_dim") or audio
    return AVHubertConfig(
        hidden_size=width,
        num_hidden_layers=_count(tensors, r"encoder\.layers\.(\d+)\.", defaults.num_hidden_layers),
        num_attention_heads=heads,
        intermediate_size=_size(tensors, r"encoder\.layers\.\d+\.fc1\.\w+", 0, defaults.intermediate_size),
        position_kernel_size=_size(tensors, r"encoder\.pos_conv\.0\.weight_.", 2, 128),
        position_groups=groups,
        audio_feature_size=audio,
        frontend_activation=setting(settings, "model", "resnet_relu_type") or defaults.frontend_activation,
        **_frontend_sizes(tensors, r"feature_extractor_video\.resnet"),
        # A multi-target file's own settings, which its training put in place of those of the pre-training.
        **_stated(
            file.settings,
            input_dropout=("model", "dropout_input"),
            hidden_dropout=("model", "dropout"),
            attention_dropout=("model", "attention_dropout"),
            activation_dropout=("model", "activation_dropout"),
        ),
    )


def _frontend_sizes(tensors: Tensors, prefix: str) -> dict[str, Any]:
    published = (64, 128, 256, 512)
    stages = _count(tensors, rf"{prefix}\.trunk\.layer(\d+)\.", 5) - 1  # layer1 is the first
    trunk = [rf"{prefix}\.trunk\.layer{stage + 1}" for stage in range(stages)]
    widths = [*published, *[published[-1]] * stages][:stages]
    return {
        "frontend_stem_channels": _size(tensors, rf"{prefix}\.frontend3D\.[01]\.\w+", 0, published[0]),
        "frontend_channels": [
            _size(tensors, rf"{stage}\.\d+\.(conv|bn)\d\.\w+", 0, width)
            for stage, width in zip(trunk, widths, strict=True)
        ],
        "frontend_blocks": [_count(tensors, rf"{stage}\.(\d+)\.", 2) for stage in trunk],
    }


def _vocoder_config(file: PublishedFile) -> UnitVocoderConfig:
    """Of a vocoder's tensors and the config.json beside it.

    Without a config.json, rates and dilations are those of HiFi-GAN's convention: a stage's rate is half its
    kernel, three convolution pairs have the dilations 1, 3 and 5.
    """
    tensors, settings = file.tensors, file.settings or {}
    if str(settings.get("resblock", "1")) != "1":
        kind = settings["resblock"]
        raise CheckpointError(
            f"{file.path}: its config.json says resblock {kind!r}; expected '1', as published."
        )
    weight = r"weight(_v)?"
    stages = _count(tensors, r"ups\.(\d+)\.", 5)
    blocks = _count(tensors, r"resblocks\.(\d+)\.", 15) // stages
    kernels = settings.get("upsample_kernel_sizes") or [
        _size(tensors, rf"ups\.{stage}\.{weight}", 2, kernel)
        for stage, kernel in zip(range(stages), [11, 8, *[4] * stages], strict=False)
    ]
    dilations = settings.get("resblock_dilation_sizes")
    if dilations is None:
        dilations = [_HIFIGAN_DILATIONS] * blocks
        pairs = _count(tensors, r"resblocks\.\d+\.convs1\.(\d+)\.", 3)
        if pairs != len(_HIFIGAN_DILATIONS):
            raise CheckpointError(
                f"{file.path}: no config.json beside it says resblock_dilation_sizes, and its residual "
                f"blocks have {pairs} pairs of convolutions, whose dilations no tensor shows. Put its "
                "config.json there."
            )
    return UnitVocoderConfig(
        num_units=settings.get("num_embeddings") or _size(tensors, r"dict\.weight", 0, 200),
        unit_embedding_dim=_size(tensors, r"fc\.\w+|layer\.0\.weight", 0, 128),
        speaker_dim=_size(tensors, r"spkr\.\w+", 0, 128),
        upsample_initial_channel=_size(tensors, r"conv_pre\.\w+", 0, 512),
        upsample_rates=settings.get("upsample_rates") or [kernel // 2 for kernel in kernels],
        upsample_kernel_sizes=kernels,
        resblock_kernel_sizes=settings.get("resblock_kernel_sizes")
        or [
            _size(tensors, rf"resblocks\.{block}\.convs\d\.\d+\.{weight}", 2, 4 * block + 3)
            for block in range(blocks)
        ],
        resblock_dilation_sizes=dilations,
    )
