"""Loudness and silence."""

import numpy as np

from hf_lip2speech.audio.speech import raise_volume, trim_silence, voiced_frames

from ..media.voices import babble


def level(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(waveform.astype(np.float64) ** 2)))


def test_quiet_speech_is_raised_and_loud_speech_is_left_alone():
    quiet = babble(1.0, level=0.001)
    assert abs(level(raise_volume(quiet, -30)) + 30) < 0.01
    loud = babble(1.0, level=0.9)
    np.testing.assert_array_equal(raise_volume(loud, -30), loud)
    np.testing.assert_array_equal(raise_volume(np.zeros(10), -30), np.zeros(10))
    assert raise_volume(np.zeros(0), -30).shape == (0,)


def test_speech_is_kept_and_long_silence_is_cut():
    speech = babble(3.0)
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    trimmed = trim_silence(np.concatenate([hiss, speech, hiss]))
    assert 0.9 * len(speech) < len(trimmed) < 1.25 * len(speech)
    assert level(trimmed) > level(speech) - 1


def test_silence_holds_no_speech():
    assert not voiced_frames(np.zeros(16_000)).any()
    assert voiced_frames(np.zeros(479)).shape == (0,)
    assert len(trim_silence(np.zeros(16_000, dtype=np.float32))) == 0
