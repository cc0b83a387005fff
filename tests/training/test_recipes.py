"""The recipes at the paper's size: models of the published sizes, trained by the published settings.

The figures are those of Choi, Kim, Ro (Interspeech 2023) and of its authors' public configurations.
"""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from hf_lip2speech.models.configuration_avhubert import AVHUBERT_LARGE, AVHubertConfig
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.training.arguments import Lip2SpeechTrainingArguments, VocoderTrainingArguments
from hf_lip2speech.training.config import load_arguments
from hf_lip2speech.training.stages import build_model, lip2speech_to_train
from hf_lip2speech.training.vocoder_augmentation import MelAugmentation

from .conftest import EXAMPLES

CONFIGS = EXAMPLES / "configs"
OPTIMIZER = {"adam_epsilon": 1e-8, "weight_decay": 0.01, "max_grad_norm": 0.0}
STAGE_1 = OPTIMIZER | {
    "learning_rate": 1e-3,
    "adam_beta1": 0.9,
    "adam_beta2": 0.98,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 10_000,
    "max_frames": 600,
    "metric_for_best_model": "unit_accuracy",
    "model": {},
}
STAGE_2 = OPTIMIZER | {
    "learning_rate": 2e-4,
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "lr_decay": 0.999,
    "max_steps": 1_000_000,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "mel_loss_windows": [1024],
    "mel_loss_weight": 45,
    "feature_matching_weight": 2,
    "adversarial_from_step": 0,
    "bf16": False,
    "model": {},
    "discriminators": {},
}


def stage_1(name: str) -> Lip2SpeechTrainingArguments:
    return load_arguments(Lip2SpeechTrainingArguments, CONFIGS / name)


def stage_2() -> VocoderTrainingArguments:
    return load_arguments(VocoderTrainingArguments, CONFIGS / "lrs3_vocoder.yaml")


@pytest.mark.parametrize(("name", "updates"), [("lrs3.yaml", 150_000), ("lrs3_avhubert.yaml", 50_000)])
def test_stage_1_is_trained_as_published(name, updates):
    args = stage_1(name)
    assert {key: getattr(args, key) for key in STAGE_1} == STAGE_1
    assert args.max_steps == updates
    assert args.batch_frames * args.gradient_accumulation_steps == 28_800


def test_stage_2_is_trained_as_published():
    args = stage_2()
    assert {key: getattr(args, key) for key in STAGE_2} == STAGE_2
    assert 320 * args.segment_units == 8_960
    published = {"kernel_size": 9, "sigma_min": 0.1, "sigma_max": 1.0, "noise_std": 1.0, "probability": 1.0}
    assert dataclasses.asdict(MelAugmentation(**args.mel_augmentation)) == published


def test_the_models_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        resnet, _ = lip2speech_to_train(stage_1("lrs3.yaml"))
        large = AVHubertConfig(**AVHUBERT_LARGE)
        avhubert = Lip2SpeechModel(Lip2SpeechConfig(encoder=large, **stage_1("lrs3_avhubert.yaml").model))
        vocoder = build_model(UnitVocoderModel, stage_2().model, None)
        vocoder.apply_weight_norm()
    assert number(resnet.parameters()) == 90_271_788
    assert number(p for p in avhubert.parameters() if p.requires_grad) == 79_613_804
    assert number(vocoder.parameters()) == 14_111_618


def number(parameters) -> int:
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.slow
def test_an_update_at_the_papers_size_changes_every_layer(scripts, prepared, tmp_path):
    few = ["max_steps=1", "batch_frames=30", "gradient_accumulation_steps=1", "dataloader_num_workers=0"]
    run = [
        f"data={prepared}",
        f"output_dir={tmp_path}",
        "max_eval_clips=1",
        "num_samples=1",
        "warmup_steps=0",
    ]
    run += ["bf16=false", "report_to=none"]
    assert scripts["train"].main([str(CONFIGS / "lrs3.yaml"), *few, *run]).state.global_step == 1
    saved = load_file(tmp_path / "last" / "model.safetensors")
    assert all(value.isfinite().all() for value in saved.values())
    biases = [value for name, value in saved.items() if name.endswith(("in_proj.bias", "out_proj.bias"))]
    assert biases and all(value.any() for value in biases)  # all are zeros when they are made
