"""The model that comes with the package: its size, its default place, and that it still says what it said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, BertConfig, pipeline
from transformers.utils import logging

import hf_lip2speech
from hf_lip2speech import (
    Lip2SpeechFeatureExtractor,
    Lip2SpeechModel,
    Lip2SpeechWithVocoder,
    Lip2SpeechWithVocoderConfig,
    LipToSpeechPipeline,
    SpeakerEncoder,
    SpeechUnitExtractor,
    UnitVocoderConfig,
    UnitVocoderModel,
)
from hf_lip2speech.data.corpora import Clip
from hf_lip2speech.evaluation.metrics import wer
from hf_lip2speech.evaluation.recognisers import PocketsphinxGrid
from hf_lip2speech.loading import BUNDLED
from hf_lip2speech.synthetic import RenderedTalker
from hf_lip2speech.training.stages import build_model
from hf_lip2speech_cli import main

from .training.prepared_folder import write_prepared_folder

ASSETS = Path(hf_lip2speech.__file__).parent / "assets"
SAMPLE = Path(__file__).parents[1] / "examples" / "sample"
CLIPS = Path(__file__).parent / "synthetic" / "rendered"


@pytest.fixture(scope="module")
def speak():
    return pipeline("lip-to-speech", device="cpu")


def test_the_pipeline_without_a_model_or_with_bundled_speaks_with_the_bundled_one(speak, caplog):
    assert Path(speak.model.config._name_or_path) == BUNDLED
    logging.get_logger("transformers").addHandler(caplog.handler)
    named = pipeline("lip-to-speech", model="bundled", device="cpu")
    assert not caplog.records  # nor warnings on the example of the README
    assert isinstance(named, LipToSpeechPipeline)
    for name, tensor in named.model.state_dict().items():
        assert torch.equal(tensor, speak.model.state_dict()[name]), name
    assert speak.model.config.default_voice == "grid_s1"
    assert speak.voices == ["awb", "grid_s1", "kal", "rms", "slt"]


def test_a_folder_called_bundled_is_what_other_models_load_by_that_name(speak, tmp_path, monkeypatch):
    BertConfig(hidden_size=8).save_pretrained(tmp_path / "bundled")
    assert AutoConfig.from_pretrained("bundled").model_type == speak.model.config.model_type
    monkeypatch.chdir(tmp_path)
    assert AutoConfig.from_pretrained("bundled").hidden_size == 8


def test_it_is_stored_in_half_the_size_and_computed_in_float32_unless_told_otherwise(speak):
    stored = [tensor for shard in BUNDLED.glob("model-*.safetensors") for tensor in load_file(shard).values()]
    assert {tensor.dtype for tensor in stored if tensor.is_floating_point()} == {torch.float16}
    assert json.loads((BUNDLED / "config.json").read_text())["dtype"] == "float32"
    assert {parameter.dtype for parameter in speak.model.parameters()} == {torch.float32}
    half = pipeline("lip-to-speech", device="cpu", dtype=torch.bfloat16)
    assert half.model.dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("source", "loaded"),
    [(kind, kind) for kind in (Lip2SpeechWithVocoder, Lip2SpeechModel, UnitVocoderModel, SpeakerEncoder)]
    + [(kind, kind) for kind in (SpeechUnitExtractor, Lip2SpeechFeatureExtractor, UnitVocoderConfig)]
    + [(AutoModel, Lip2SpeechWithVocoder), (AutoFeatureExtractor, Lip2SpeechFeatureExtractor)]
    + [(AutoConfig, Lip2SpeechWithVocoderConfig)],
    ids=lambda kind: kind.__name__,
)
def test_every_class_loads_what_is_bundled_by_that_name(source, loaded):
    assert type(source.from_pretrained("bundled")) is loaded


def test_all_weights_together_stay_below_20_megabytes_and_each_file_below_16():
    folders = (BUNDLED, ASSETS / "speaker_encoder")
    sizes = [path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert sum(sizes) <= 20_000_000
    assert max(sizes) <= 16_000_000


@pytest.fixture(scope="module")
def rendered() -> list[Clip]:
    """A clip of each rendered talker, none of whose sentences the model has seen."""
    return list(RenderedTalker(CLIPS))


def test_it_brings_the_extractor_of_its_units_and_uses_both_heads_and_both_vocoder_inputs(speak, rendered):
    extractor = SpeechUnitExtractor.from_pretrained(BUNDLED / "unit_extractor")
    model = speak.model
    assert extractor.config.num_units == model.config.lip2speech.num_units == model.config.vocoder.num_units
    speech = speak(str(rendered[0].video), return_units=True, return_spectrogram=True)
    units, mel = (torch.from_numpy(speech[name])[None] for name in ("unit_ids", "spectrogram"))
    voice = model.voice()[None]
    with torch.no_grad():
        both = model.vocoder(units, mel, voice).waveform
        other_units = model.vocoder(torch.zeros_like(units), mel, voice).waveform
        no_mel = model.vocoder(units, torch.zeros_like(mel), voice).waveform
    np.testing.assert_allclose(both[0].numpy(), speech["audio"], atol=1e-4)
    assert (both - other_units).abs().max() > 0.05 * both.abs().max()
    assert (both - no_mel).abs().max() > 0.05 * both.abs().max()


def test_it_still_says_what_is_said_in_the_rendered_clips(speak, rendered):
    hear = PocketsphinxGrid()
    heard = [hear(speak(str(clip.video), speaker=clip.speaker)["audio"]) for clip in rendered]
    assert wer([clip.text for clip in rendered], heard) <= 0.2, heard


def test_it_says_the_sample_videos_sentence_in_its_default_voice(speak):
    said = (SAMPLE / "talker.txt").read_text().strip()
    heard = PocketsphinxGrid()(speak(str(SAMPLE / "talker.mp4"))["audio"])
    assert wer([said], [heard]) <= 1 / 6, heard


@pytest.mark.slow
def test_every_voice_sounds_more_like_itself_than_like_any_other(speak, rendered):
    encoder = SpeakerEncoder.bundled()
    voices = speak.model.voices
    for asked in voices:
        speech = np.concatenate([speak(str(clip.video), speaker=asked)["audio"] for clip in rendered[:2]])
        embedding = encoder.embed(speech)
        similarity = {name: float(np.dot(embedding, voice)) for name, voice in voices.items()}
        assert max(similarity, key=similarity.get) == asked, similarity


@pytest.mark.parametrize("part, kind", [("lip2speech", Lip2SpeechModel), ("vocoder", UnitVocoderModel)])
def test_a_training_starts_from_it_by_the_name_bundled(speak, part, kind):
    model = build_model(kind, {}, "bundled")
    expected = getattr(speak.model, part).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_it_is_composed_anew_with_other_voices_by_the_name_bundled(speak, tmp_path):
    prepared = write_prepared_folder(tmp_path / "prepared", train=2, val=1, speaker="ann")
    out = tmp_path / "model"
    assert main(["compose", "bundled", "bundled", str(out), "--voices", str(prepared)]) == 0
    composed = load_file(out / "model.safetensors")
    assert all(torch.equal(composed[name], value) for name, value in speak.model.state_dict().items())
    assert list(json.loads((out / "config.json").read_text())["voices"]) == ["ann"]
    kept, own = (SpeechUnitExtractor.from_pretrained(folder / "unit_extractor") for folder in (out, BUNDLED))
    assert kept.same_units(own), "not those of the folder with the voices"
