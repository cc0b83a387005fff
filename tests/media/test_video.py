"""video/decode.py: what comes out of files of many kinds, and of what is no video."""

import gc
import http.server
import io
import os
import signal
import threading
import time
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from hf_lip2speech.errors import (
    EmptyVideoError,
    Lip2SpeechError,
    MissingVideoError,
    NoVideoStreamError,
    UnreadableVideoError,
)
from hf_lip2speech.media.video import iter_frames, write_video

from .clips import encode, numbered, numbers, sound_file, with_matrix


def decode(source, fps=25):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return list(iter_frames(source, fps))


def shown_at_midpoints(count: int, rate: Fraction, fps: int = 25) -> list[int]:
    """By hand: the index of the frame on screen at the middle of each output frame."""
    total = max(1, round(Fraction(count) / rate * fps))
    return [min(int((k + Fraction(48, 100)) / fps * rate), count - 1) for k in range(total)]


@pytest.mark.parametrize(
    "rate", [25, 30, Fraction(30000, 1001), 15, 10, 50, 60, Fraction(24000, 1001)], ids=str
)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_any_constant_rate_becomes_25_by_time_stamps(rate, count):
    frames = decode(encode(numbered(count), rate))
    assert numbers(frames) == shown_at_midpoints(count, Fraction(rate))


@pytest.mark.parametrize(
    ("codec", "container", "pix_fmt"),
    [
        ("libx264", "mp4", "yuv420p"),
        ("libx264", "matroska", "yuv444p"),
        ("libx264", "mpegts", "yuv420p"),
        ("libx264", "flv", "yuv420p"),
        ("libvpx-vp9", "webm", "yuv420p"),
        ("mpeg1video", "mpeg", "yuv420p"),
        ("mpeg4", "avi", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("ffv1", "matroska", "gray"),
        ("libx264", "mov", "yuv420p10le"),
    ],
)
def test_containers_and_codecs_keep_every_frame_of_a_25_fps_video(codec, container, pix_fmt):
    frames = decode(encode(numbered(40), 25, codec=codec, container=container, pix_fmt=pix_fmt))
    assert numbers(frames) == list(range(40))
    assert frames[0].dtype == np.uint8 and frames[0].shape == (64, 96, 3)


def test_millisecond_time_stamps_of_50_fps_take_every_second_frame():
    rng = np.random.default_rng(0)
    times = np.arange(60) / 50 + rng.uniform(-4e-4, 4e-4, 60).round(4) * (np.arange(60) > 0)
    frames = decode(encode(numbered(60), 50, container="matroska", times=list(times)))
    assert numbers(frames) == list(range(0, 60, 2))


def test_variable_rate_shows_each_frame_for_as_long_as_its_time_stamps_say():
    times = [0.0, 0.04, 0.08, 0.28, 0.32, 0.72, 0.76]
    frames = decode(encode(numbered(7), 25, container="matroska", times=times))
    assert numbers(frames) == [0, 1, 2, 2, 2, 2, 2, 3, *[4] * 10, 5, 6]


def test_a_video_that_starts_late_begins_with_its_first_frame():
    times = [1.0 + k / 25 for k in range(10)]
    assert numbers(decode(encode(numbered(10), 25, container="matroska", times=times))) == list(range(10))


def test_a_time_stamp_far_off_counts_as_one_frame():
    times = [k / 25 + (5000 if k >= 5 else 0) for k in range(10)]
    frames = list(iter_frames(encode(numbered(10), 25, container="matroska", times=times)))
    assert numbers(frames) == list(range(10))


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # a phone held upright
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),  # a mirrored front camera
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
)
def test_the_display_matrix_is_applied(matrix, turned):
    frame = np.zeros((64, 96, 3), dtype=np.uint8)
    frame[:32, :48], frame[:32, 48:], frame[32:, :48] = 200, 120, 60
    (image,) = decode(with_matrix(encode(frame[None]), matrix))
    assert image.shape == turned(frame).shape
    assert np.abs(image.astype(int) - turned(frame)).mean() < 4


def test_path_bytes_file_and_unseekable_stream_give_the_same_frames(tmp_path):
    data = encode(numbered(6))
    path = tmp_path / "odd: name %03d.mp4"
    path.write_bytes(data)

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.inner = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.inner.readinto(buffer)

    with path.open("rb") as file:
        for source in (path, str(path), data, bytearray(data), file, io.BytesIO(data), Pipe()):
            assert numbers(decode(source)) == list(range(6))


def test_a_url_is_downloaded_and_a_dead_one_is_named():
    data = encode(numbered(5))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer = {
                "/clip.mp4": data,
                "/m%C3%BCnd%201.mp4?of=a%20b": data,
                "/page.mp4": b"<html>" * 99,
            }.get(self.path)
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(answer or b"")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert numbers(decode(f"{address}/clip.mp4")) == list(range(5))
        for typed in ("münd 1.mp4?of=a b", "m%C3%BCnd%201.mp4?of=a%20b"):
            assert numbers(decode(f"{address}/{typed}")) == list(range(5))
        with pytest.raises(UnreadableVideoError, match="404"):
            decode(f"{address}/none.mp4")
        with pytest.raises(UnreadableVideoError, match=r"cannot open 'http.*/page.mp4' as a video"):
            decode(f"{address}/page.mp4")
        server.shutdown()


