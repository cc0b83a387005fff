"""The picture of mouth, mel spectrogram and units."""

import sys

import numpy as np
import pytest

from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.plotting import plot_speech, speech_figure

FRAMES = 50


@pytest.fixture
def speech() -> dict:
    rng = np.random.default_rng(0)
    return {
        "mouth": rng.integers(0, 256, (FRAMES, 96, 96), dtype=np.uint8),
        "spectrogram": rng.normal(-5, 2, (4 * FRAMES, 80)).astype(np.float32),
        "unit_ids": rng.integers(0, 200, 2 * FRAMES),
    }


def test_all_three_rows_share_one_labelled_time_axis(speech):
    pytest.importorskip("matplotlib")
    strip, mel, units, colours = speech_figure(**speech, title="clip").axes
    assert strip.get_xlim() == mel.get_xlim() == units.get_xlim() == (0, FRAMES / 25)
    labels = [axis.get_ylabel() for axis in (strip, mel, units, colours)]
    assert labels == ["mouth", "frequency (Hz)", "unit id", "mel magnitude (natural log)"]
    assert units.get_xlabel() == "time (s)"
    assert mel.images[0].get_array().shape == (80, 4 * FRAMES)
    assert [int(tick.get_text()) for tick in mel.get_yticklabels()] == [250, 500, 1000, 2000, 4000, 8000]
    shown = [image.get_extent()[:2] for image in strip.images]
    assert shown[0][0] == 0 and shown[-1][1] == FRAMES / 25
    starts, ends = zip(*shown, strict=True)
    assert starts[1:] == ends[:-1]
    for image, start, end in zip(strip.images, starts, ends, strict=True):
        index = int((start + end) / 2 * 25)
        np.testing.assert_array_equal(image.get_array(), speech["mouth"][index])


def test_a_frequency_is_labelled_where_the_mel_bin_of_that_frequency_lies(speech):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    from hf_lip2speech.audio.mel import log_mel_spectrogram

    mel = speech_figure(**speech).axes[1]
    ticks = dict(zip([250, 500, 1000, 2000, 4000], mel.get_yticks()[:-1], strict=True))
    for hertz, position in ticks.items():
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(16000) / 16000)
        loudest = log_mel_spectrogram(tone).mean(dim=0).argmax().item()
        assert abs(loudest - position) <= 0.75, hertz


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_picture_is_written_whole_and_alone(tmp_path, speech, suffix):
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture{suffix}"
    plot_speech(path, **speech)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(magic)


def test_one_frame_can_be_drawn(speech):
    pytest.importorskip("matplotlib")
    per_frame = {"mouth": 1, "spectrogram": 4, "unit_ids": 2}
    figure = speech_figure(**{name: speech[name][:count] for name, count in per_frame.items()})
    assert len(figure.axes[0].images) == 1


def test_lengths_of_different_clips_and_unknown_formats_are_refused(tmp_path, speech):
    pytest.importorskip("matplotlib")
    with pytest.raises(Lip2SpeechError, match=r"\.jpeg"):
        plot_speech(tmp_path / "picture.jpeg", **speech)
    with pytest.raises(
        Lip2SpeechError, match=r"spectrogram has shape \(199, 80\).*50 mouth frames.*\(200, 80\)"
    ):
        speech_figure(speech["mouth"], speech["spectrogram"][1:], speech["unit_ids"])


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, speech):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"hf-lip2speech\[plot\]"):
        speech_figure(**speech)
