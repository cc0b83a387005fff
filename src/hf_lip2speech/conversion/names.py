"""The tensor names of published multi-target and vocoder files, and the names here: facts about file formats.

Each function gives all names of one model, so that what a file lacks can be called by the name it has there.
"""

from typing import cast

from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.configuration_unit_vocoder import UnitVocoderConfig
from .avhubert_names import avhubert_names, frontend_names

AVHUBERT_PREFIX = "encoder.w2v_model."  # of AV-HuBERT's tensors inside a multi-target file
AFFINE = ("weight", "bias")
BATCH_NORM = (*AFFINE, "running_mean", "running_var", "num_batches_tracked")

_CONFORMER_LAYER = {
    "norm_ff_macaron": ("macaron_norm", AFFINE),
    "feed_forward_macaron.w_1": ("macaron.in_proj", AFFINE),
    "feed_forward_macaron.w_2": ("macaron.out_proj", AFFINE),
    "norm_mha": ("attention_norm", AFFINE),
    "self_attn.linear_q": ("attention.q_proj", AFFINE),
    "self_attn.linear_k": ("attention.k_proj", AFFINE),
    "self_attn.linear_v": ("attention.v_proj", AFFINE),
    "self_attn.linear_out": ("attention.out_proj", AFFINE),
    "self_attn.linear_pos": ("attention.position_proj", ("weight",)),
    "norm_conv": ("convolution_norm", AFFINE),
    "conv_module.pointwise_cov1": ("convolution.pointwise_in", AFFINE),
    "conv_module.depthwise_conv": ("convolution.depthwise", AFFINE),
    "conv_module.norm": ("convolution.norm", BATCH_NORM),
    "conv_module.pointwise_cov2": ("convolution.pointwise_out", AFFINE),
    "norm_ff": ("feed_forward_norm", AFFINE),
    "feed_forward.w_1": ("feed_forward.in_proj", AFFINE),
    "feed_forward.w_2": ("feed_forward.out_proj", AFFINE),
    "norm_final": ("final_norm", AFFINE),
}


def lip2speech_names(config: Lip2SpeechConfig) -> dict[str, str | None]:
    """Published name -> name in `Lip2SpeechModel`, or None for a tensor that is knowingly dropped."""
    names: dict[str, str | None] = {}
    if config.encoder is None:
        shared, prefix = "encoder.", "encoder.encoder.frontend."
        names |= {prefix + theirs: f"frontend.{ours}" for theirs, ours in frontend_names(config).items()}
    else:
        shared = "conformer."
        names |= {f"conformer.proj_in.{kind}": f"avhubert_proj.{kind}" for kind in AFFINE}
        for theirs, ours in avhubert_names(cast(AVHubertConfig, config.encoder)).items():
            names[AVHUBERT_PREFIX + theirs] = None if ours is None else f"avhubert.{ours}"
    return names | {shared + theirs: ours for theirs, ours in _conformer_names(config).items()}


def _conformer_names(config: Lip2SpeechConfig) -> dict[str, str]:
    """The conformer and the heads, behind the prefix that either kind of model has for them."""
    modules = {
        "encoder.embed.0": ("encoder.in_proj", AFFINE),
        "encoder.after_norm": ("encoder.final_norm", AFFINE),
        "proj_out": ("unit_head", AFFINE),
        "mel_proj": ("mel_head.out_proj", AFFINE),
    }
    for index in range(config.mel_head_layers):  # each is a convolution, a dropout and an activation
        modules[f"mel_conv.{3 * index}"] = (f"mel_head.convs.{index}", AFFINE)
    names = {}
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"encoder.encoders.{layer}", f"encoder.layers.{layer}"
        for module, (our_module, kinds) in _CONFORMER_LAYER.items():
            modules[f"{theirs}.{module}"] = (f"{ours}.{our_module}", kinds)
        for bias in ("u", "v"):
            names[f"{theirs}.self_attn.pos_bias_{bias}"] = f"{ours}.attention.position_bias_{bias}"
    return names | _each_tensor(modules)


def vocoder_names(config: UnitVocoderConfig, weight_norm: bool = False) -> dict[str, str]:
    """Published name -> name in `UnitVocoderModel`.

    With `weight_norm`, as in the files in circulation, every convolution of the generator has a `weight_g`
    and a `weight_v`, which keep these endings: `fold_weight_norm` makes a weight of them.
    """
    convolution = ("bias", "weight_g", "weight_v") if weight_norm else AFFINE
    modules = {
        "dict": ("unit_embedding", ("weight",)),
        "layer.0": ("unit_upsampler", AFFINE),
        "fc": ("unit_projection", AFFINE),
        "spkr": ("speaker_projection", AFFINE),
        "conv_pre": ("conv_pre", convolution),
        "conv_post": ("conv_post", convolution),
    }
    blocks = len(config.resblock_kernel_sizes)
    for stage in range(len(config.upsample_rates)):
        modules[f"ups.{stage}"] = (f"stages.{stage}.upsampler", convolution)
        for block, dilations in enumerate(config.resblock_dilation_sizes):
            theirs, ours = f"resblocks.{stage * blocks + block}", f"stages.{stage}.resblocks.{block}"
            for index in range(len(dilations)):
                modules[f"{theirs}.convs1.{index}"] = (f"{ours}.dilated_convs.{index}", convolution)
                modules[f"{theirs}.convs2.{index}"] = (f"{ours}.plain_convs.{index}", convolution)
    return _each_tensor(modules)


def _each_tensor(modules: dict[str, tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    return {
        f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, (ours, kinds) in modules.items() for kind in kinds
    }
