"""The picture of mouth, mel spectrogram and units."""

import sys

import numpy as np
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.plotting import plot_speech, speech_figure

pytest.importorskip("matplotlib")

FRAMES = 50
RNG = np.random.default_rng(0)
SPEECH = {
    "mouth": RNG.integers(0, 256, (FRAMES, 96, 96), dtype=np.uint8),
    "spectrogram": RNG.normal(-5, 2, (4 * FRAMES, 80)).astype(np.float32),
    "unit_ids": RNG.integers(0, 200, 2 * FRAMES),
}


def test_all_three_rows_share_one_labelled_time_axis_and_frequencies_are_where_their_bins_are():
    strip, mel, units, colours = speech_figure(**SPEECH, title="clip").axes
    assert strip.get_xlim() == mel.get_xlim() == units.get_xlim() == (0, FRAMES / 25)
    labels = [axis.get_ylabel() for axis in (strip, mel, units, colours)]
    assert labels == ["mouth", "frequency (Hz)", "unit id", "mel magnitude (natural log)"]
    assert units.get_xlabel() == "time (s)"
    assert mel.images[0].get_array().shape == (80, 4 * FRAMES)
    frequencies = [250, 500, 1000, 2000, 4000, 8000]
    assert [int(tick.get_text()) for tick in mel.get_yticklabels()] == frequencies
    for hertz, position in zip(frequencies[:-1], mel.get_yticks()[:-1], strict=True):
        tone = torch.sin(2 * torch.pi * hertz * torch.arange(16000) / 16000)
        assert abs(log_mel_spectrogram(tone).mean(dim=0).argmax().item() - position) <= 0.75, hertz
    starts, ends = zip(*(image.get_extent()[:2] for image in strip.images), strict=True)
    assert starts[0] == 0 and ends[-1] == FRAMES / 25 and starts[1:] == ends[:-1]
    for image, start, end in zip(strip.images, starts, ends, strict=True):
        np.testing.assert_array_equal(image.get_array(), SPEECH["mouth"][int((start + end) / 2 * 25)])


def test_words_stand_over_the_mouth_frames_of_their_time():
    said = [{"word": "bin", "start": 0.2, "end": 0.5}, {"word": "blue", "start": 0.5, "end": 1.0}]
    strip = speech_figure(**SPEECH, words=said).axes[0]
    assert [(text.get_text(), text.get_position()[0]) for text in strip.texts] == [
        ("bin", 0.35),
        ("blue", 0.75),
    ]
    assert [tuple(line.get_xdata()) for line in strip.lines] == [(0.2, 0.5), (0.5, 1.0)]
    assert strip.get_xlim() == (0, FRAMES / 25) and strip.get_ylim() == (0, 1), "the frames keep their place"


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_a_picture_is_written_whole_and_alone_even_of_one_frame(tmp_path, suffix, magic):
    path = tmp_path / f"picture{suffix}"
    per_frame = {"mouth": 1, "spectrogram": 4, "unit_ids": 2}
    plot_speech(path, **{name: SPEECH[name][:count] for name, count in per_frame.items()})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes().startswith(magic)


def test_lengths_of_different_clips_and_unknown_formats_are_refused(tmp_path):
    with pytest.raises(Lip2SpeechError, match=r"\.jpeg"):
        plot_speech(tmp_path / "picture.jpeg", **SPEECH)
    message = r"spectrogram has shape \(199, 80\).*50 mouth frames.*\(200, 80\)"
    with pytest.raises(Lip2SpeechError, match=message):
        speech_figure(SPEECH["mouth"], SPEECH["spectrogram"][1:], SPEECH["unit_ids"])


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"\[plot\]"):
        speech_figure(**SPEECH)
