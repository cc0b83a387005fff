"""ONNX files of complete systems, in ONNX Runtime, against the models in torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hf_lip2speech_cli
from hf_lip2speech import (
    Lip2SpeechFeatureExtractor,
    Lip2SpeechModel,
    Lip2SpeechWithVocoder,
    UnitVocoderModel,
    export,
)
from hf_lip2speech.composite import save_composite
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.export import export_onnx
from hf_lip2speech.media.audio import read_audio

from .models.small import clips, with_encoder, with_frontend
from .models.test_istft_vocoder import istft_model
from .tiny_model import noise_mouth, unit_vector

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PARTS = {
    "front end, HiFi-GAN": ("frontend", "hifigan"),
    "AV-HuBERT, inverse STFT": ("avhubert", "istft"),
}
EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx" / "speak.py"
VOCODER = {"num_units": 20, "speaker_embedding_dim": 256, "upsample_initial_channel": 32}


def small_composite(reader: str, generator: str) -> Lip2SpeechWithVocoder:
    reads: Lip2SpeechModel = with_encoder() if reader == "avhubert" else with_frontend(text_vocabulary="ab ")
    reads.mel_head.out_proj.bias.data -= 5  # as loud as speech
    speaks: UnitVocoderModel = istft_model(generator_type=generator, **VOCODER)
    if generator == "hifigan":  # as initialised, it is all but silent
        for parameter in speaks.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, parameter[0].numel() ** -0.5)
    voices = {"ann": unit_vector(1), "bob": unit_vector(2)}
    return Lip2SpeechWithVocoder.from_parts(reads, speaks, voices, "bob").eval()


@pytest.fixture(scope="module", params=PARTS.values(), ids=[*PARTS])
def exported(request, tmp_path_factory):
    """A model and the folder that its folder was exported to, with int8 files."""
    folder = tmp_path_factory.mktemp("export")
    model = small_composite(*request.param)
    save_composite(model, folder / "model")
    assert hf_lip2speech_cli.main(["export", str(folder / "model"), str(folder / "onnx"), "--int8"]) == 0
    return model, folder / "onnx"


def run(path, *inputs: torch.Tensor) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    outputs = session.run(None, given)
    return {one.name: value for one, value in zip(session.get_outputs(), outputs, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [(1,), (2,), (31,), (9, 4), (3, 12, 1, 7)])
def test_they_speak_as_torch_at_every_length_and_batch_size(exported, lengths):
    model, folder = exported
    videos, mask, speakers = clips(*lengths)
    with torch.no_grad():
        expected = model(videos, mask, speakers)
        text = model.lip2speech(videos, mask, speakers, return_dict=True).text_logits
    read = run(folder / "lip_reader.onnx", videos, mask, speakers)
    inside = mask.bool().repeat_interleave(2, dim=1)
    same = {"atol": 1e-3, "rtol": 0}
    np.testing.assert_allclose(read["unit_logits"][inside], expected.unit_logits[inside], **same)
    np.testing.assert_allclose(read["spectrogram"], expected.spectrogram, **same)
    assert ("text_logits" in read) == (text is not None)
    if text is not None:
        np.testing.assert_allclose(read["text_logits"][inside], text[inside], **same)
    assert np.array_equal(read["unit_ids"][inside], expected.unit_ids[inside])
    spoken = (expected.unit_ids, expected.spectrogram, speakers, inside.long())
    waveform = run(folder / "vocoder.onnx", *spoken)["waveform"]
    np.testing.assert_allclose(waveform, expected.waveform, **same)
    assert np.abs(waveform).max() > 0.01  # it says something


@pytest.mark.slow
def test_the_int8_lip_reader_computes_matrix_products_in_8_bits_and_nearly_the_same(exported):
    import onnx

    model, folder = exported
    nodes = onnx.load(folder / "lip_reader.int8.onnx").graph.node
    operators = {node.op_type for node in nodes}
    assert "MatMulInteger" in operators and "ConvInteger" not in operators and "Conv" in operators
    heads = [node.op_type for node in nodes if any("_head" in entry.value for entry in node.metadata_props)]
    assert heads.count("MatMul") == 2 + (model.config.lip2speech.text_vocabulary is not None)
    videos, mask, speakers = clips(9, 4)
    exact, rounded = (
        run(folder / f"lip_reader{end}.onnx", videos, mask, speakers)["spectrogram"] for end in ("", ".int8")
    )
    assert 0 < np.abs(exact - rounded).mean() < 0.1 * exact.std()


@pytest.mark.slow
def test_the_folder_says_all_that_one_needs(exported):
    model, folder = exported
    settings = json.loads((folder / "preprocessing.json").read_text())
    assert settings["pixel_mean"] == 0.421 and settings["default_voice"] == "bob"
    assert settings["text_vocabulary"] == model.config.lip2speech.text_vocabulary
    voices = json.loads((folder / "voices.json").read_text())
    np.testing.assert_allclose(voices["ann"], unit_vector(1), atol=1e-7)
    readme = (folder / "README.md").read_text()
    for path in folder.iterdir():
        assert path.name in readme or path.name == "README.md"
    assert "opset 18" in readme and "| output | `waveform` | float32 | (B, 640T) |" in readme


@pytest.mark.slow
@pytest.mark.parametrize("window", [500, 8])
def test_the_example_speaks_with_numpy_and_onnx_runtime_alone(exported, tmp_path, window):
    model, folder = exported
    copy = shutil.copytree(folder, tmp_path / "onnx")
    settings = json.loads((copy / "preprocessing.json").read_text()) | {"window_frames": window}
    (copy / "preprocessing.json").write_text(json.dumps(settings))
    crops = noise_mouth(21)
    np.savez(tmp_path / "mouth.npz", crops=crops)
    blocked = (
        "import runpy, sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'hf_lip2speech')));"
    )
    code = f"{blocked} sys.argv[0] = {str(EXAMPLE)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = [str(copy), str(tmp_path / "mouth.npz"), str(tmp_path / "speech.wav"), "ann"]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, timeout=300)
    batch = Lip2SpeechFeatureExtractor()([crops], return_tensors="pt")
    with torch.no_grad():
        expected = model(**batch, voice="ann", window_frames=window).waveform[0]
    np.testing.assert_allclose(read_audio(tmp_path / "speech.wav"), expected, atol=2e-3)


@pytest.mark.slow
def test_a_file_that_differs_from_torch_is_not_written(tmp_path, monkeypatch):
    save_composite(small_composite("frontend", "hifigan"), tmp_path / "model")
    monkeypatch.setattr(export, "TOLERANCE", 1e-12)
    with pytest.raises(Lip2SpeechError, match="lip_reader.onnx differs from torch by up to"):
        export_onnx(tmp_path / "model", tmp_path / "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_cannot_be_exported_is_said_in_a_line_and_nothing_is_written(tmp_path, capsys):
    with_frontend().save_pretrained(tmp_path / "reader")
    for model, message in {
        "reader": "loads 'lip2speech_with_vocoder'",
        "nothing/here": "Nothing could be loaded from",
    }.items():
        name = str(tmp_path / model) if model == "reader" else model
        assert hf_lip2speech_cli.main(["export", name, str(tmp_path / "onnx")]) == 1
        assert message in capsys.readouterr().err
    assert hf_lip2speech_cli.main(["export", "bundled", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["reader"]
