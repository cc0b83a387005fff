"""media/sources.py: what sound and video are read from, alike."""

import io
import os
import time
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.errors import Lip2SpeechError, MissingVideoError, NoAudioError, UnreadableVideoError
from hf_lip2speech.media import sources
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.sources import SOUND, VIDEO, describe, is_url, local_source
from hf_lip2speech.media.video import iter_frames, open_video

from .clips import encode, numbered, numbers, sound_file


def content(opened) -> bytes:
    return Path(opened).read_bytes() if isinstance(opened, os.PathLike) else opened.read()


class Pipe(io.RawIOBase):
    """A file that cannot seek."""

    def __init__(self, data: bytes):
        self.inner = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.inner.readinto(buffer)


@pytest.mark.parametrize("medium", [VIDEO, SOUND], ids=["video", "sound"])
def test_path_url_bytes_file_and_pipe_hold_the_same(tmp_path, web, medium):
    path = tmp_path / "odd: name %03d.bin"
    path.write_bytes(b"content")
    url = web.serve("/m%C3%BCnd%201.bin?of=a%20b", b"content")
    typed = web.address + "/münd 1.bin?of=a b"
    with path.open("rb") as file:
        for source in (
            path,
            str(path),
            b"content",
            bytearray(b"content"),
            file,
            Pipe(b"content"),
            url,
            typed,
        ):
            with local_source(source, medium) as opened, local_source(opened, medium) as again:
                assert content(again) == b"content"
                assert describe(again) in (describe(source), describe(opened))
    with local_source(url.replace("http", "HTTP"), medium) as opened:  # a scheme has no case
        assert content(opened) == b"content" and describe(opened) == repr(url.replace("http", "HTTP"))
    assert not os.path.exists(opened)


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("http://a/b", True),
        ("HTTPS://a/b", True),
        ("http:b.mp4", False),  # a file may have that name
        ("ftp://a/b", False),
        ("file:///b", False),
        (b"http://a/b", False),
        (None, False),
    ],
)
def test_urls_are_those_of_http_and_https(source, url):
    assert is_url(source) is url


def test_a_url_is_downloaded_once_for_two_readings_and_the_muxing(tmp_path, web):
    url = web.serve("/clip.mp4", encode(numbered(5)))
    with local_source(url) as opened:
        with open_video(opened) as video:
            assert numbers(list(video)) == numbers(list(video)) == list(range(5))
            assert video.name == repr(url)
        mux_speech(opened, np.zeros(3200, np.float32), tmp_path / "out.mp4")
    assert numbers(list(iter_frames(tmp_path / "out.mp4"))) == list(range(5))
    assert web.asked == ["/clip.mp4"]


def redirect(target):
    def answer(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


def drip(handler):
    """One byte of the body every 50 ms, for ever."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def drip_header(handler):
    while True:
        handler.wfile.write(b"H")
        time.sleep(0.05)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def broken_off(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"x" * 10)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "404"),
        (redirect("file:///etc/passwd"), "not allowed"),
        (redirect("ftp://127.0.0.1/x"), "redirects to 'ftp://127.0.0.1/x'"),
        (redirect("/odd"), "infinite loop"),
        (drip, "too slow"),
        (drip_header, "too slow"),
        (endless, "larger than 1 MiB"),
        (broken_off, "broke off after 10 of 1000 bytes"),
    ],
    ids=["missing", "to a file", "to ftp", "in circles", "drip", "header drip", "endless", "broken off"],
)
def test_downloads_are_limited_and_leave_nothing(web, tmp_path, monkeypatch, answer, message):
    monkeypatch.setattr(sources, "PATIENCE", 0.5)
    monkeypatch.setattr(sources, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = web.serve("/odd", answer) if answer else f"{web.address}/odd"
    begin = time.monotonic()
    for read, error in ((iter_frames, UnreadableVideoError), (read_audio, NoAudioError)):
        with pytest.raises(error, match=f"cannot download '{url}'.*{message}"):
            list(read(url))
    assert time.monotonic() - begin < 10
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://", "http://127.0.0.1:1/x", "http://a b/c", "https://\0/"]
)
def test_addresses_that_are_none_or_do_not_answer_are_named(url):
    with pytest.raises(UnreadableVideoError, match="cannot download"):
        list(iter_frames(url))


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


class Text:
    """Says nothing of its kind and gives text."""

    def read(self, size=-1):
        return "text"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.mp4", "there is no file 'nowhere.mp4'"),
        (Path("nowhere.mp4"), "there is no file 'nowhere.mp4'"),
        ("", "there is no file ''"),
        ("n" * 5000, "there is no file"),
        ("\0.mp4", "there is no file"),
        ("ftp://a/b.mp4", r"there is no file 'ftp.*http\(s\)"),
        (".", "'.' is a folder"),
        ("/dev/null", "pipe or device"),
        (None, "NoneType.*path, URL"),
        (7, "int.*path, URL"),
        (io.StringIO("text"), "mode 'rb'"),
        (closed(), "cannot be read: I/O operation on closed file"),
        (Text(), "bytes-like"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,  # the same in every process
)
def test_what_cannot_be_opened_is_named_alike_for_video_and_sound(source, message):
    with pytest.raises(Lip2SpeechError, match=message) as caught:
        list(iter_frames(source))
    assert isinstance(caught.value, UnreadableVideoError)
    assert isinstance(caught.value, FileNotFoundError) is isinstance(caught.value, MissingVideoError)
    with pytest.raises(NoAudioError, match=message):
        read_audio(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs os.mkfifo")
def test_a_pipe_in_the_file_system_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UnreadableVideoError, match="pipe or device"):
        list(iter_frames(tmp_path / "pipe.mp4"))


@pytest.mark.parametrize(
    "read", [lambda source: list(iter_frames(source)), read_audio], ids=["video", "sound"]
)
@pytest.mark.parametrize("name", ["take:1.bin", "%03d.bin", "a\udcffb.bin", "n" * 251 + ".bin"], ids=ascii)
def test_any_file_name_is_just_a_name(tmp_path, monkeypatch, read, name):
    data = encode(numbered(3)) if read is not read_audio else sound_file()
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(data)
    assert len(read(name)) > 0
