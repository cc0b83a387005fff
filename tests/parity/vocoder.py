"""The vocoder and its discriminators against the published code's numbers."""

from collections.abc import Iterator

import numpy as np
import torch

from hf_lip2speech.conversion.names import vocoder_names
from hf_lip2speech.losses.gan import (
    VOCODER_LOSS_WEIGHTS,
    LogMelLoss,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from hf_lip2speech.models.configuration_unit_vocoder import UnitVocoderConfig
from hf_lip2speech.models.discriminators import MultiPeriodDiscriminator, MultiScaleDiscriminator
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel

from .deterministic import integers, numbers, speaker
from .reference import Reference, Row, distance, relative

OUTPUT_LIMIT, LOSS_LIMIT, GRADIENT_LIMIT = 1e-4, 1e-5, 1e-3  # absolute; relative; relative

_SIZES = {"A": (1, 10), "B": (2, 28), "T": (2, 28)}  # clips, units


def vocoder_rows(reference: Reference) -> Iterator[Row]:
    """The waveforms that the folder holds."""
    model = reference.model("vocoder")
    if model is None:
        return
    for case in _SIZES:
        if arrays := reference.arrays(f"vocoder_{case}"):
            with torch.no_grad():
                waveform = model(**inputs(case)).waveform
            expected = arrays["wav" if "wav" in arrays else "y_hat"][:, 0]
            yield Row(f"vocoder/{case}", "waveform", distance(waveform, expected), OUTPUT_LIMIT)


def inputs(case: str) -> dict[str, torch.Tensor]:
    """The vocoder's inputs of a case, in the shapes used here."""
    clips, units = _SIZES[case]
    mel = numbers(f"V{case}/mel", (clips, 80, 2 * units)) * 2 - 5
    speakers = np.stack([speaker(f"V{case}/spk{index}") for index in range(clips)])
    return {
        "unit_ids": torch.from_numpy(integers(f"V{case}/code", 200, (clips, units))),
        "spectrogram": torch.from_numpy(mel).transpose(1, 2),
        "speaker_embeddings": torch.from_numpy(speakers),
    }


def vocoder_training_rows(reference: Reference, mode: str) -> Iterator[Row]:
    """Losses and gradients of the discriminators' step, then of the generator's; mode: eval or train.

    The modes differ in the spectral norm of the first scale, whose power iteration continues in training.
    """
    expected = (reference.document("vocoder_train.json") or {}).get(mode)
    weights = {kind: reference.weights(kind) for kind in ("vocoder", "mpd", "msd")}
    if expected is not None and None not in weights.values():
        yield from _Step(weights, mode).rows(expected, reference.arrays("vocoder_T") or {})


class _Step:
    """One training step with the published weights."""

    def __init__(self, weights: dict, mode: str):
        self.case = f"vocoder/{mode}"
        self.training = mode == "train"
        self.generator = UnitVocoderModel(UnitVocoderConfig(unit_dropout=0.0))
        names = vocoder_names(self.generator, weight_norm=True)
        self.generator.apply_weight_norm()
        self.names = {theirs: _parametrised(ours) for theirs, ours in names.items()}
        self.generator.load_state_dict({self.names[k]: v for k, v in weights["vocoder"].items()})
        self.judges = {"mpd": MultiPeriodDiscriminator(), "msd": MultiScaleDiscriminator()}
        for kind, judge in self.judges.items():
            judge.load_state_dict({_judge_name(kind, k): v for k, v in weights[kind].items()})
            judge.train(self.training)
        self.generator.train(self.training)

    def rows(self, expected: dict, arrays: dict) -> Iterator[Row]:
        real = torch.from_numpy(np.clip(numbers("VT/y", (2, 1, 8960)) * 0.2, -1, 1))[:, 0]
        fake = self.generator(**inputs("T")).waveform
        for name, waveform in (("y_mel", real), ("y_hat_mel", fake)):
            if name in arrays:
                error = distance(LogMelLoss().log_mel(waveform), arrays[name])
                yield Row(self.case, f"{name} of the loss", error, OUTPUT_LIMIT)
        yield from self._judges_rows(real, fake.detach(), expected)
        yield from self._generator_rows(real, fake, expected, arrays)

    def _judges_rows(self, real: torch.Tensor, fake: torch.Tensor, expected: dict) -> Iterator[Row]:
        squares = 0.0
        for kind, judge in self.judges.items():
            loss, *parts = discriminator_loss(judge(real)[0], judge(fake)[0])
            loss.backward()
            yield self._loss(f"disc_{kind}", loss, expected)
            for side, values in zip(("real", "fake"), parts, strict=True):
                errors = [
                    relative(value.item(), other)
                    for value, other in zip(values, expected[f"disc_{kind}_{side}"], strict=True)
                ]
                yield Row(self.case, f"disc_{kind}_{side} (relative)", max(errors), LOSS_LIMIT)
            gradients = {name: p.grad for name, p in judge.named_parameters()}
            ours = {name: gradients[_judge_name(kind, name)] for name in expected[f"grad_{kind}"]}
            yield self._gradients(f"grad_{kind}", ours, expected[f"grad_{kind}"])
            squares += sum(float(gradient.norm()) ** 2 for gradient in gradients.values())
        error = relative(squares**0.5, expected["grad_disc_total"])
        yield Row(self.case, "grad_disc_total (relative)", error, GRADIENT_LIMIT)

    def _generator_rows(
        self, real: torch.Tensor, fake: torch.Tensor, expected: dict, arrays: dict
    ) -> Iterator[Row]:
        total = VOCODER_LOSS_WEIGHTS["mel"] * LogMelLoss()(fake, real)
        yield self._loss("mel45", total, expected)
        for kind, judge in self.judges.items():
            judge.requires_grad_(False)  # a constant of the generator's step
            with torch.no_grad():
                _, real_maps = judge(real)
            scores, fake_maps = judge(fake)
            matching = VOCODER_LOSS_WEIGHTS["feature_matching"] * feature_matching_loss(real_maps, fake_maps)
            adversarial = adversarial_loss(scores)
            yield self._loss(f"fm_{kind}", matching, expected)
            yield self._loss(f"gen_{kind}", adversarial, expected)
            total = total + matching + adversarial
            if f"{kind}0" in arrays and (kind == "mpd" or not self.training):
                errors = [distance(score, arrays[f"{kind}{index}"]) for index, score in enumerate(scores)]
                yield Row(self.case, f"{kind} scores", max(errors), OUTPUT_LIMIT)
        yield self._loss("gen_total", total, expected)
        total.backward()
        gradients = {name: p.grad for name, p in self.generator.named_parameters()}
        ours = {name: gradients[self.names[name]] for name in expected["grad_gen"]}
        yield self._gradients("grad_gen", ours, expected["grad_gen"])
        whole = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().item()
        error = relative(whole, expected["grad_gen_total"])
        yield Row(self.case, "grad_gen_total (relative)", error, GRADIENT_LIMIT)

    def _loss(self, name: str, loss: torch.Tensor, expected: dict) -> Row:
        return Row(self.case, f"{name} (relative)", relative(loss.item(), expected[name]), LOSS_LIMIT)

    def _gradients(self, name: str, gradients: dict, norms: dict) -> Row:
        errors = [relative(gradients[key].norm().item(), norm) for key, norm in norms.items()]
        return Row(self.case, f"{name}: {len(errors)} norms (relative)", max(errors), GRADIENT_LIMIT)


def _parametrised(name: str) -> str:
    """`x.weight_g` -> `x.parametrizations.weight.original0`, `x.weight_v` -> `...original1`."""
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )


def _judge_name(kind: str, name: str) -> str:
    """The first scale's spectral norm keeps its names."""
    return name if kind == "msd" and name.startswith("discriminators.0.") else _parametrised(name)
