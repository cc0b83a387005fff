"""The tensor names in published files and the names here: facts about file formats.

Each function gives all names of one model, so that a missing tensor can be reported by its published name.
"""

import re
from typing import Any

from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig
from ..models.modeling_avhubert import AVHubertModel
from ..models.modeling_lip2speech import Lip2SpeechModel
from ..models.modeling_unit_vocoder import UnitVocoderModel

AVHUBERT_PREFIX = "encoder.w2v_model."  # of AV-HuBERT's tensors inside a multi-target file
# For masking and for the labels of pre-training; some files have them. No model here does.
AVHUBERT_DROPPED = ("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias")

# Module or tensor here -> published. `#` stands for a layer's number.
_CONFORMER = {
    "avhubert_proj": "proj_in",
    "encoder.in_proj": "encoder.embed.0",
    "encoder.final_norm": "encoder.after_norm",
    "unit_head": "proj_out",
    "mel_head.convs.#": "mel_conv.#",
    "mel_head.out_proj": "mel_proj",
}
_CONFORMER_LAYER = {
    "macaron_norm": "norm_ff_macaron",
    "macaron.in_proj": "feed_forward_macaron.w_1",
    "macaron.out_proj": "feed_forward_macaron.w_2",
    "attention_norm": "norm_mha",
    "attention.q_proj": "self_attn.linear_q",
    "attention.k_proj": "self_attn.linear_k",
    "attention.v_proj": "self_attn.linear_v",
    "attention.out_proj": "self_attn.linear_out",
    "attention.position_proj": "self_attn.linear_pos",
    "attention.position_bias_u": "self_attn.pos_bias_u",
    "attention.position_bias_v": "self_attn.pos_bias_v",
    "convolution_norm": "norm_conv",
    "convolution.pointwise_in": "conv_module.pointwise_cov1",
    "convolution.depthwise": "conv_module.depthwise_conv",
    "convolution.norm": "conv_module.norm",
    "convolution.pointwise_out": "conv_module.pointwise_cov2",
    "feed_forward_norm": "norm_ff",
    "feed_forward.in_proj": "feed_forward.w_1",
    "feed_forward.out_proj": "feed_forward.w_2",
    "final_norm": "norm_final",
}
_CONFORMER |= {
    f"encoder.layers.#.{ours}": f"encoder.encoders.#.{it}" for ours, it in _CONFORMER_LAYER.items()
}
_AVHUBERT = {
    "video_proj": "feature_extractor_video.proj",
    "audio_proj": "feature_extractor_audio.proj",
    "fusion_norm": "layer_norm",
    "fusion_proj": "post_extract_proj",
    "final_norm": "encoder.layer_norm",
    "positions.bias": "encoder.pos_conv.0.bias",
    "positions.magnitude": "encoder.pos_conv.0.weight_g",
    "positions.direction": "encoder.pos_conv.0.weight_v",
    "layers.#.attention.q_proj": "encoder.layers.#.self_attn.q_proj",
    "layers.#.attention.k_proj": "encoder.layers.#.self_attn.k_proj",
    "layers.#.attention.v_proj": "encoder.layers.#.self_attn.v_proj",
    "layers.#.attention.out_proj": "encoder.layers.#.self_attn.out_proj",
    "layers.#.attention_norm": "encoder.layers.#.self_attn_layer_norm",
    "layers.#.in_proj": "encoder.layers.#.fc1",
    "layers.#.out_proj": "encoder.layers.#.fc2",
    "layers.#.feed_forward_norm": "encoder.layers.#.final_layer_norm",
}
_FRONTEND = {"stem": "frontend3D.0", "stem_norm": "frontend3D.1", "stem_activation": "frontend3D.2"}
_VOCODER = {
    "unit_embedding": "dict",
    "unit_upsampler": "layer.0",
    "unit_projection": "fc",
    "speaker_projection": "spkr",
    "conv_pre": "conv_pre",
    "conv_post": "conv_post",
    "stages.#.upsampler": "ups.#",
}


