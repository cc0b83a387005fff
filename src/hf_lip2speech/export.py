"""A complete lip-to-speech system as ONNX files, which run without torch and transformers.

Shapes: B clips of T video frames (25 fps), 2T units, 4T mel frames, 640T samples (16 kHz). B and T are free.
"""

import logging
import shutil
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hf_lip2speech_extras import require_extra, require_needed

from .cards import render
from .composite import feature_extractor_for
from .constants import FRAME_RATE, SAMPLES_PER_FRAME, SAMPLING_RATE
from .errors import Lip2SpeechError
from .feature_extraction_lip2speech import SMALLEST_DEVIATION, Lip2SpeechFeatureExtractor
from .files import new_folder, write_json
from .loading import file_beside, model_source
from .models.modeling_lip2speech import Lip2SpeechModel
from .models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from .models.modeling_unit_vocoder import UnitVocoderModel
from .models.padding import Padding

EXTRA = "onnx"
OPSET = 18
TOLERANCE = 1e-3  # largest difference to torch: logits, natural-log mel, samples in -1..1
LIP_READER, VOCODER = "lip_reader.onnx", "vocoder.onnx"
PREPROCESSING, VOICES = "preprocessing.json", "voices.json"
INT8 = ".int8.onnx"  # the end of an int8 file's name, for ".onnx"
_LARGEST_FILE = 1_900_000_000  # bytes of weights in one ONNX file, which may have 2 GB
_WINDOW = {"window_frames": 500, "context_frames": 100}  # as the pipeline reads long clips


def export_onnx(model: str | Path, out: str | Path, *, int8: bool = False) -> dict[str, float]:
    """Write a complete system as ONNX files into a new folder, or write nothing.

    The files are run once at another length and batch size than they were made with, and compared with torch.

    Args:
        model: folder, Hub name or "bundled" of a composite.
        out: a folder that does not exist. It gets lip_reader.onnx, vocoder.onnx, preprocessing.json,
            voices.json and a README.md with names, shapes and units.
        int8: also write lip_reader.int8.onnx, whose matrix products are computed in 8 bits, but those that
            predict units, mel and text. Convolutions stay float32, as does the vocoder, whose words would
            suffer most (docs/export.md).

    Returns:
        The largest difference to torch of each float32 file: of unit logits and natural-log mel, or samples.

    Raises:
        MissingExtraError: the extra "onnx" is not installed.
        Lip2SpeechError: `out` exists, or a file differs from torch by more than 1e-3.
        NotLoadedError, WrongKindError: there is no such model, or it is no composite.
    """
    require_needed("export")
    source = model_source(model)
    with new_folder(out) as folder:
        loaded = Lip2SpeechWithVocoder.from_pretrained(source, dtype=torch.float32).eval()
        loaded.set_attn_implementation("eager")  # the exporter fails on the fused one's memory layout
        extractor = feature_extractor_for(source, loaded)
        differences = {}
        parts = {LIP_READER: _LipReader(loaded.lip2speech), VOCODER: _Vocoder(loaded.vocoder)}
        for name, part in parts.items():
            _export(part, folder / name)
            differences[name] = _difference(part, folder / name)
        if int8:
            _quantise(folder / LIP_READER)
        settings = _preprocessing(extractor, loaded)
        write_json(folder / PREPROCESSING, settings, indent=1)
        voices = {name: voice.tolist() for name, voice in loaded.voices.items()}
        write_json(folder / VOICES, voices, indent=1)
        card = file_beside(source, "README.md")
        if card is not None:
            shutil.copyfile(card, folder / "MODEL_CARD.md")
        (folder / "README.md").write_text(
            render(
                "onnx.md",
                name=str(model),
                opset=OPSET,
                inputs_and_outputs={
                    name: {"input": part.inputs, "output": part.outputs} for name, part in parts.items()
                },
                sizes={path.name: path.stat().st_size for path in sorted(folder.glob("*.onnx*"))},
                differences=differences,
                settings=settings,
                voices=list(loaded.voices),
                has_card=card is not None,
            ),
            encoding="utf-8",
        )
    return differences


