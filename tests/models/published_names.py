"""The published multi-target checkpoint's tensor names -> names here: facts about a file format, for parity
tests."""

import re

RULES = [
    (r"^encoder\.encoder\.frontend\.frontend3D\.0\.", "frontend.stem."),
    (r"^encoder\.encoder\.frontend\.frontend3D\.1\.", "frontend.stem_norm."),
    (
        r"^encoder\.encoder\.frontend\.trunk\.layer(\d)\.(\d)\.",
        lambda m: f"frontend.blocks.{2 * (int(m[1]) - 1) + int(m[2])}.",
    ),
    (r"^encoder\.encoder\.embed\.0\.", "encoder.in_proj."),
    (r"^encoder\.encoder\.after_norm\.", "encoder.final_norm."),
    (r"^encoder\.encoder\.encoders\.(\d+)\.", r"encoder.layers.\1."),
    (r"\.self_attn\.linear_pos\.", ".attention.position_proj."),
    (r"\.self_attn\.linear_(q|k|v|out)\.", r".attention.\1_proj."),
    (r"\.self_attn\.pos_bias_", ".attention.position_bias_"),
    (r"\.conv_module\.depthwise_conv\.", ".convolution.depthwise."),
    (r"\.conv_module\.pointwise_cov1\.", ".convolution.pointwise_in."),
    (r"\.conv_module\.pointwise_cov2\.", ".convolution.pointwise_out."),
    (r"\.conv_module\.norm\.", ".convolution.norm."),
    (r"\.feed_forward_macaron\.w_1\.", ".macaron.in_proj."),
    (r"\.feed_forward_macaron\.w_2\.", ".macaron.out_proj."),
    (r"\.feed_forward\.w_1\.", ".feed_forward.in_proj."),
    (r"\.feed_forward\.w_2\.", ".feed_forward.out_proj."),
    (r"\.norm_ff_macaron\.", ".macaron_norm."),
    (r"\.norm_ff\.", ".feed_forward_norm."),
    (r"\.norm_mha\.", ".attention_norm."),
    (r"\.norm_conv\.", ".convolution_norm."),
    (r"\.norm_final\.", ".final_norm."),
    (r"^encoder\.mel_conv\.(\d)\.", lambda m: f"mel_head.convs.{int(m[1]) // 3}."),
    (r"^encoder\.mel_proj\.", "mel_head.out_proj."),
    (r"^encoder\.proj_out\.", "unit_head."),
]


def lip2speech_name(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name
