"""The sizes of a published model, from the shapes of its tensors.

Where several tensors show a size, the most common value counts (the published one breaks a tie): a single
mis-shaped tensor is thus found out rather than believed. Settings are asked for what no shape shows.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import CheckpointError
from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.configuration_unit_vocoder import UnitVocoderConfig
from .names import AVHUBERT_PREFIX
from .recognise import Kind, PublishedFile
from .unpickle import setting

Tensors = Mapping[str, torch.Tensor]

AVHUBERT_HEAD_SIZE = 64  # in Base (12 heads of 768) and Large (16 of 1024)
_HIFIGAN_DILATIONS = [1, 3, 5]


def size_of(tensors: Tensors, pattern: str, dimension: int, published: int) -> int:
    """The most common size along a dimension of the tensors whose whole name matches; `published` if none."""
    sizes = [
        value.shape[dimension]
        for name, value in tensors.items()
        if re.fullmatch(pattern, name) and value.ndim > dimension
    ]
    return Counter([*sizes, published]).most_common(1)[0][0]


def count_of(tensors: Tensors, pattern: str, published: int) -> int:
    """One more than the largest number that stands for the group in a name's beginning.

    A number far above how many there are is a stray one, and no reason to build so many layers.
    """
    matches = [re.match(pattern, name) for name in tensors]
    numbers = {int(match[1]) for match in matches if match and len(match[1]) < 10}
    return max((number for number in numbers if number < 4 * len(numbers)), default=published - 1) + 1


def lip2speech_config(file: PublishedFile) -> Lip2SpeechConfig:
    """Of either multi-target kind.

    Raises:
        CheckpointError: the settings say that it is built otherwise.
    """
    tensors, settings = file.tensors, file.settings
    on_avhubert = file.kind is Kind.LIP2SPEECH_AVHUBERT
    prefix = "conformer" if on_avhubert else "encoder"
    _refuse_unless(file, settings, {"conformer_layer_norm_first": True, "use_conformer": True})
    layer = rf"{prefix}\.encoder\.encoders\.\d+"
    defaults = Lip2SpeechConfig()
    heads = size_of(tensors, rf"{layer}\.self_attn\.pos_bias_.", 0, defaults.num_attention_heads)
    sizes: dict[str, Any] = {
        "hidden_size": size_of(tensors, rf"{layer}\.norm_\w+\.\w+", 0, defaults.hidden_size),
        "num_hidden_layers": count_of(tensors, rf"{prefix}\.encoder\.encoders\.(\d+)\.", 12),
        "num_attention_heads": heads,
        "intermediate_size": size_of(tensors, rf"{layer}\.feed_forward(_macaron)?\.w_1\.\w+", 0, 2048),
        "conv_kernel_size": size_of(tensors, rf"{layer}\.conv_module\.depthwise_conv\.weight", 2, 31),
        "num_units": size_of(tensors, rf"{prefix}\.proj_out\.\w+", 0, 204) - defaults.unit_offset,
        "mel_head_size": size_of(tensors, rf"{prefix}\.mel_conv\.\d+\.\w+", 0, defaults.mel_head_size),
        "mel_head_layers": (count_of(tensors, rf"{prefix}\.mel_conv\.(\d+)\.", 7) + 2) // 3,
    }
    stated = {
        "hidden_dropout": setting(settings, "model", "conformer_dropout"),
        "attention_dropout": setting(settings, "model", "conformer_attention_dropout"),
        "label_smoothing": setting(settings, "criterion", "label_smoothing"),
        "mel_loss_weight": setting(settings, "criterion", "mel_weight"),
    }
    sizes |= {name: value for name, value in stated.items() if value is not None}
    if on_avhubert:
        inner = {
            name.removeprefix(AVHUBERT_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(AVHUBERT_PREFIX)
        }
        pretraining = setting(settings, "model", "w2v_args")
        sizes["encoder"] = avhubert_config(file, inner, pretraining)
    else:
        sizes |= _frontend_sizes(tensors, r"encoder\.encoder\.frontend")
    return Lip2SpeechConfig(**sizes)


def avhubert_config(file: PublishedFile, tensors: Tensors, settings: Any) -> AVHubertConfig:
    """Of AV-HuBERT's tensors under their pre-training names, and of its pre-training's settings.

    Heads, position groups and audio features come from the settings if these are of a model of this width;
    else heads are 64 wide and the shapes of the convolution and of the audio projection tell the others.

    Raises:
        CheckpointError: the settings say that it is built otherwise.
    """
    _refuse_unless(
        file, settings, {"layer_norm_first": True, "activation_fn": "gelu", "modality_fuse": "concat"}
    )
    defaults = AVHubertConfig()
    width = size_of(tensors, r"encoder\.layers\.\d+\.\w+_norm\.\w+", 0, defaults.hidden_size)
    heads, groups = max(1, width // AVHUBERT_HEAD_SIZE), defaults.position_groups
    audio = size_of(tensors, r"feature_extractor_audio\.proj\.weight", 1, defaults.audio_feature_size)
    positions = tensors.get("encoder.pos_conv.0.weight_v")
    if positions is not None and positions.ndim == 3 and positions.shape[1]:
        groups = max(1, width // positions.shape[1])
    if setting(settings, "model", "encoder_embed_dim") == width:
        heads = setting(settings, "model", "encoder_attention_heads") or heads
        groups = setting(settings, "model", "conv_pos_groups") or groups
        audio = setting(settings, "model", "audio_feat_dim") or audio
    # A multi-target file's own settings, which its training put in place of those of the pre-training.
    stated = {
        "input_dropout": setting(file.settings, "model", "dropout_input"),
        "hidden_dropout": setting(file.settings, "model", "dropout"),
        "attention_dropout": setting(file.settings, "model", "attention_dropout"),
        "activation_dropout": setting(file.settings, "model", "activation_dropout"),
    }
    return AVHubertConfig(
        hidden_size=width,
        num_hidden_layers=count_of(tensors, r"encoder\.layers\.(\d+)\.", defaults.num_hidden_layers),
        num_attention_heads=heads,
        intermediate_size=size_of(tensors, r"encoder\.layers\.\d+\.fc1\.\w+", 0, defaults.intermediate_size),
        position_kernel_size=size_of(tensors, r"encoder\.pos_conv\.0\.weight_.", 2, 128),
        position_groups=groups,
        audio_feature_size=audio,
        frontend_activation=setting(settings, "model", "resnet_relu_type") or defaults.frontend_activation,
        **_frontend_sizes(tensors, r"feature_extractor_video\.resnet"),
        **{name: value for name, value in stated.items() if value is not None},
    )


def _frontend_sizes(tensors: Tensors, prefix: str) -> dict[str, Any]:
    """Widths and blocks of a front end."""
    published = (64, 128, 256, 512)
    stages = count_of(tensors, rf"{prefix}\.trunk\.layer(\d+)\.", 5) - 1  # layer1 is the first
    trunk = [rf"{prefix}\.trunk\.layer{stage + 1}" for stage in range(stages)]
    widths = [*published, *[published[-1]] * stages][:stages]
    return {
        "frontend_stem_channels": size_of(tensors, rf"{prefix}\.frontend3D\.[01]\.\w+", 0, published[0]),
        "frontend_channels": [
            size_of(tensors, rf"{stage}\.\d+\.(conv|bn)\d\.\w+", 0, width)
            for stage, width in zip(trunk, widths, strict=True)
        ],
        "frontend_blocks": [count_of(tensors, rf"{stage}\.(\d+)\.", 2) for stage in trunk],
    }


def vocoder_config(file: PublishedFile) -> UnitVocoderConfig:
    """Of a vocoder's tensors and the config.json beside it.

    Without a config.json, rates and dilations are those of HiFi-GAN's convention: a stage's rate is half its
    kernel, three convolution pairs have the dilations 1, 3 and 5.

    Raises:
        CheckpointError: the settings are of another kind of generator, or no settings say what shapes do not.
    """
    tensors, settings = file.tensors, file.settings or {}
    if str(settings.get("resblock", "1")) != "1":
        raise CheckpointError(
            f"{file.path}: its config.json says resblock {settings['resblock']!r}; expected '1', the kind of "
            "residual block in the published vocoder."
        )
    weight = r"weight(_v)?"
    stages = count_of(tensors, r"ups\.(\d+)\.", 5)
    blocks = count_of(tensors, r"resblocks\.(\d+)\.", 15) // stages
    rates = settings.get("upsample_rates")
    kernels = settings.get("upsample_kernel_sizes") or [
        size_of(tensors, rf"ups\.{stage}\.{weight}", 2, kernel)
        for stage, kernel in zip(range(stages), [11, 8, *[4] * stages], strict=False)
    ]
    dilations = settings.get("resblock_dilation_sizes")
    if dilations is None:
        dilations = [_HIFIGAN_DILATIONS] * blocks
        pairs = count_of(tensors, r"resblocks\.\d+\.convs1\.(\d+)\.", 3)
        if pairs != len(_HIFIGAN_DILATIONS):
            raise CheckpointError(
                f"{file.path}: no config.json beside it says resblock_dilation_sizes, and its residual "
                f"blocks have {pairs} pairs of convolutions, whose dilations no tensor shows. Put the "
                "config.json that belongs to it there."
            )
    embedding = size_of(tensors, r"fc\.\w+|layer\.0\.weight", 0, 128)
    return UnitVocoderConfig(
        num_units=settings.get("num_embeddings") or size_of(tensors, r"dict\.weight", 0, 200),
        unit_embedding_dim=embedding,
        speaker_dim=size_of(tensors, r"spkr\.\w+", 0, 128),
        upsample_initial_channel=size_of(tensors, r"conv_pre\.\w+", 0, 512),
        upsample_rates=rates or [kernel // 2 for kernel in kernels],
        upsample_kernel_sizes=kernels,
        resblock_kernel_sizes=settings.get("resblock_kernel_sizes")
        or [
            size_of(tensors, rf"resblocks\.{block}\.convs\d\.\d+\.{weight}", 2, 4 * block + 3)
            for block in range(blocks)
        ],
        resblock_dilation_sizes=dilations,
    )


def _refuse_unless(file: PublishedFile, settings: Any, expected: dict[str, Any]) -> None:
    """What changes the computation and shows in no tensor must be as published, where it is stated."""
    for name, value in expected.items():
        stated = setting(settings, "model", name)
        if stated is not None and stated != value:
            raise CheckpointError(
                f"{file.path}: its settings say {name}={stated!r}; expected {value!r}, as in the published "
                f"{file.kind.value}. It would compute something else here."
            )