class _DensePadding(Padding):
    """Padding whose frames are computed and then zeroed: a graph has no tensors of unknown size."""

    @classmethod
    def from_mask(cls, mask: torch.Tensor) -> "_DensePadding":
        return cls(mask, mask)

    def pack(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, 1)

    def unpack(self, packed: torch.Tensor) -> torch.Tensor:
        return self.zero(packed.unflatten(0, self.mask.shape))


class _LipReader(nn.Module):
    """What lip_reader.onnx computes."""

    def __init__(self, model: Lip2SpeechModel):
        super().__init__()
        self.model, config = model, model.config
        self.outputs = {
            "unit_ids": ("int64", "(B, 2T)", "speech units at 50 Hz, numbered from 0"),
            "spectrogram": ("float32", f"(B, 4T, {config.num_mel_bins})", "natural-log mel at 100 Hz"),
            "unit_logits": ("float32", f"(B, 2T, {config.num_unit_classes})", "scores of the units"),
        }
        if config.text_vocabulary is not None:
            shape = f"(B, 2T, {len(config.text_vocabulary) + 1})"
            about = "scores of the blank and the characters of `text_vocabulary` (CTC)"
            self.outputs["text_logits"] = ("float32", shape, about)
        crops = f"(B, T, 1, {config.crop_size}, {config.crop_size})"
        voices = f"(B, {config.speaker_embedding_dim})"
        self.inputs = {
            "pixel_values_videos": ("float32", crops, "normalised gray mouth crops, 25 frames per second"),
            "attention_mask": ("int64", "(B, T)", "1 = frame, 0 = padding, which comes last"),
            "speaker_embeddings": ("float32", voices, "the voice, see voices.json"),
        }

    def forward(
        self,
        pixel_values_videos: torch.Tensor,
        attention_mask: torch.Tensor,
        speaker_embeddings: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        padding = _DensePadding.from_mask(attention_mask.bool())
        output = self.model(pixel_values_videos, padding, speaker_embeddings, return_dict=True)
        unit_ids = self.model.unit_ids(output.unit_logits)
        found = (unit_ids, output.spectrogram, output.unit_logits, output.text_logits)
        return tuple(value for value in found if value is not None)

    def example(self, lengths: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        size, frames = self.model.config.crop_size, max(lengths)
        videos = torch.randn(len(lengths), frames, 1, size, size, generator=_generator())
        mask = _mask(lengths)
        return videos * mask[:, :, None, None, None], mask, _speakers(self.model, len(lengths))

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        batch, frames = torch.export.Dim("batch"), torch.export.Dim("frames", min=2, max=100_000)
        long = {0: batch, 1: frames}
        return {"pixel_values_videos": long, "attention_mask": long, "speaker_embeddings": {0: batch}}


class _Vocoder(nn.Module):
    """What vocoder.onnx computes."""

    def __init__(self, model: UnitVocoderModel):
        super().__init__()
        self.model = model
        config = model.config
        self.inputs = {
            "unit_ids": ("int64", "(B, 2T)", "of the lip reader"),
            "spectrogram": ("float32", f"(B, 4T, {config.num_mel_bins})", "of the lip reader"),
            "speaker_embeddings": ("float32", f"(B, {config.speaker_embedding_dim})", "the same voice"),
            "unit_attention_mask": ("int64", "(B, 2T)", "1 = unit, 0 = padding: each frame's value twice"),
        }
        self.outputs = {"waveform": ("float32", "(B, 640T)", f"samples in -1..1 at {SAMPLING_RATE} Hz")}

    def forward(
        self,
        unit_ids: torch.Tensor,
        spectrogram: torch.Tensor,
        speaker_embeddings: torch.Tensor,
        unit_attention_mask: torch.Tensor,
    ) -> torch.Tensor:
        return self.model(
            unit_ids, spectrogram, speaker_embeddings, unit_attention_mask, return_dict=True
        ).waveform

    def example(self, lengths: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        config, shape = self.model.config, (len(lengths), 2 * max(lengths))
        units = torch.randint(config.num_units, shape, generator=_generator())
        mel = torch.randn(shape[0], 2 * shape[1], config.num_mel_bins, generator=_generator()) - 5
        return units, mel, _speakers(self.model, shape[0]), _mask(lengths).repeat_interleave(2, dim=1)

    def dynamic_shapes(self) -> dict[str, dict[int, Any]]:
        batch, units = torch.export.Dim("batch"), torch.export.Dim("units", min=2, max=200_000)
        long = {0: batch, 1: units}
        return {
            "unit_ids": long,
            "spectrogram": {0: batch, 1: 2 * units},
            "speaker_embeddings": {0: batch},
            "unit_attention_mask": long,
        }


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _speakers(model: Any, batch: int) -> torch.Tensor:
    voices = torch.rand(batch, model.config.speaker_embedding_dim, generator=_generator())
    return voices / voices.norm(dim=1, keepdim=True)


def _mask(lengths: tuple[int, ...]) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def _export(part: Any, path: Path) -> None:
    weights = sum(parameter.nbytes for parameter in part.parameters())
    # It warns that torchvision is not there.
    with _errors_alone("torch.onnx._internal.exporter._registration"), torch.no_grad():
        torch.onnx.export(
            part,
            part.example((7, 5)),
            path,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=part.dynamic_shapes(),
            opset_version=OPSET,
            external_data=weights > _LARGEST_FILE,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _errors_alone(logger: str | None) -> Generator[None]:
    """Without the warnings of a logger, None: the root, and of Python."""
    found = logging.getLogger(logger)
    level = found.level
    found.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        found.setLevel(level)


def _difference(part: Any, path: Path) -> float:
    """The largest difference of a file's outputs to torch's, at another length and batch size."""
    session = require_extra("onnxruntime", EXTRA).InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = part.example((23, 4, 16))
    given = {name: value.numpy() for name, value in zip(part.inputs, inputs, strict=True)}
    with torch.no_grad():
        expected = part(*inputs)
    expected = (expected,) if isinstance(expected, torch.Tensor) else expected
    worst = 0.0
    for one, other in zip(session.run(None, given), expected, strict=True):
        if other.is_floating_point():  # an integer may differ where two scores are all but equal
            difference = np.abs(one - other.numpy())
            worst = max(worst, float(difference.max()) if np.isfinite(difference).all() else np.inf)
    if worst > TOLERANCE:
        raise Lip2SpeechError(
            f"{path.name} differs from torch by up to {worst:.2g}; expected at most {TOLERANCE:g}. Nothing "
            "was written. Please report it with the versions of torch and onnxruntime."
        )
    return worst


def _quantise(path: Path) -> None:
    """Write the int8 file beside a float32 lip reader."""
    quantization = require_extra("onnxruntime.quantization", EXTRA)
    graph = require_extra("onnx", EXTRA).load(path, load_external_data=False).graph
    heads = [node.name for node in graph.node if any("_head" in entry.value for entry in node.metadata_props)]
    with _errors_alone(None):  # it advises a step that is for static quantisation
        quantization.quantize_dynamic(
            path,
            path.with_suffix(INT8),
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=heads,
            per_channel=True,
            weight_type=quantization.QuantType.QInt8,
            use_external_data_format=path.with_name(f"{path.name}.data").exists(),
        )


def _preprocessing(extractor: Lip2SpeechFeatureExtractor, model: Lip2SpeechWithVocoder) -> dict[str, Any]:
    stated = ("mouth_size", "crop_size", "pixel_mean", "pixel_std", "clip_mean", "clip_std")
    return {
        "frame_rate": FRAME_RATE,
        **{name: getattr(extractor, name) for name in stated},
        "smallest_deviation": SMALLEST_DEVIATION,
        "sampling_rate": SAMPLING_RATE,
        "samples_per_frame": SAMPLES_PER_FRAME,
        **_WINDOW,
        "default_voice": model.config.default_voice,
        "text_vocabulary": model.config.lip2speech.text_vocabulary,
    }