def test_frames_in_memory_are_resampled_like_a_file():
    frames = numbered(30)
    assert numbers(decode({"frames": frames, "fps": 30.0})) == shown_at_midpoints(30, Fraction(30))
    gray = decode({"frames": frames[..., 0], "fps": 25})
    assert numbers(gray) == list(range(30)) and gray[0].shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.mp4", MissingVideoError, "nowhere.mp4"),
        (Path("nowhere.mp4"), FileNotFoundError, "nowhere.mp4"),
        (".", UnreadableVideoError, "folder"),
        ("", MissingVideoError, "no file ''"),
        (b"", UnreadableVideoError, "0 bytes"),
        (b"not a video at all" * 100, UnreadableVideoError, "1800 bytes"),
        (None, UnreadableVideoError, "NoneType"),
        (io.StringIO("text"), UnreadableVideoError, "mode 'rb'"),
        (7, UnreadableVideoError, "int"),
        ({"frames": np.zeros((3, 8, 8), np.uint8)}, UnreadableVideoError, "fps"),
        ({"frames": np.zeros((3, 8, 8), np.float32), "fps": 25}, UnreadableVideoError, "uint8"),
        ({"frames": np.zeros((8, 8), np.uint8), "fps": 25}, UnreadableVideoError, r"\(T, H, W\)"),
        (
            {"frames": [np.zeros((8, 8)), np.zeros((4, 8))], "fps": 25},
            UnreadableVideoError,
            "differ in shape",
        ),
        ({"frames": np.zeros((3, 8, 8), np.uint8), "fps": 0}, UnreadableVideoError, "positive"),
        ({"frames": np.zeros((3, 8, 8), np.uint8), "fps": "fast"}, UnreadableVideoError, "fast"),
        ({"frames": np.zeros((0, 8, 8), np.uint8), "fps": 25}, EmptyVideoError, "at least one"),
    ],
)
def test_what_is_no_video_raises_a_named_error(source, error, message):
    with pytest.raises(error, match=message) as caught:
        decode(source)
    assert isinstance(caught.value, Lip2SpeechError)


def test_a_sound_file_has_no_video_stream():
    with pytest.raises(NoVideoStreamError, match="no video stream"):
        decode(sound_file())


def test_a_video_without_frames_is_empty():
    data = encode(numbered(3), container="matroska")
    with pytest.raises(EmptyVideoError, match="before its first frame"):
        decode(data[: data.index(b"\x1f\x43\xb6\x75")])  # up to the first cluster


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [("libx264", "mp4", {"movflags": "+faststart"}), ("libvpx-vp9", "webm", {}), ("mpeg1video", "mpeg", {})],
)
def test_a_file_cut_in_the_middle_gives_its_beginning_with_a_warning(codec, container, options):
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, (75, 64, 96, 3), dtype=np.uint8)
    data = encode(noisy, codec=codec, container=container, options=options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frames = list(iter_frames(data[: len(data) // 2]))
    assert 10 < len(frames) < 70
    if container != "mpeg":  # a program stream nowhere says how long it was to be
        assert any("breaks off" in str(w.message) or "damaged" in str(w.message) for w in caught)


def test_an_mp4_without_its_index_is_unreadable():
    data = encode(numbered(75))
    with pytest.raises(UnreadableVideoError):
        decode(data[: len(data) // 2])


def test_a_written_video_reads_back_almost_exactly(tmp_path):
    ramp = np.add.outer(np.arange(96), np.arange(96)).astype(np.uint8)
    gray = np.stack([np.roll(ramp, shift, axis=1) for shift in range(12)])
    write_video(tmp_path / "clip.mp4", gray)
    back = np.stack(decode(tmp_path / "clip.mp4"))[..., 0]
    assert back.shape == gray.shape
    assert np.abs(back.astype(int) - gray).mean() < 1.5
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video("take:1.mp4", numbered(3))
    assert numbers(decode("take:1.mp4")) == [0, 1, 2]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_video(tmp_path / "clip.mp4", numbered(3))

    def breaking():
        yield numbered(1)[0]
        raise RuntimeError("source gone")

    with pytest.raises(RuntimeError):
        write_video(tmp_path / "clip.mp4", breaking())
    assert numbers(decode(tmp_path / "clip.mp4")) == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(EmptyVideoError):
        write_video(tmp_path / "none.mp4", [])


def test_grid_clips_have_75_frames(grid_dir):
    clips = [*sorted((grid_dir / "s1").glob("*.mp4"))[:3], *sorted((grid_dir / "original").glob("*.mpg"))]
    for clip in clips:
        frames = decode(clip)
        assert len(frames) == 75 and frames[0].shape == (288, 360, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_forked_after_decoding_can_free_what_was_left_over():
    gc.collect()
    gc.disable()  # what decoding leaves in reference cycles stays until the forked process collects it
    try:
        decode(encode(numbered(30)))
        child = os.fork()
        if child == 0:
            gc.collect()
            os._exit(0)
    finally:
        gc.enable()
    for _ in range(200):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the forked process hung while it freed a video decoder")
    assert status == 0
