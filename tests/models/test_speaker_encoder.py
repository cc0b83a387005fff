"""The speaker encoder: published vectors, windows, saving."""

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers.audio_utils import mel_filter_bank

from hf_lip2speech.errors import Lip2SpeechError, NoSpeechError
from hf_lip2speech.models.configuration_speaker_encoder import SpeakerEncoderConfig
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder

from ..media.voices import babble
from .small import assert_saving_keeps_every_tensor


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.bundled()


def tiny(**changes) -> SpeakerEncoder:
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "embedding_dim": 8} | changes
    return SpeakerEncoder(SpeakerEncoderConfig(**sizes)).eval()


def test_embeddings_equal_the_published_ones(encoder, lrs3_sample_dir):
    sounds = sorted((lrs3_sample_dir / "audio").rglob("*.wav"))
    assert len(sounds) == 10
    for path in sounds:
        waveform, _ = soundfile.read(path, dtype="float32")
        name = path.relative_to(lrs3_sample_dir / "audio").with_suffix(".npy")
        published = np.load(lrs3_sample_dir / "spk_emb" / name)
        embedding = encoder.embed(waveform)
        assert embedding @ published > 0.99999, name
        assert np.abs(embedding - published).max() < 1e-3, name


def test_an_embedding_is_a_non_negative_unit_vector(encoder):
    embedding = encoder.embed(babble(2.0))
    assert embedding.shape == (256,) and embedding.dtype == np.float32
    assert embedding.min() >= 0
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


def test_what_one_voice_says_is_closer_than_what_another_says(encoder):
    low, low_again, high = (encoder.embed(babble(3.0, p, s)) for p, s in [(100, 0), (100, 1), (220, 0)])
    assert low @ low_again > 0.8 > 0.75 > low @ high


def test_neither_a_lower_volume_nor_silence_around_change_the_voice(encoder):
    speech = babble(4.0)
    silence = np.zeros(16_000, dtype=np.float32)
    expected = encoder.embed(speech)
    assert encoder.embed(speech * 0.01) @ expected > 0.98
    assert encoder.embed(np.concatenate([silence, speech, silence])) @ expected > 0.98


def test_a_recording_shorter_than_a_window_is_embedded(encoder):
    assert np.linalg.norm(encoder.embed(babble(0.5))) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("waveform", "error", "message"),
    [
        (np.zeros(32_000), NoSpeechError, r"No speech.*2\.00 s"),
        (np.zeros(100), NoSpeechError, "No speech"),
        (np.zeros(0), NoSpeechError, "No speech"),
        (np.zeros((2, 16_000)), Lip2SpeechError, r"1-D.*\(2, 16000\)"),
    ],
    ids=["silence", "an instant", "nothing", "stereo"],
)
def test_a_recording_without_a_voice_is_named(encoder, waveform, error, message):
    with pytest.raises(error, match=message):
        encoder.embed(waveform)


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(1_000, 1), (25_600, 1), (31_999, 1), (32_000, 2), (38_400, 2), (44_799, 2), (44_800, 3), (160_000, 12)],
)
def test_windows_start_every_80_frames_and_the_last_one_is_three_quarters_full(samples, windows):
    # window k covers samples 12,800 k to 12,800 k + 25,600
    assert tiny().mel_windows(torch.ones(samples)).shape == (windows, 160, 40)


def test_a_window_is_the_power_mel_of_its_samples():
    waveform = torch.from_numpy(babble(2.4))
    windows = tiny().mel_windows(waveform)
    spectrum = torch.stft(
        waveform, 400, 160, window=torch.hann_window(400), pad_mode="constant", return_complex=True
    )
    bank = mel_filter_bank(201, 40, 0.0, 8000.0, 16_000, norm="slaney", mel_scale="slaney")
    expected = spectrum.abs().square().T @ torch.from_numpy(bank).float()  # (241, 40)
    assert windows.shape == (2, 160, 40)
    torch.testing.assert_close(windows[0], expected[:160])
    torch.testing.assert_close(windows[1], expected[80:240])


def test_a_batch_gives_what_its_windows_give():
    model, mel = tiny(), torch.rand(3, 20, 40)
    torch.testing.assert_close(model(mel)[1:2], model(mel[1:2]))
    assert model(mel).shape == (3, 8)


def test_saving_and_loading_keeps_every_number(tmp_path):
    model = tiny()
    loaded = assert_saving_keeps_every_tensor(model, tmp_path)
    assert loaded.config.to_dict() == model.config.to_dict() | {"_name_or_path": str(tmp_path)}


def test_a_new_encoder_has_finite_weights_of_sensible_size():
    # built as from_pretrained builds it: on the meta device, every weight missing
    config = SpeakerEncoderConfig(hidden_size=16, embedding_dim=8)
    model = SpeakerEncoder.from_pretrained(None, config=config, state_dict={})
    for name, value in model.named_parameters():
        assert value.device.type == "cpu" and torch.isfinite(value).all() and value.abs().max() <= 1, name
        assert name == "linear.bias" or value.std() > 0, name


def test_offloaded_weights_embed_as_weights_in_memory_do(encoder, tmp_path):
    disk = {"device_map": {"": "disk"}, "offload_folder": tmp_path / "offload"}
    encoder.save_pretrained(tmp_path / "saved")
    offloaded = SpeakerEncoder.from_pretrained(tmp_path / "saved", **disk)
    assert offloaded.device.type == "meta"
    np.testing.assert_allclose(offloaded.embed(babble(2.0)), encoder.embed(babble(2.0)), atol=1e-6)


def test_half_precision_gives_about_the_same_vector(encoder):
    half = SpeakerEncoder.bundled().to(torch.bfloat16)
    speech = babble(2.0)
    assert half.embed(speech) @ encoder.embed(speech) > 0.99


@pytest.mark.parametrize(
    "wrong", [{"window_step": 0}, {"window_step": 161}, {"min_coverage": 0.0}, {"hidden_size": "a"}]
)
def test_configs_that_make_no_sense_are_refused(wrong):
    with pytest.raises((ValueError, StrictDataclassError), match=next(iter(wrong))):
        SpeakerEncoderConfig(**wrong)


def test_the_bundled_weights_name_their_origin():
    folder = SpeakerEncoderConfig.bundled_folder
    assert "Resemblyzer" in (folder / "NOTICE").read_text()
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert (folder / "model.safetensors").stat().st_size < 3_000_000
