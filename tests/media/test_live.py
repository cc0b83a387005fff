"""Frames at their pace from files, pipes and cameras; sound piece by piece."""

import os
import sys
import threading
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile

from hf_lip2speech.errors import Lip2SpeechError, MissingVideoError, UnreadableVideoError
from hf_lip2speech.media import live
from hf_lip2speech.media.live import Speakers, live_frames, open_wav
from hf_lip2speech.media.video import write_video

PICTURES = np.repeat(np.arange(20, 240, 22, dtype=np.uint8), 64 * 64).reshape(10, 64, 64)


def matroska(path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for picture in PICTURES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))


def test_a_file_is_shown_at_its_own_pace_until_it_is_stopped(tmp_path):
    write_video(tmp_path / "clip.mp4", PICTURES)
    stopped, times, begin = threading.Event(), [], time.monotonic()
    for stamp, frame in live_frames(str(tmp_path / "clip.mp4"), stopped):
        times.append((stamp, time.monotonic() - begin))
        assert frame.shape == (64, 64, 3)
        if len(times) == 6:
            stopped.set()
    np.testing.assert_allclose([stamp for stamp, _ in times], np.arange(6) / 25, atol=1e-6)
    assert all(at >= stamp for stamp, at in times)


def test_a_pipe_gives_frames_as_they_come(tmp_path):
    matroska(tmp_path / "clip.mkv")
    os.mkfifo(tmp_path / "pipe")

    def send():
        (tmp_path / "pipe").write_bytes((tmp_path / "clip.mkv").read_bytes())

    threading.Thread(target=send, daemon=True).start()
    frames = list(live_frames(str(tmp_path / "pipe")))
    assert len(frames) == 10
    np.testing.assert_allclose([frame.mean() for _, frame in frames], PICTURES.mean((1, 2)), atol=8)


def test_a_camera_is_opened_by_its_number_and_its_frames_have_its_time_stamps(monkeypatch):
    monkeypatch.setitem(live.CAMERAS, sys.platform, ("lavfi", "testsrc=size=64x48:rate={}"))
    monkeypatch.setattr(live, "CAMERA_OPTIONS", {})
    frames = live_frames("25")
    stamps = [next(frames)[0] for _ in range(5)]
    frames.close()
    np.testing.assert_allclose(np.diff(stamps), 0.04, atol=1e-3)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("none.mp4", MissingVideoError, "there is no file 'none.mp4': expected a camera's number"),
        ("97", MissingVideoError, "cannot open the camera 97"),
        ("text.mp4", UnreadableVideoError, "cannot open"),
    ],
)
def test_what_is_no_camera_and_no_video_is_told(tmp_path, monkeypatch, source, error, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(error, match=message):
        next(live_frames(source))


def test_a_pipe_that_is_no_video_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=lambda: (tmp_path / "pipe").write_text("no video"), daemon=True).start()
    with pytest.raises(UnreadableVideoError, match="read without seeking"):
        next(live_frames(str(tmp_path / "pipe")))


def test_a_growing_wav_file_appears_whole_or_not_at_all(tmp_path):
    with open_wav(tmp_path / "a.wav") as write:
        write(np.full(100, 0.5, np.float32))
        write(np.full(50, -0.5, np.float32))
        assert not (tmp_path / "a.wav").exists()
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16000 and len(samples) == 150 and samples[99] == 0.5 and samples[100] == -0.5
    with pytest.raises(KeyError), open_wav(tmp_path / "b.wav") as write:
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


class Device:
    """Of a sounddevice that the test turns by hand."""

    def __init__(self, rate, channels, dtype, latency, callback):
        assert (rate, channels, dtype) == (16000, 1, "float32")
        Device.fill = staticmethod(lambda out: callback(out, len(out), None, None))

    def start(self):
        pass

    stop = close = start


def test_speakers_play_what_waits_then_silence_and_forget_what_is_a_second_late(monkeypatch):
    module = SimpleNamespace(OutputStream=Device, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with Speakers() as speakers:
        speakers.play(np.arange(1, 4, dtype=np.float32))
        out = np.full((5, 1), 9, np.float32)
        Device.fill(out)
        assert out.ravel().tolist() == [1, 2, 3, 0, 0]
        speakers.play(np.arange(20_000, dtype=np.float32))
        Device.fill(out)
        assert out[0] == 4000
        speakers.drain(seconds=0.02)


def test_without_a_loudspeaker_one_sentence_says_so(monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no device")

    module = SimpleNamespace(OutputStream=refuse, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with pytest.raises(Lip2SpeechError, match="no loudspeaker"):
        Speakers()