def lip2speech_names(model: Lip2SpeechModel) -> dict[str, str | None]:
    """Published name -> name in the model, or None for a tensor that is knowingly dropped."""
    config: Any = model.config
    names: dict[str, str | None] = {}
    for ours in model.state_dict():
        part, _, rest = ours.partition(".")
        if part == "frontend":
            names[f"encoder.encoder.frontend.{_frontend_name(config, rest)}"] = ours
        elif part == "avhubert":
            names[AVHUBERT_PREFIX + _avhubert_name(config.encoder, rest)] = ours
        else:
            theirs = _renamed(ours, _CONFORMER)
            # In the list of the mel head, each convolution is followed by a dropout and an activation.
            theirs = re.sub(r"^mel_conv\.(\d+)", lambda match: f"mel_conv.{3 * int(match[1])}", theirs)
            names[("encoder." if config.encoder is None else "conformer.") + theirs] = ours
    if config.encoder is not None:
        names |= dict.fromkeys(AVHUBERT_PREFIX + name for name in AVHUBERT_DROPPED)
    return names


def avhubert_names(model: AVHubertModel) -> dict[str, str | None]:
    """Published name -> name in the model, or None for a tensor that is knowingly dropped."""
    names = {_avhubert_name(model.config, ours): ours for ours in model.state_dict()}
    return names | dict.fromkeys(AVHUBERT_DROPPED)


def vocoder_names(model: UnitVocoderModel, weight_norm: bool = False) -> dict[str, str]:
    """Published name -> name in the model.

    With `weight_norm`, as in the files in circulation, every convolution of the generator has a `weight_g`
    and a `weight_v`, which keep these endings: `fold_weight_norm` makes a weight of them.
    """
    config: Any = model.config
    blocks, names = len(config.resblock_kernel_sizes), {}
    for ours in model.state_dict():
        if match := re.fullmatch(r"stages\.(\d+)\.resblocks\.(\d+)\.(dilated|plain)_convs\.(.+)", ours):
            kind = 1 if match[3] == "dilated" else 2
            theirs = f"resblocks.{int(match[1]) * blocks + int(match[2])}.convs{kind}.{match[4]}"
        else:
            theirs = _renamed(ours, _VOCODER)
        if weight_norm and theirs.endswith(".weight") and theirs.startswith(("conv_", "ups.", "resblocks.")):
            names |= {f"{theirs}{ending}": f"{ours}{ending}" for ending in ("_g", "_v")}
        else:
            names[theirs] = ours
    return names


def _avhubert_name(config: Any, ours: str) -> str:
    part, _, rest = ours.partition(".")
    if part == "frontend":
        return f"feature_extractor_video.resnet.{_frontend_name(config, rest)}"
    return _renamed(ours, _AVHUBERT)


def _frontend_name(config: AVHubertConfig | Lip2SpeechConfig, ours: str) -> str:
    """Of a tensor in `VisualFrontend`, whose blocks are numbered through; published: by stage."""
    if not ours.startswith("blocks."):
        return _renamed(ours, _FRONTEND)
    _, index, rest = ours.split(".", 2)
    places = [
        (stage, block) for stage, count in enumerate(config.frontend_blocks, 1) for block in range(count)
    ]
    stage, block = places[int(index)]
    return f"trunk.layer{stage}.{block}.{re.sub('^activation', 'relu', rest)}"


def _renamed(ours: str, table: dict[str, str]) -> str:
    """By the table's entry for the tensor, or for its module."""
    number = re.search(r"\d+", ours)
    key = re.sub(r"\d+", "#", ours, count=1)
    module, _, kind = key.rpartition(".")
    theirs = table[key] if key in table else f"{table[module]}.{kind}"
    return theirs.replace("#", number[0] if number else "")
