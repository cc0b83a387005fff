"""From the published vocoder files' tensor names to this package's: facts about those files."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import torch

_RENAMED = {
    "dict.": "unit_embedding.",
    "layer.0.": "unit_upsampler.",
    "fc.": "unit_projection.",
    "spkr.": "speaker_projection.",
}


def vocoder_name(published: str, blocks_per_stage: int = 3) -> str:
    """`resblocks.7.convs2.0.weight` -> `stages.2.resblocks.1.plain_convs.0.weight`, and so on."""
    for old, new in _RENAMED.items():
        if published.startswith(old):
            return new + published.removeprefix(old)
    if match := re.match(r"ups\.(\d+)\.(.*)", published):
        return f"stages.{match[1]}.upsampler.{match[2]}"
    if match := re.match(r"resblocks\.(\d+)\.convs([12])\.(.*)", published):
        stage, block = divmod(int(match[1]), blocks_per_stage)
        kind = "dilated_convs" if match[2] == "1" else "plain_convs"
        return f"stages.{stage}.resblocks.{block}.{kind}.{match[3]}"
    return published


def parametrised(name: str) -> str:
    """`x.weight_g` -> `x.parametrizations.weight.original0`, `x.weight_v` -> `...original1`."""
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )


def scale_discriminator_name(published: str) -> str:
    """As `parametrised`, but for the first scale, whose spectral norm keeps its names."""
    return published if published.startswith("discriminators.0.") else parametrised(published)


def load_rule(reference_dir: Path) -> ModuleType:
    """The module that gives every tensor its deterministic value from its published name."""
    spec = importlib.util.spec_from_file_location("make_weights", reference_dir / "make_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published_weights(reference_dir: Path, spec_name: str) -> dict[str, torch.Tensor]:
    """All tensors of one of the spec files, under their published names."""
    spec = json.loads((reference_dir / spec_name).read_text())
    weights = load_rule(reference_dir).make({key: row[0] for key, row in spec.items()})
    return {key: torch.from_numpy(value.copy()) for key, value in weights.items()}


def published_vocoder_inputs(rule: ModuleType, case: str, batch: int, units: int) -> dict[str, torch.Tensor]:
    """The inputs of a published vocoder case, in this package's shapes."""
    mel = rule.inp(f"{case}/mel", (batch, 80, 2 * units)) * 2 - 5
    return {
        "unit_ids": torch.from_numpy(rule.inp_int(f"{case}/code", 200, (batch, units))),
        "spectrogram": torch.from_numpy(mel).transpose(1, 2),
        "speaker_embeddings": torch.stack(
            [torch.from_numpy(rule.spk(f"{case}/spk{i}")) for i in range(batch)]
        ),
    }
