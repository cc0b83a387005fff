"""Metrics of a voice: pitch, speaker similarity, quality."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_lip2speech.audio.speech import f0
from hf_lip2speech.errors import MetricError, NoSpeechError, UndefinedMetricError
from hf_lip2speech.evaluation import quality
from hf_lip2speech.evaluation.quality import distill_mos, dnsmos, dnsmos_name
from hf_lip2speech.evaluation.voice import embedding_similarity, f0_errors, speaker_similarity
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder

from ..media.voices import babble
from .material import RATE, add_noise, flite, late

SENTENCES = ("The birch canoe slid on the smooth planks.", "Glue the sheet to the dark blue background.")


@pytest.fixture
def praat():
    pytest.importorskip("parselmouth")


@pytest.fixture
def network():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos")


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder.bundled()


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return 0.3 * sum(np.sin(2 * np.pi * hertz * k * time) / k for k in range(1, 8))


@pytest.mark.parametrize("hertz", [80.0, 120.0, 250.0, 400.0])
def test_the_pitch_of_a_tone_is_found(praat, hertz):
    assert np.abs(f0(tone(hertz)) - hertz).max() < 0.5


def test_noise_and_silence_have_no_pitch(praat):
    assert not f0(np.zeros(RATE)).any()
    assert (f0(np.random.default_rng(0).standard_normal(RATE)) > 0).mean() < 0.2


def test_speech_against_itself_has_no_pitch_error(praat):
    errors = f0_errors(babble(1.0), babble(1.0))
    assert (errors.rmse_cents, errors.gross, errors.voicing, errors.frame) == (0, 0, 0, 0)


def test_a_semitone_is_100_cents_and_an_octave_1200_and_a_gross_error(praat):
    semitone, octave = (f0_errors(tone(120), tone(120 * ratio)) for ratio in (2 ** (1 / 12), 2))
    assert semitone.rmse_cents == pytest.approx(100, abs=2)
    assert semitone.gross == semitone.voicing == semitone.frame == 0
    assert octave.rmse_cents == pytest.approx(1200, abs=5) and octave.gross == octave.frame == 1


def test_voice_where_there_was_none_is_a_voicing_error(praat):
    errors = f0_errors(np.concatenate([tone(120, 0.5), np.zeros(RATE // 2)]), tone(120))
    assert errors.voicing == errors.frame == pytest.approx(0.5, abs=0.05)
    assert errors.rmse_cents < 5


def test_without_a_voice_in_both_there_is_no_pitch_to_compare(praat):
    errors = f0_errors(tone(120), np.zeros(RATE))
    assert np.isnan(errors.rmse_cents) and np.isnan(errors.gross)
    assert errors.voicing == errors.frame > 0.9
    with pytest.raises(MetricError, match="0.1"):
        f0_errors(tone(120, 0.05), tone(120))


def test_one_person_is_more_like_himself_than_like_another_and_a_delay_does_not_count(encoder, tmp_path):
    first, second = (flite(sentence, tmp_path, "rms") for sentence in SENTENCES)
    other = flite(SENTENCES[1], tmp_path, "slt")
    assert speaker_similarity(first, first, encoder) == pytest.approx(1)
    assert speaker_similarity(first, second, encoder) > speaker_similarity(first, other, encoder) + 0.1
    assert speaker_similarity(first, late(first, 0.3), encoder) > 0.98
    with pytest.raises(NoSpeechError):
        speaker_similarity(first, np.zeros(RATE, np.float32), encoder)


def test_a_broken_signal_is_not_taken_for_one_without_speech(encoder):
    sound = np.ones(RATE, np.float32)
    with pytest.raises(MetricError, match="NaN"):
        speaker_similarity(sound, np.full(RATE, np.nan), encoder)
    with pytest.raises(MetricError, match="12000"):
        speaker_similarity(sound, np.full(RATE, 12_000, np.int16), encoder)


def test_the_similarity_is_the_cosine():
    assert embedding_similarity(np.array([3.0, 4.0]), np.array([30.0, 40.0])) == pytest.approx(1)
    assert embedding_similarity(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)


@pytest.mark.parametrize("other", [np.ones(3), np.zeros(2), np.ones((1, 2))], ids=["length", "zero", "axes"])
def test_vectors_that_have_no_angle_are_refused(other):
    with pytest.raises(MetricError, match="embeddings"):
        embedding_similarity(np.ones(2), other)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [9.5, 3.0, 11.3], ids=["one window", "repeated", "several windows"])
def test_dnsmos_is_that_of_the_package_that_holds_the_weights(network, seconds, monkeypatch):
    pytest.importorskip("requests")
    # The package also computes P.808 from librosa's mel; these scores do not need it.
    feature = SimpleNamespace(melspectrogram=lambda y, **_: np.ones((120, 900), np.float32))
    silence = SimpleNamespace(feature=feature, power_to_db=lambda mel, ref: mel)
    monkeypatch.setitem(sys.modules, "librosa", silence)
    from speechmos import dnsmos as package

    speech = babble(seconds)
    theirs, ours = package.run(speech, RATE), dnsmos(speech)
    assert ours.overall == pytest.approx(theirs["ovrl_mos"], abs=1e-5)
    assert ours.signal == pytest.approx(theirs["sig_mos"], abs=1e-5)
    assert ours.background == pytest.approx(theirs["bak_mos"], abs=1e-5)


def test_distill_mos_prefers_speech_to_noise_without_torchaudio(monkeypatch):
    pytest.importorskip("distillmos", exc_type=ImportError)
    speech = babble(2.5)
    assert 1 <= distill_mos(add_noise(speech, 0)) < distill_mos(speech) - 0.5
    assert distill_mos(speech) == pytest.approx(distill_mos(0.5 * speech), abs=1e-3)


def test_distill_mos_imports_its_package_without_what_only_its_command_line_needs(monkeypatch, capsys):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            print("weights loaded")

        def forward(self, waveforms):
            assert waveforms.dtype == torch.float32
            return 1 + 4 * waveforms.abs().amax(1, keepdim=True)

    monkeypatch.setitem(sys.modules, "distillmos", SimpleNamespace(ConvTransformerSQAModel=Network))
    quality._distilled_network.cache_clear()
    had = "torchaudio" in sys.modules
    assert distill_mos(np.array([0.25, -0.5, 0.0])) == 3
    assert ("torchaudio" in sys.modules) == had and capsys.readouterr().out == ""
    quality._distilled_network.cache_clear()
    with pytest.raises(UndefinedMetricError, match="silent"):
        distill_mos(np.zeros(RATE))


def test_dnsmos_hears_noise_in_the_background_and_names_its_weights(network):
    speech = babble(2.5)
    clean, noisy = dnsmos(speech), dnsmos(add_noise(speech, 5))
    assert 1 <= noisy.background < clean.background - 0.5
    assert noisy.overall < clean.overall
    assert dnsmos_name().startswith("DNSMOS P.835 (sig_bak_ovr.onnx of speechmos 0.")
    with pytest.raises(UndefinedMetricError, match="silent"):
        dnsmos(np.zeros(RATE))
