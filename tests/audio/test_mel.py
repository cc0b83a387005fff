"""Log-mel spectrograms: what they are compared with, and their edges."""

import numpy as np
import pytest
import soundfile
import torch

from hf_lip2speech.audio.mel import griffin_lim, log_mel_spectrogram
from hf_lip2speech.errors import Lip2SpeechError

from ..media.voices import babble


def test_mels_equal_the_published_files(lrs3_sample_dir):
    sounds = sorted((lrs3_sample_dir / "audio").rglob("*.wav"))
    assert len(sounds) == 10
    for path in sounds:
        waveform, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        name = path.relative_to(lrs3_sample_dir / "audio").with_suffix(".npy")
        published = np.load(lrs3_sample_dir / "mel" / name)
        distance = np.abs(log_mel_spectrogram(torch.from_numpy(waveform)).numpy() - published)
        assert distance.max() < 3e-4, name
        assert distance.mean() < 1e-6, name


def test_a_mel_equals_the_formula_written_out():
    waveform = babble(0.5)
    mel = log_mel_spectrogram(torch.from_numpy(waveform)).numpy()
    padded = np.pad(waveform.astype(np.float64), 320, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(640) / 640)
    frames = np.stack([padded[i * 160 : i * 160 + 640] * window for i in range(51)])
    magnitude = np.abs(np.fft.rfft(frames))
    expected = np.log(np.maximum(magnitude @ _slaney_triangles(), 1e-5))
    assert mel.shape == (51, 80)
    np.testing.assert_allclose(mel, expected, atol=1e-5)


def _slaney_triangles() -> np.ndarray:
    """Triangles of equal area on the Slaney scale: linear to 1 kHz, then 27 steps for a factor of 6.4."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    steps = np.linspace(0, top, 82)
    edges = np.where(steps < 15, steps * 200 / 3, 1000 * np.exp((steps - 15) * np.log(6.4) / 27))
    bins = np.arange(321) * 25.0
    bank = np.zeros((321, 80))
    for i in range(80):
        low, middle, high = edges[i : i + 3]
        triangle = np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle))
        bank[:, i] = np.maximum(triangle, 0) * 2 / (high - low)
    return bank


def test_leading_dimensions_are_kept_and_a_batch_gives_what_its_clips_give():
    waveform = torch.from_numpy(babble(1.2)).reshape(2, 3, 3200)
    mel = log_mel_spectrogram(waveform)
    assert mel.shape == (2, 3, 21, 80) and mel.dtype == torch.float32
    torch.testing.assert_close(mel[1, 2], log_mel_spectrogram(waveform[1, 2]))


def test_frame_k_is_centred_on_sample_160_k():
    click = torch.zeros(6400)
    click[160 * 17] = 1.0
    assert log_mel_spectrogram(click).mean(dim=1).argmax() == 17


def test_silence_is_the_floor():
    assert torch.all(log_mel_spectrogram(torch.zeros(640)) == torch.tensor(1e-5).log())


def test_sound_too_short_to_mirror_is_refused():
    assert log_mel_spectrogram(torch.zeros(321)).shape == (3, 80)
    with pytest.raises(Lip2SpeechError, match="more than 320 samples.*got 320"):
        log_mel_spectrogram(torch.zeros(320))


def test_griffin_lim_gives_sound_with_the_mel_that_it_was_given():
    seconds = torch.arange(16_000) / 16_000
    tone = 0.3 * torch.sin(2 * torch.pi * (200 + 400 * seconds) * seconds)
    mel = log_mel_spectrogram(tone)[:100]
    sound = griffin_lim(mel)
    assert sound.shape == (16_000,)
    loud = mel > mel.max() - 4
    assert (log_mel_spectrogram(sound)[:100] - mel)[loud].abs().mean() < 0.3
