"""media/video.py: what comes out of files of many kinds, and of what is no video."""

import gc
import os
import signal
import time
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_lip2speech.errors import (
    EmptyVideoError,
    Lip2SpeechError,
    NoVideoStreamError,
    UnreadableVideoError,
)
from hf_lip2speech.media.video import iter_frames, open_video, write_video

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


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pictures_of_an_avi_are_in_order_though_it_has_no_times_of_display(codec):
    options = {"preset": "medium"} if codec == "libx264" else {}
    source = encode(numbered(40), container="avi", codec=codec, codec_options=options, max_b_frames=3)
    assert numbers(decode(source)) == list(range(40))


def test_millisecond_time_stamps_of_50_fps_take_every_second_frame():
    rng = np.random.default_rng(0)
    times = np.arange(60) / 50 + rng.uniform(-4e-4, 4e-4, 60).round(4) * (np.arange(60) > 0)
    frames = decode(encode(numbered(60), 50, container="matroska", times=list(times)))
    assert numbers(frames) == list(range(0, 60, 2))


def test_variable_rate_shows_each_frame_for_as_long_as_its_time_stamps_say():
    times = [0.0, 0.04, 0.08, 0.28, 0.32, 0.72, 0.76]
    frames = decode(encode(numbered(7), 25, container="matroska", times=times))
    assert numbers(frames) == [0, 1, 2, 2, 2, 2, 2, 3, *[4] * 10, 5, 6]


@pytest.mark.parametrize("container", ["matroska", "avi"])
def test_titles_may_have_any_encoding(container):
    data = encode(numbered(5), container=container, codec="mpeg4")
    assert b"Lavf" in data  # the title of the program that wrote it
    assert numbers(decode(data.replace(b"Lavf", b"L\xe9vf"))) == [0, 1, 2, 3, 4]


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
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: image.transpose(1, 0, 2)[::-1, ::-1]),
    ],
)
def test_the_display_matrix_is_applied(matrix, turned):
    frame = np.zeros((64, 96, 3), dtype=np.uint8)
    frame[:32, :48], frame[:32, 48:], frame[32:, :48] = 200, 120, 60
    (image,) = decode(with_matrix(encode(frame[None]), matrix))
    assert image.shape == turned(frame).shape
    assert np.abs(image.astype(int) - turned(frame)).mean() < 4


def test_a_video_is_decoded_anew_by_each_iteration():
    with open_video(encode(numbered(6))) as video:
        assert numbers(list(video)) == numbers(list(video)) == list(range(6))


@pytest.mark.parametrize("second", [3, 7])
def test_a_second_reading_of_another_length_is_an_error(tmp_path, second):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(numbered(5)))
    with open_video(path) as video:
        list(video)
        path.write_bytes(encode(numbered(second)))
        with pytest.raises(UnreadableVideoError, match="had 5 frames when it was first read"):
            list(video)


def test_damage_is_told_once_however_often_a_video_is_read():
    data = encode(numbered(75), options={"movflags": "+faststart"})
    with warnings.catch_warnings(record=True) as caught, open_video(data[:-300]) as video:
        warnings.simplefilter("always")
        assert len(list(video)) == len(list(video)) > 60
    assert len(caught) == 1


@pytest.mark.parametrize(
    "given",
    [
        lambda frames: frames,
        list,
        lambda frames: frames.transpose(0, 3, 1, 2),
        lambda frames: frames.astype(np.float32) / 255,
        lambda frames: torch.from_numpy(frames),
        lambda frames: (torch.from_numpy(frames).permute(0, 3, 1, 2) / 255).requires_grad_(),
    ],
    ids=["uint8", "list", "channels first", "floats", "tensor", "float tensor with gradient"],
)
def test_frames_in_memory_may_be_of_the_usual_kinds(given):
    frames = numbered(5)
    frames[..., 1] //= 2
    np.testing.assert_array_equal(np.stack(decode({"frames": given(frames), "fps": 25})), frames)


def test_frames_in_memory_are_resampled_like_a_file():
    frames = numbered(30)
    assert numbers(decode({"frames": frames, "fps": 30.0})) == shown_at_midpoints(30, Fraction(30))
    gray = decode({"frames": frames[..., 0], "fps": 25})
    assert numbers(gray) == list(range(30)) and gray[0].shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (b"", UnreadableVideoError, "0 bytes"),
        (b"not a video at all" * 100, UnreadableVideoError, "1800 bytes"),
        ({"frames": np.zeros((3, 8, 8), np.uint8)}, UnreadableVideoError, "fps"),
        ({"frames": np.zeros((3, 8, 8), np.int64), "fps": 25}, UnreadableVideoError, "uint8.*not int64"),
        ({"frames": np.zeros((8, 8), np.uint8), "fps": 25}, UnreadableVideoError, r"\(T, H, W\)"),
        ({"frames": np.zeros((64, 64, 3), np.uint8), "fps": 25}, UnreadableVideoError, r"not uint8 \(64"),
        ({"frames": np.full((3, 64, 64), 2.0), "fps": 25}, UnreadableVideoError, "floats are in 0..1"),
        ({"frames": np.full((3, 64, 64), np.nan), "fps": 25}, UnreadableVideoError, "floats are in 0..1"),
        ({"frames": torch.zeros(3, 64, 64, device="meta"), "fps": 25}, UnreadableVideoError, "copied"),
        ({"frames": torch.zeros(3, 64, 64).to_sparse(), "fps": 25}, UnreadableVideoError, "copied"),
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
    with pytest.raises(EmptyVideoError, match="before any of its content"):
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
    assert numbers(decode(Path("take:1.mp4"))) == [0, 1, 2]


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


@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "mp4"), ("libx264", "matroska"), ("mpeg4", "avi")]
)
def test_a_part_has_the_frames_of_the_whole_between_its_times(codec, container):
    clip = encode(numbered(250), 12, codec=codec, container=container, codec_options={"g": "20"})
    whole = numbers(decode(clip))
    for start, end in (
        (0.0, 1.0),
        (0.52, None),
        (2.04, 3.96),
        (11.0, 12.0),
        (15.48, None),
    ):  # sought from 10 s on
        with open_video(clip, start=start, end=end) as video:
            again = [numbers(list(video)) for _ in range(2)]
            assert again[0] == again[1] == whole[round(start * 25) : None if end is None else round(end * 25)]
            assert video.expected == len(again[0])
    with open_video(clip, start=20.0, end=30.0) as video:
        assert len(list(video)) == len(whole) - 500


def test_a_picture_that_is_held_fills_its_part():
    clip = encode(numbered(3), 25, container="matroska", times=[0.0, 3.0, 3.04])
    with open_video(clip, start=1.0, end=2.0) as video:
        assert numbers(list(video)) == [0] * 25


@pytest.mark.parametrize("start", [4.0, 60.0])
def test_a_part_that_begins_after_the_end_is_an_error_that_gives_the_length(start):
    with (
        pytest.raises(EmptyVideoError, match="is 2.00 s long"),
        open_video(encode(numbered(50)), start=start) as video,
    ):
        list(video)


@pytest.mark.parametrize(
    ("start", "end"), [(-1.0, None), (2.0, 1.0), (1.0, 1.0), (float("nan"), None), ("1", None)]
)
def test_a_part_that_cannot_be_is_refused(start, end):
    with (
        pytest.raises(Lip2SpeechError, match="seconds of the video|before its start"),
        open_video("none.mp4", 25, start, end),
    ):
        pass
