"""Small files in the published formats, made without the libraries that wrote the real ones."""

import argparse
import collections
import json
import sys
import types
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hf_lip2speech.conversion.names import avhubert_names, lip2speech_names, vocoder_names
from hf_lip2speech.models.configuration_avhubert import AVHubertConfig
from hf_lip2speech.models.configuration_lip2speech import Lip2SpeechConfig
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.convolution import fold_weight_norm
from hf_lip2speech.models.modeling_avhubert import AVHubertModel
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

FRONTEND = {"frontend_stem_channels": 8, "frontend_channels": [8, 16], "frontend_blocks": [1, 2]}
CONFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_kernel_size": 7,
    "num_units": 20,
    "mel_head_size": 24,
    "mel_head_layers": 2,
}
AVHUBERT = AVHubertConfig(
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=96,
    position_kernel_size=16,
    position_groups=4,
    audio_feature_size=12,
    **FRONTEND,
)
AVHUBERT_SETTINGS = {
    "encoder_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_pos_groups": 4,
    "layer_norm_first": True,
    "activation_fn": "gelu",
}
VOCODER = UnitVocoderConfig(
    num_units=20,
    unit_embedding_dim=8,
    speaker_dim=6,
    upsample_initial_channel=32,
    upsample_rates=(10, 4, 4),
    upsample_kernel_sizes=(16, 8, 8),
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 2), (1, 2)),
)


@contextmanager
def foreign_classes(*paths: str) -> Generator[dict[str, type]]:
    """Classes as if imported from libraries that are not installed: picklable while the block lasts. Those
    that are installed have their own again afterwards."""
    classes = {}
    roots = {path.partition(".")[0] for path in paths}
    installed = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in roots}
    for name in installed:
        del sys.modules[name]
    for path in paths:
        module, _, name = path.rpartition(".")
        parts = module.split(".")
        for depth in range(1, len(parts) + 1):
            part = ".".join(parts[:depth])
            sys.modules.setdefault(part, types.ModuleType(part))
        classes[path] = type(name, (), {"__module__": module})
        setattr(sys.modules[module], name, classes[path])
    try:
        yield classes
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in roots]:
            del sys.modules[name]
        sys.modules.update(installed)


FOREIGN = (
    "fairseq.data.dictionary.Dictionary",
    "fairseq.logging.meters.AverageMeter",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.nodes.AnyNode",
    "omegaconf.base.ContainerMetadata",
)


def fill(instance: Any, **state: Any) -> Any:
    instance.__dict__.update(state)
    return instance


def as_omegaconf(value: Any, classes: dict[str, type], parent: Any = None) -> Any:
    """Nested dictionaries as the objects that omegaconf pickles, each with a link to what holds it."""
    metadata = fill(classes["omegaconf.base.ContainerMetadata"](), ref_type=dict, object_type=dict)
    if isinstance(value, dict):
        node = classes["omegaconf.dictconfig.DictConfig"]()
        content = {key: as_omegaconf(item, classes, node) for key, item in value.items()}
        return fill(node, _metadata=metadata, _parent=parent, _content=content)
    if isinstance(value, list):
        node = classes["omegaconf.listconfig.ListConfig"]()
        content = [as_omegaconf(item, classes, node) for item in value]
        return fill(node, _metadata=metadata, _parent=parent, _content=content)
    return fill(classes["omegaconf.nodes.AnyNode"](), _metadata=metadata, _parent=parent, _val=value)


def write_fairseq(path: Path, tensors: dict, settings: dict, *, legacy: bool = False, **extra: Any) -> Path:
    """What fairseq writes: tensors among objects of its own and of omegaconf's classes."""
    with foreign_classes(*FOREIGN) as classes:
        dictionary = fill(classes["fairseq.data.dictionary.Dictionary"](), symbols=["<s>"], nspecial=4)
        meter = fill(classes["fairseq.logging.meters.AverageMeter"](), sum=torch.tensor(1.0), count=3)
        checkpoint = {
            "args": argparse.Namespace(arch="multi_target", seed=1),
            "cfg": as_omegaconf(settings, classes),
            "model": collections.OrderedDict(tensors),
            "criterion": None,
            "optimizer_history": [{"num_updates": 3, "optimizer_name": "FairseqAdam"}],
            "task_state": {"target_dictionary": dictionary, "seen": {1, 2}},
            "extra_state": {"metrics": collections.OrderedDict(loss=meter), "folder": Path("x") / "y"},
            "last_optimizer_state": None,
            **extra,
        }
        torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return path


def random_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator) + 0.1 if value.is_floating_point() else value
        for name, value in model.state_dict().items()
    }


def published(names: dict[str, str | None], state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A model's tensors under their published names and shapes; those dropped hold something, too."""
    tensors = {}
    for theirs, ours in names.items():
        value = torch.ones(3) if ours is None else state[ours]
        tensors[theirs] = value[..., None] if theirs.endswith(("cov1.weight", "cov2.weight")) else value
    return tensors


def small_lip2speech(folder: Path, *, on_avhubert: bool = False, legacy: bool = False) -> tuple[Path, dict]:
    """A multi-target file, and the state dict that converting it must give."""
    parts = {"encoder": AVHUBERT} if on_avhubert else FRONTEND
    config = Lip2SpeechConfig(**CONFORMER, **parts)
    model = Lip2SpeechModel(config)
    state = random_state(model)
    settings = {
        "model": {
            "conformer_dropout": 0.2,
            "conformer_layer_norm_first": True,
            "w2v_args": {"model": AVHUBERT_SETTINGS} if on_avhubert else None,
        },
        "criterion": {"label_smoothing": 0.05, "mel_weight": 7},
    }
    path = folder / f"lip2speech{'_avhubert' * on_avhubert}.pt"
    return write_fairseq(path, published(lip2speech_names(model), state), settings, legacy=legacy), state


def small_avhubert(folder: Path) -> tuple[Path, dict]:
    model = AVHubertModel(AVHUBERT)
    state = random_state(model)
    tensors = published(avhubert_names(model), state)
    return write_fairseq(folder / "avhubert.pt", tensors, {"model": AVHUBERT_SETTINGS}), state


def small_vocoder(folder: Path) -> tuple[Path, dict]:
    """A vocoder file with its config.json beside it."""
    model = UnitVocoderModel(VOCODER)
    names = vocoder_names(model, weight_norm=True)
    plain, state = random_state(model), {}
    for ours in names.values():
        if ours.endswith(".weight_g"):
            weight = plain[ours.removesuffix("_g")]
            state[ours] = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1)) * 2
        else:
            state[ours] = plain[ours.removesuffix("_v") if ours.endswith(".weight_v") else ours]
    torch.save({"generator": published(dict(names), state)}, folder / "g_00000010")
    fields = ("upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes", "resblock_dilation_sizes")
    settings = {name: getattr(VOCODER, name) for name in fields} | {"resblock": "1", "num_embeddings": 20}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder / "g_00000010", fold_weight_norm(state)


KINDS = {
    "lip2speech": small_lip2speech,
    "lip2speech_avhubert": lambda folder: small_lip2speech(folder, on_avhubert=True),
    "vocoder": small_vocoder,
    "avhubert": small_avhubert,
}
