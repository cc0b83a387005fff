"""Loudness and voice activity of recordings, as the speaker encoder needs them."""

import numpy as np

from ..constants import SAMPLING_RATE

FRAME = SAMPLING_RATE * 30 // 1000  # samples (30 ms) that the voice activity detector judges at once
SMOOTHING = 8  # frames over which its decisions are averaged
HANGOVER = 3  # frames kept before and after speech


def raise_volume(waveform: np.ndarray, target_dbfs: float) -> np.ndarray:
    """Amplify a recording whose root mean square is below `target_dbfs`; leave louder and silent ones alone.

    Args:
        waveform: float (N,) in [-1, 1].
        target_dbfs: decibels relative to full scale, negative.

    Returns:
        float32 (N,); single samples may exceed 1.
    """
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    if power == 0:
        return waveform.astype(np.float32, copy=False)
    gain = 10 ** ((target_dbfs - 10 * np.log10(power)) / 20)
    return (waveform * max(gain, 1.0)).astype(np.float32, copy=False)


def voiced_frames(waveform: np.ndarray) -> np.ndarray:
    """Which 30 ms frames contain speech, by WebRTC's voice activity detector at its strictest setting.

    Args:
        waveform: float (N,), 16 kHz.

    Returns:
        bool (N // 480,). Decisions are averaged over 8 frames and speech is widened by 3 frames on either
        side, so that short pauses are kept.
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
