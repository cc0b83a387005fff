"""A complete system with a mel flow: in Python, through the pipeline, on the command line."""

import json

import numpy as np
import pytest
import torch

import hf_lip2speech_cli
from hf_lip2speech import (
    Lip2SpeechModel,
    Lip2SpeechWithVocoder,
    MelFlowConfig,
    MelFlowModel,
    UnitVocoderModel,
)
from hf_lip2speech.errors import Lip2SpeechError

from .models.small import clips
from .tiny_model import noise_videos, save_model, tiny_model, tiny_pipeline
from .training.prepared_folder import write_prepared_folder


@pytest.fixture(scope="module")
def flow() -> MelFlowModel:
    torch.manual_seed(0)
    sizes = {"unit_embedding_dim": 8, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    model = MelFlowModel(MelFlowConfig(num_units=20, **sizes)).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model(flow) -> Lip2SpeechWithVocoder:
    parts = tiny_model()
    return Lip2SpeechWithVocoder.from_parts(parts.lip2speech, parts.vocoder, parts.voices, "ann", flow)


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_it_speaks_a_sample_of_the_flow_the_same_in_a_batch_as_alone(model, flow):
    videos, mask, _ = clips(9, 6)
    options = {"num_inference_steps": 3, "guidance_scale": 1.5}
    batch = model.generate_speech(videos, mask, generator=seeded(1, 2), **options)
    alone = model.generate_speech(videos[1:, :6], generator=seeded(2), **options)
    torch.testing.assert_close(batch.waveform[1, : 6 * 640], alone.waveform[0], atol=1e-4, rtol=0)
    assert not batch.spectrogram[1, 24:].any()
    without = tiny_model().generate_speech(videos[1:, :6])
    voice = model.voice("ann")[None]
    given = (without.spectrogram, without.unit_ids, voice)
    expected = flow(*given, generator=seeded(2), **options).spectrogram
    torch.testing.assert_close(alone.spectrogram, expected, atol=1e-4, rtol=0)
    assert (alone.waveform - without.waveform).abs().max() > 1e-3


def test_its_parts_load_together_and_alone(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = Lip2SpeechWithVocoder.from_pretrained(tmp_path).eval()
    videos, *_ = clips(5)
    one, other = (system.generate_speech(videos, generator=seeded(1)).waveform for system in (model, loaded))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for kind, part in {
        Lip2SpeechModel: "lip2speech",
        UnitVocoderModel: "vocoder",
        MelFlowModel: "mel_flow",
    }.items():
        found, report = kind.from_pretrained(tmp_path, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        for name, tensor in getattr(model, part).state_dict().items():
            assert torch.equal(tensor, found.state_dict()[name])


def test_a_system_without_one_neither_has_nor_says_anything_of_it(tmp_path):
    system = tiny_model()
    system.save_pretrained(tmp_path)
    assert system.mel_flow is None and "mel_flow" not in (tmp_path / "config.json").read_text()
    assert Lip2SpeechWithVocoder.from_pretrained(tmp_path).config.mel_flow is None
    for options in ({"num_inference_steps": 4}, {"guidance_scale": 2.0}, {"generator": torch.Generator()}):
        with pytest.raises(
            Lip2SpeechError, match=f"{next(iter(options))} was given, but the model has no mel"
        ):
            system.generate_speech(clips(2)[0], **options)


def test_the_parts_must_fit():
    parts = tiny_model()
    with pytest.raises(Exception, match="has num_units 20 and the mel flow 200"):
        Lip2SpeechWithVocoder.from_parts(
            parts.lip2speech, parts.vocoder, mel_flow=MelFlowModel(MelFlowConfig(hidden_size=8))
        )


def test_the_pipeline_repeats_a_seed_and_samples_again_with_another(model):
    speak, videos = tiny_pipeline(model), noise_videos(9, 6)
    first = [speak(video, cropped=True)["audio"] for video in videos]
    batch = speak(videos, cropped=True, batch_size=2, seed=0)
    for one, other in zip(first, batch, strict=True):
        np.testing.assert_allclose(one, other["audio"], atol=1e-4)
    again = speak(videos[0], cropped=True, seed=1)["audio"]
    assert np.abs(again - first[0]).max() > 1e-3
    steps = speak(videos[0], cropped=True, num_inference_steps=1, guidance_scale=2)["audio"]
    assert np.abs(steps - first[0]).max() > 1e-3
    for options, message in {
        ("seed", -1): "seed is -1; expected a whole number",
        ("num_inference_steps", 1000): "num_inference_steps is 1000; expected a whole number, 1 to 100",
        ("guidance_scale", -1.0): "guidance_scale is -1.0; expected a number of at least 0",
    }.items():
        with pytest.raises(Lip2SpeechError, match=message):
            speak(videos[0], cropped=True, **dict([options]))
    plain = tiny_pipeline()
    with pytest.raises(Lip2SpeechError, match="seed was given, but the model has no mel flow"):
        plain(videos[0], cropped=True, seed=1)


def test_compose_adds_a_flow(model, flow, tmp_path, capsys):
    model.lip2speech.save_pretrained(tmp_path / "lip2speech")
    model.vocoder.save_pretrained(tmp_path / "vocoder")
    flow.save_pretrained(tmp_path / "flow")
    write_prepared_folder(tmp_path / "prepared")
    words = ["compose", *(str(tmp_path / name) for name in ("lip2speech", "vocoder", "out"))]
    words += ["--voices", str(tmp_path / "prepared"), "--mel-flow"]
    assert hf_lip2speech_cli.main([*words, str(tmp_path / "prepared")]) == 1
    assert "holds no config.json" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert hf_lip2speech_cli.main([*words, str(tmp_path / "flow")]) == 0
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["mel_flow"]["num_inference_steps"] == 4
    loaded = Lip2SpeechWithVocoder.from_pretrained(tmp_path / "out")
    for name, tensor in flow.state_dict().items():
        assert torch.equal(tensor, loaded.mel_flow.state_dict()[name])


def test_speak_names_its_option_where_the_model_has_no_flow(tmp_path, capsys):
    save_model(tmp_path / "model")
    (tmp_path / "v.mp4").write_bytes(b"no video")
    words = ["speak", str(tmp_path / "v.mp4"), "-m", str(tmp_path / "model"), "--seed", "3"]
    assert hf_lip2speech_cli.main([*words, "-o", str(tmp_path / "o.wav"), "--cropped"]) == 1
    assert "--seed was given, but the model has no mel flow" in capsys.readouterr().err
