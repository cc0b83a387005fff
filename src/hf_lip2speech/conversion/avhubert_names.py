"""The tensor names of published AV-HuBERT files and the names here: facts about a file format.

As in the pre-training files. In a multi-target file each name stands behind `encoder.w2v_model.`.
"""

from ..models.configuration_avhubert import AVHubertConfig
from ..models.configuration_lip2speech import Lip2SpeechConfig

_PLAIN = {
    "feature_extractor_video.proj": "video_proj",
    "feature_extractor_audio.proj": "audio_proj",
    "layer_norm": "fusion_norm",
    "post_extract_proj": "fusion_proj",
    "encoder.layer_norm": "final_norm",
}
_LAYER = {
    "self_attn.q_proj": "attention.q_proj",
    "self_attn.k_proj": "attention.k_proj",
    "self_attn.v_proj": "attention.v_proj",
    "self_attn.out_proj": "attention.out_proj",
    "self_attn_layer_norm": "attention_norm",
    "fc1": "in_proj",
    "fc2": "out_proj",
    "final_layer_norm": "feed_forward_norm",
}
# For masking and for the labels of pre-training: nothing that turns frames into features.
_DROPPED = ("mask_emb", "label_embs_concat", "final_proj.weight", "final_proj.bias")

_AFFINE = ("weight", "bias")


def avhubert_names(config: AVHubertConfig) -> dict[str, str | None]:
    """Published name -> name in [`AVHubertModel`], or None for a tensor that is knowingly dropped.

    The dropped ones stand in some files only; all others stand in each.
    """
    names = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _PLAIN.items() for kind in _AFFINE}
    names |= {
        "encoder.pos_conv.0.bias": "positions.bias",
        "encoder.pos_conv.0.weight_g": "positions.magnitude",
        "encoder.pos_conv.0.weight_v": "positions.direction",
    }
    for layer in range(config.num_hidden_layers):
        for theirs, ours in _LAYER.items():
            for kind in _AFFINE:
                names[f"encoder.layers.{layer}.{theirs}.{kind}"] = f"layers.{layer}.{ours}.{kind}"
    resnet = "feature_extractor_video.resnet"
    names |= {f"{resnet}.{theirs}": f"frontend.{ours}" for theirs, ours in frontend_names(config).items()}
    return names | dict.fromkeys(_DROPPED)


def frontend_names(config: AVHubertConfig | Lip2SpeechConfig) -> dict[str, str]:
    """The same for the front end of either system, behind its prefix: -> name in [`VisualFrontend`]."""
    learned = config.frontend_activation == "prelu"
    names = {"frontend3D.0.weight": "stem.weight"} | _batch_norm("frontend3D.1", "stem_norm")
    if learned:
        names["frontend3D.2.weight"] = "stem_activation.weight"
    index, width = 0, config.frontend_stem_channels
    for stage, (channels, blocks) in enumerate(
        zip(config.frontend_channels, config.frontend_blocks, strict=True), start=1
    ):
        for block in range(blocks):
            theirs, ours = f"trunk.layer{stage}.{block}", f"blocks.{index}"
            for half in (1, 2):
                names[f"{theirs}.conv{half}.weight"] = f"{ours}.conv{half}.weight"
                names |= _batch_norm(f"{theirs}.bn{half}", f"{ours}.bn{half}")
                if learned:
                    names[f"{theirs}.relu{half}.weight"] = f"{ours}.activation{half}.weight"
            if width != channels or (stage > 1 and block == 0):  # a shortcut of another shape is projected
                names[f"{theirs}.downsample.0.weight"] = f"{ours}.downsample.0.weight"
                names |= _batch_norm(f"{theirs}.downsample.1", f"{ours}.downsample.1")
            index, width = index + 1, channels
    return names


def _batch_norm(theirs: str, ours: str) -> dict[str, str]:
    kinds = (*_AFFINE, "running_mean", "running_var", "num_batches_tracked")
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in kinds}
