"""The multi-target model, on its front end or on AV-HuBERT, against the published code's numbers."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hf_lip2speech.constants import MEL_PER_FRAME, UNITS_PER_FRAME
from hf_lip2speech.conversion.names import lip2speech_names
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel, Lip2SpeechOutput

from .deterministic import integers, numbers, speaker, video
from .reference import Reference, Row, distance, relative

OUTPUT_LIMIT, LOSS_LIMIT, GRADIENT_LIMIT = 1e-4, 1e-5, 1e-3  # absolute; relative; relative
VALUES_LIMIT = 1e-2  # of a gradient's first few values: one pixel that another wins in the pooling moves them

_LENGTHS = {"A": [12], "B": [20, 13], "T": [20, 13]}
_TARGETS = {"T0": (41, 81), "T1": (25, 50)}  # units before the end-of-sentence class, mel frames
_END = 2


def lip2speech_rows(reference: Reference, kind: str) -> Iterator[Row]:
    """All that the folder holds of `kind`: l2s, avh_base or avh_large."""
    model = reference.model(kind)
    if model is None:
        return
    assert isinstance(model, Lip2SpeechModel)
    yield from _norm_rows(model, kind)
    model.config.masked_convolutions = False  # the published convolutions see the padding
    for case in ("A", "B"):
        if arrays := reference.arrays(f"{kind}_{case}"):
            yield from _output_rows(model, f"{kind}/{case}", arrays, clips(case))
    model.config.masked_convolutions = True
    if arrays := reference.arrays(f"{kind}_B1_alone"):
        with torch.no_grad():
            output = model(**clips("B"))
        frames = _LENGTHS["B"][1]
        output.unit_logits = output.unit_logits[1:, : frames * UNITS_PER_FRAME]
        output.spectrogram = output.spectrogram[1:, : frames * MEL_PER_FRAME]
        yield from _compared(model, f"{kind}/B1 in its batch, masked", arrays, output)
    model.config.masked_convolutions = False
    for case, expected in (reference.document("train_l2s.json") or {}).items():
        if case.startswith(f"{kind}/"):
            heads = reference.arrays(case.replace("/", "_T_")) or {}
            yield from _training_rows(model, case, expected, heads)


def clips(case: str) -> dict[str, torch.Tensor]:
    """The model's inputs: one clip under the case's name, several under the name and a number."""
    lengths = _LENGTHS[case]
    names = [case] if len(lengths) == 1 else [f"{case}{row}" for row in range(len(lengths))]
    videos = torch.zeros(len(names), max(lengths), 1, 88, 88)
    mask = torch.zeros(len(names), max(lengths), dtype=torch.long)
    for row, (name, length) in enumerate(zip(names, lengths, strict=True)):
        videos[row, :length, 0] = torch.from_numpy(video(name, length))
        mask[row, :length] = 1
    speakers = torch.from_numpy(np.stack([speaker(f"spk{name}") for name in names]))
    return {"pixel_values_videos": videos, "attention_mask": mask, "speaker_embeddings": speakers}


def targets() -> dict[str, torch.Tensor]:
    """Of case T, cut to 2 units and 4 mel frames a video frame; a mel that ends earlier goes on with 0."""
    lengths = _LENGTHS["T"]
    units = torch.full((len(lengths), max(lengths) * UNITS_PER_FRAME), -100)
    mel = torch.zeros(len(lengths), max(lengths) * MEL_PER_FRAME, 80)
    for row, (length, (name, (num_units, frames))) in enumerate(zip(lengths, _TARGETS.items(), strict=True)):
        ids = np.append(integers(f"{name}/units", 200, (num_units,)) + 4, _END)[: length * UNITS_PER_FRAME]
        units[row, : len(ids)] = torch.from_numpy(ids)
        values = (numbers(f"{name}/mel", (frames, 80)) * 2 - 5)[: length * MEL_PER_FRAME]
        mel[row, : len(values)] = torch.from_numpy(values)
    return {"unit_labels": units, "mel_labels": mel}


def _norm_rows(model: Lip2SpeechModel, kind: str) -> Iterator[Row]:
    """By value: another eps hardly shows in the outputs."""
    parts = {"conformer": (model.encoder, 1e-12)}
    if model.config.encoder is not None:
        parts["AV-HuBERT"] = (model.avhubert, 1e-5)
    for name, (part, expected) in parts.items():
        found = [module.eps for module in part.modules() if isinstance(module, nn.LayerNorm)]
        error = max(abs(eps - expected) for eps in found)
        yield Row(kind, f"LayerNorm eps, {name}", error, 0.0)


def _output_rows(model: Lip2SpeechModel, case: str, arrays: dict, inputs: dict) -> Iterator[Row]:
    with torch.no_grad():
        output = model(**inputs)
        yield from _compared(model, case, arrays, output)
        for name in ("tap_w2v_out", "w2v_out"):
            if name in arrays:
                videos, mask = inputs["pixel_values_videos"], inputs["attention_mask"]
                features = model.avhubert(videos, mask).last_hidden_state
                yield Row(case, "AV-HuBERT features", distance(features, arrays[name]), OUTPUT_LIMIT)


def _compared(model: Lip2SpeechModel, case: str, arrays: dict, output: Lip2SpeechOutput) -> Iterator[Row]:
    yield Row(case, "unit logits", distance(output.unit_logits, arrays["logits"]), OUTPUT_LIMIT)
    units, expected = (model.unit_ids(torch.as_tensor(x)) for x in (output.unit_logits, arrays["logits"]))
    yield Row(case, "units that differ", float((units != expected).sum()), 0.0)
    yield Row(case, "mel", distance(output.spectrogram, arrays["mel"]), OUTPUT_LIMIT)
    for name in ("tap_after_norm", "after_norm"):
        if name in arrays:
            error = distance(output.last_hidden_state, arrays[name])
            yield Row(case, "conformer states", error, OUTPUT_LIMIT)


def _training_rows(model: Lip2SpeechModel, case: str, expected: dict, heads: dict) -> Iterator[Row]:
    """A forward and backward pass over case T; `case` says in which mode."""
    _without_dropout(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    mode = case.split("/")[1]
    if model.config.encoder is not None:
        model.config.frozen_encoder_eval = False  # a frozen encoder's batch norms go along, as published
        model.encoder_is_frozen = not mode.endswith("unfrozen")
        model.avhubert.requires_grad_(not model.encoder_is_frozen)
    model.train(mode.startswith("train"))
    inputs, labels = clips("T"), targets()
    clips_here = len(labels["unit_labels"])
    model.zero_grad()
    with torch.set_grad_enabled(not model.training):
        output = model(**inputs, **labels)
    total = clips_here * output.loss  # the published loss is the sum over clips, here it is the mean
    after = {name: buffer.clone() for name, buffer in model.named_buffers()}
    if model.training:
        # Rounding in the batch norms is amplified: against float64, the published gradient norms are up to
        # 6e-4 off, those of float32 here up to 1.1e-3 on a CPU with AVX-512 and AMX, and every CPU rounds in
        # its own way. The error in float64 is that of the published numbers, the same everywhere.
        model.double()
        double = {name: x.double() if x.is_floating_point() else x for name, x in (inputs | labels).items()}
        (clips_here * model(**double).loss).backward()
    else:
        total.backward()
    gradients = {name: None if p.grad is None else p.grad.float() for name, p in model.named_parameters()}
    model.float().eval()

    nll = F.cross_entropy(output.unit_logits.flatten(0, 1), labels["unit_labels"].flatten(), reduction="sum")
    mel_plus_convergence = output.mel_loss + output.spectral_convergence_loss
    losses = {
        "loss": total,
        "nll": nll,
        "ls_ce_sum": clips_here * output.unit_loss,
        "mel_plus_sc": clips_here * mel_plus_convergence,
        "mel_l1": clips_here * output.mel_loss,
        "sc": clips_here * output.spectral_convergence_loss,
    }
    for name, loss in losses.items():
        if name in expected:
            yield Row(case, f"{name} (relative)", relative(loss.item(), expected[name]), LOSS_LIMIT)
    if "logits" in heads:
        yield from _compared(model, case, heads, output)
    yield from _gradient_rows(gradients, lip2speech_names(model), case, expected, heads)
    names = lip2speech_names(model)
    for name, values in expected.get("bn_after_first8", {}).items():
        error = distance(after[names[name]][: len(values)], np.array(values, np.float32))
        yield Row(case, f"{'.'.join(name.split('.')[-3:])} after", error, OUTPUT_LIMIT)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])


def _gradient_rows(gradients: dict, names: dict, case: str, expected: dict, heads: dict) -> Iterator[Row]:
    errors, wrongly_there = [], 0
    for name, norm in expected["grad"].items():
        ours = names[name]
        gradient = gradients.get(ours) if ours is not None else None
        if norm is None:
            wrongly_there += gradient is not None
        else:
            errors.append(float("inf") if gradient is None else relative(gradient.norm().item(), norm))
    yield Row(case, f"{len(errors)} gradient norms (relative)", max(errors), GRADIENT_LIMIT)
    if None in expected["grad"].values():
        yield Row(case, "gradients where there should be none", float(wrongly_there), 0.0)
    whole = torch.stack([g.norm() for g in gradients.values() if g is not None]).norm().item()
    error = relative(whole, expected["grad_total"])
    yield Row(case, "norm of all gradients (relative)", error, GRADIENT_LIMIT)
    errors = []
    for name in expected["grad"]:
        values = heads.get(f"grad_{name.replace('.', '_')}")
        if values is not None:
            ours = gradients[names[name]].flatten()[: len(values)].numpy()
            errors.append(float(np.linalg.norm(ours - values) / np.linalg.norm(values)))
    if errors:
        yield Row(case, f"{len(errors)} gradients' values (relative)", max(errors), VALUES_LIMIT)


def _without_dropout(model: Lip2SpeechModel) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    for config in (model.config, model.config.encoder):
        if config is not None:
            config.attention_dropout = 0.0
