"""What users of transformers expect of any model: offloading, hooks, adapters, export, compilation."""

import copy

import peft
import pytest
import torch
from torch import nn
from torch.export import Dim

from hf_lip2speech import (
    Lip2SpeechConfig,
    Lip2SpeechModel,
    SpeakerEncoder,
    SpeakerEncoderConfig,
    UnitVocoderConfig,
    UnitVocoderModel,
)
from hf_lip2speech.models.discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator

from ..tiny_model import tiny_model
from .small import CONFORMER, ENCODER, FRONTEND

VOCODER = {
    "num_units": 20,
    "unit_embedding_dim": 8,
    "speaker_dim": 4,
    "upsample_initial_channel": 16,
    "upsample_rates": (16, 10),
    "upsample_kernel_sizes": (32, 20),
    "resblock_kernel_sizes": (3, 5),
    "resblock_dilation_sizes": ((1, 3), (2,)),
    "initializer_range": 1.0,
}
ISTFT = {
    **{name: VOCODER[name] for name in ("num_units", "unit_embedding_dim", "speaker_dim")},
    "generator_type": "istft",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "pitch_hidden_size": 8,
    "num_pitch_layers": 1,
}


def video_inputs(batch: int, frames: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(frames)
    return {
        "pixel_values_videos": torch.randn(batch, frames, 1, 88, 88),
        "speaker_embeddings": torch.rand(batch, 256),
    }


def vocoder_inputs(batch: int, units: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(units)
    return {
        "unit_ids": torch.randint(0, 20, (batch, units)),
        "spectrogram": torch.randn(batch, 2 * units, 80) - 5,
        "speaker_embeddings": torch.rand(batch, 256),
    }


def build(kind: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A tiny model in eval mode, and inputs of two clips."""
    torch.manual_seed(0)
    if kind == "composite":
        return tiny_model(), video_inputs(2, 7)
    if kind == "vocoder":
        return UnitVocoderModel(UnitVocoderConfig(**VOCODER)).eval(), vocoder_inputs(2, 9)
    if kind == "istft vocoder":
        return UnitVocoderModel(UnitVocoderConfig(**ISTFT)).eval(), vocoder_inputs(2, 9)
    if kind == "speaker encoder":
        return SpeakerEncoder(SpeakerEncoderConfig(hidden_size=12, num_hidden_layers=2)).eval(), {
            "mel": torch.rand(2, 20, 40)
        }
    parts = {
        "front end": FRONTEND,
        "AV-HuBERT": {"encoder": ENCODER},
        "window": FRONTEND | {"attention_window": 3},
    }
    model = Lip2SpeechModel(Lip2SpeechConfig(**CONFORMER, **parts[kind])).eval()
    return model, video_inputs(2, 7)


def first(output) -> torch.Tensor:
    """The sound, or what comes nearest to it."""
    if isinstance(output, torch.Tensor):
        return output
    return output.waveform if "waveform" in output else output.spectrogram


KINDS = ["front end", "AV-HuBERT", "vocoder", "istft vocoder", "composite", "speaker encoder"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", ["first half", "second half", "whole"])
def test_weights_on_a_disk_give_the_same_as_weights_in_memory(kind, cut, tmp_path):
    model, inputs = build(kind)
    model.save_pretrained(tmp_path / "model")
    names = [name for name, _ in model.named_children()]
    half = len(names) // 2
    on_disk = {"first half": names[:half], "second half": names[half:], "whole": names}[cut]
    device_map = {name: "disk" if name in on_disk else "cpu" for name in names}
    offloaded = (
        type(model)
        .from_pretrained(tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload")
        .eval()
    )
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    with torch.no_grad():
        torch.testing.assert_close(first(offloaded(**inputs)), first(model(**inputs)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS[:-1])
def test_a_hook_on_any_convolution_fires(kind):
    model, inputs = build(kind)
    assert_every_convolution_is_called(model, lambda: model(**inputs))


@pytest.mark.parametrize(
    "judge",
    [MultiPeriodDiscriminator((2, 3), (4, 8)), MultiScaleDiscriminator(channels=[16] * 7)],
    ids=["periods", "scales"],
)
def test_a_hook_on_any_convolution_of_a_discriminator_fires(judge):
    assert_every_convolution_is_called(judge, lambda: judge(torch.randn(1, 4000)))


def assert_every_convolution_is_called(model: nn.Module, call) -> None:
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.BatchNorm2d, nn.Linear)
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    called = set()
    for name, module in modules.items():
        module.register_forward_hook(lambda *_, name=name: called.add(name))
    with torch.no_grad():
        call()
    assert called == set(modules)


@pytest.mark.parametrize("kind", ["front end", "AV-HuBERT", "vocoder"])
def test_adapters_on_convolutions_and_linear_layers_train_are_saved_and_load(kind, tmp_path):
    model, inputs = build(kind)
    plain = copy.deepcopy(model)
    targets = [
        name
        for name, module in model.named_modules()
        # peft has no adapters for transposed convolutions, and none of a rank that the groups do not divide
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and getattr(module, "groups", 1) == 1
    ]
    config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights="gaussian")
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():
        before = first(adapted(**inputs))
        torch.testing.assert_close(before, first(plain(**inputs)), atol=1e-5, rtol=0)
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(4):
        output = adapted(**inputs)
        loss = (first(output) - 0.1).square().mean()
        if "unit_logits" in output:
            loss = loss + output.unit_logits.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    gradients = {name for name, p in adapted.named_parameters() if p.grad is not None and p.grad.any()}
    assert gradients == {name for name, _ in adapted.named_parameters() if "lora_" in name}
    adapted.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(plain, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(first(loaded(**inputs)), first(adapted(**inputs)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["front end", "AV-HuBERT", "vocoder", "istft vocoder"])
def test_an_exported_model_is_the_same_at_other_lengths_and_batch_sizes(kind):
    model, _ = build(kind)
    inputs = vocoder_inputs if "vocoder" in kind else video_inputs
    batch, length = Dim("batch", max=64), Dim("length", min=2, max=1000)
    shapes = {name: {0: batch, 1: length} for name in inputs(2, 7)} | {"speaker_embeddings": {0: batch}}
    if "vocoder" in kind:
        shapes["spectrogram"][1] = 2 * length
    with torch.no_grad():
        exported = torch.export.export(model, (), inputs(2, 7), dynamic_shapes=shapes).module()
        for size in ((1, 4), (3, 140)):  # the front end would take 420 frames in parts
            given = inputs(*size)
            torch.testing.assert_close(first(exported(**given)), first(model(**given)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        ("window", "aot_eager"),
        ("AV-HuBERT", "eager"),
        ("vocoder", "aot_eager"),
        ("istft vocoder", "aot_eager"),
        *(pytest.param(kind, "inductor", marks=pytest.mark.slow) for kind in KINDS[:3]),
    ],
)
def test_a_model_compiles_as_one_graph(kind, backend):
    model, inputs = build(kind)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(first(compiled(**inputs)), first(model(**inputs)), atol=1e-4, rtol=0)
