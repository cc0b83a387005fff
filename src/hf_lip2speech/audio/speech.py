"""Loudness and voice activity of recordings, as the speaker encoder needs them; pitch, as Praat finds it."""

import numpy as np

from hf_lip2speech_extras import require_extra

from ..constants import HOP_LENGTH, SAMPLING_RATE

FRAME = SAMPLING_RATE * 30 // 1000  # samples (30 ms) that the voice activity detector judges at once
SMOOTHING = 8  # frames over which its decisions are averaged
HANGOVER = 3  # frames kept before and after speech
STEP = 0.01  # seconds between two values of the pitch
FLOOR, CEILING = 60.0, 500.0  # Hz of the pitch: deep men to children


def raise_volume(waveform: np.ndarray, target_dbfs: float) -> np.ndarray:
    """Amplify a recording, float (N,) in [-1, 1], whose root mean square is below `target_dbfs`, decibels
    relative to full scale; leave louder and silent ones alone. Single samples of the result may exceed 1."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    if power == 0:
        return waveform.astype(np.float32, copy=False)
    gain = 10 ** ((target_dbfs - 10 * np.log10(power)) / 20)
    return (waveform * max(gain, 1.0)).astype(np.float32, copy=False)


def voiced_frames(waveform: np.ndarray) -> np.ndarray:
    """Which 30 ms frames of a 16 kHz waveform (N,) contain speech, bool (N // 480,), by WebRTC's voice
    activity detector at its strictest setting.

    Decisions are averaged over 8 frames and speech is widened by 3 frames on either side, so that short
    pauses are kept.
    """
    import webrtcvad

    detector = webrtcvad.Vad(3)
    count = len(waveform) // FRAME
    pcm = np.clip(np.round(waveform[: count * FRAME] * 32767), -32768, 32767).astype("<i2")
    frames = pcm.reshape(count, FRAME)
    raw = np.array([detector.is_speech(frame.tobytes(), SAMPLING_RATE) for frame in frames], dtype=np.float64)
    if count == 0:
        return np.zeros(0, dtype=bool)
    # An even width has no middle: the average of frame i covers i - 3 .. i + 4. Half (4 of 8) is not enough.
    before = (SMOOTHING - 1) // 2
    padded = np.pad(raw, (before, SMOOTHING - 1 - before))
    smooth = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING).sum(axis=1) > SMOOTHING / 2
    widened = np.pad(smooth, HANGOVER)
    return np.lib.stride_tricks.sliding_window_view(widened, 2 * HANGOVER + 1).max(axis=1)


def trim_silence(waveform: np.ndarray) -> np.ndarray:
    """Keep the parts of a 16 kHz recording that contain speech: float (N,) -> (M,), 0 <= M <= N."""
    voiced = voiced_frames(waveform)
    return waveform[: len(voiced) * FRAME].reshape(-1, FRAME)[voiced].reshape(-1)


def f0(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Fundamental frequency every 10 ms by Praat's autocorrelation method, 60 to 500 Hz; 0 where unvoiced.

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a
    sampled sound", 1993; computed by parselmouth. A waveform (N,) of at least 50 ms -> float64 (F,), Hz.
    """
    return _pitch(waveform, sampling_rate).selected_array["frequency"]


def f0_of_mel_frames(waveform: np.ndarray) -> np.ndarray:
    """`f0` of 16 kHz speech (160 L,), at least 50 ms, at the centres of its mel frames: float32 (L,), Hz."""
    pitch, times = _pitch(waveform, SAMPLING_RATE), np.arange(len(waveform) // HOP_LENGTH) * STEP
    values, known = pitch.selected_array["frequency"], pitch.xs()
    nearest = np.interp(times, known, np.arange(len(known))).round().astype(int)
    voiced = values > 0
    between = np.interp(times, known[voiced], values[voiced]) if voiced.any() else np.zeros(len(times))
    return np.where(voiced[nearest], between, 0).astype(np.float32)


def _pitch(waveform: np.ndarray, sampling_rate: int):
    sound = require_extra("parselmouth", "pitch").Sound(np.asarray(waveform, dtype=np.float64), sampling_rate)
    return sound.to_pitch_ac(time_step=STEP, pitch_floor=FLOOR, pitch_ceiling=CEILING)
