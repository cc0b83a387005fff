"""media/display.py and decoding.py: pictures as a player shows them, read and muxed alike."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from hf_lip2speech.errors import UnreadableVideoError
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import iter_frames

from .clips import encode, numbered, numbers, with_cover

SILENCE = np.zeros(3200, np.float32)


def decode(source) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.stack(list(iter_frames(source)))


def read_and_muxed(source, tmp_path) -> list[np.ndarray]:
    """The pictures as they are read, and as they are read from the video with speech."""
    mux_speech(source, SILENCE, tmp_path / "out.mp4")
    return [decode(source), decode(tmp_path / "out.mp4")]


def lossless(frames, **arguments) -> bytes:
    """In a codec that is encoded again on muxing."""
    return encode(frames, codec="ffv1", container="matroska", **arguments)


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(4, 3), (64, 128)),
        (Fraction(17, 12), (64, 136)),
        (Fraction(1, 2), (128, 96)),
        (Fraction(1), (64, 96)),
        (Fraction(1000, 1), (64, 96)),  # cannot be meant
    ],
    ids=str,
)
def test_pixels_become_square(tmp_path, aspect, shape):
    for images in read_and_muxed(encode(numbered(5), codec="mpeg4", sample_aspect_ratio=aspect), tmp_path):
        assert np.abs(np.subtract(images.shape[1:3], shape)).max() <= 1  # even sides, muxed
        assert numbers(images) == list(range(5))


@pytest.mark.parametrize(
    ("transfer", "white", "gray"), [(ColorTrc.SMPTE2084, 0.5807, 0.4197), (ColorTrc.ARIB_STD_B67, 0.75, 0.38)]
)
def test_hdr_becomes_sdr_with_the_white_of_graphics_as_white(tmp_path, transfer, white, gray):
    """203 cd/m2 and a gray card of 18 % (BT.2408) as their codes in PQ and HLG, in limited range."""
    levels = np.round(64 + 876 * np.repeat([white, gray, 0.0], 32)).astype(np.uint16)
    frame = np.full((96, 96), 512, np.uint16)  # 64 lines of luma, then chroma
    frame[:64] = levels
    source = lossless(
        [frame] * 2,
        source_format="yuv420p10le",
        pix_fmt="yuv420p10le",
        color_trc=transfer,
        color_primaries=ColorPrimaries.BT2020,
        colorspace=9,
        color_range=1,
    )
    for images in read_and_muxed(source, tmp_path):
        seen = images[0, 32, [16, 48, 80]].astype(int)
        assert np.ptp(seen, axis=1).max() <= 4  # gray stays gray
        assert seen[0].min() >= 240 and 95 < seen[1].mean() < 140 and seen[2].max() <= 3


@pytest.mark.parametrize("limited", [True, False])
def test_full_and_limited_range_show_the_same(tmp_path, limited):
    levels = np.repeat(np.linspace(0, 255, 4), 24)
    frame = np.full((96, 96), 128, np.uint8)
    frame[:64] = np.round(16 + levels * 219 / 255 if limited else levels)
    source = lossless(
        [frame], source_format="yuv420p", pix_fmt="yuv420p", color_range=1 if limited else 2, colorspace=1
    )
    for images in read_and_muxed(source, tmp_path):
        np.testing.assert_allclose(images[0, 32, 12::24].mean(axis=1), levels[12::24], atol=3)


@pytest.mark.parametrize(("second", "inner"), [((32, 48), np.s_[:, :]), ((96, 64), np.s_[:, 30:66])])
def test_a_picture_of_another_size_is_fitted_into_the_first(tmp_path, second, inner):
    """Of another shape as well: it is centred on black. MPEG transport streams can simply be joined."""
    light = np.full((10, *second, 3), 200, np.uint8)
    joined = encode(numbered(10), container="mpegts") + encode(light, container="mpegts")
    with pytest.warns(UserWarning, match="jump"):  # of the time stamps, which begin anew
        images = np.stack(list(iter_frames(joined)))
    mux_speech(joined, SILENCE, tmp_path / "out.mp4")
    for shown in (images, decode(tmp_path / "out.mp4")):
        assert shown.shape == (20, 64, 96, 3) and numbers(shown[:10]) == list(range(10))
        assert (np.abs(shown[12:][(slice(None), *inner)].astype(int) - 200) < 12).all()
        assert inner == np.s_[:, :] or shown[12:, :, :20].max() < 12


def test_interlaced_pictures_are_deinterlaced(tmp_path):
    frames = np.full((10, 64, 96, 3), 40, np.uint8)
    for index in range(10):  # a bar that moves between the two fields of a picture
        frames[index, ::2, 8 * index : 8 * index + 16] = 200
        frames[index, 1::2, 8 * index + 4 : 8 * index + 20] = 200
    source = encode(frames, codec_options={"x264-params": "tff=1", "preset": "medium", "crf": "1"})

    def combed(images: np.ndarray) -> float:
        lines = images[1:-1, 4:-4, :, 0].astype(float)
        return float(np.abs(lines[:, 1:-1] - (lines[:, :-2] + lines[:, 2:]) / 2).mean())

    images = decode(source)
    assert len(images) == 10 and combed(images) < combed(frames) / 5
    source = lossless(decode(source))
    assert np.abs(decode(source).astype(int) - images).mean() < 3  # progressive ones are left alone


def test_a_cover_in_front_of_the_tracks_is_never_the_video(tmp_path):
    cover = encode(
        np.zeros((1, 64, 96, 3), np.uint8), codec="mjpeg", container="image2pipe", pix_fmt="yuvj420p"
    )
    source = with_cover(encode(numbered(20), options={"movflags": "+faststart"}), cover)
    for images in read_and_muxed(source, tmp_path):
        assert numbers(images) == list(range(20))


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_a_track_of_one_picture_in_front_of_the_video_is_never_the_video(container, tmp_path):
    """As taggers write a cover that is not marked as one."""
    path = tmp_path / "clip"
    with av.open(str(path), "w", format=container) as file:
        tracks = []
        for codec, frames in (("mjpeg", numbered(1)), ("libx264", numbered(20))):
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height = frames.shape[2], frames.shape[1]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            tracks.append((stream, frames))
        for stream, frames in tracks:
            for frame in frames:
                file.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            file.mux(stream.encode(None))
    for images in read_and_muxed(path.read_bytes(), tmp_path):
        assert numbers(images) == list(range(20))


@pytest.mark.parametrize("codec", ["mjpeg", "png", "bmp", "tiff", "gif"])
def test_a_still_picture_is_refused_as_one(codec):
    container = "gif" if codec == "gif" else "image2pipe"
    pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8", "bmp": "bgr24"}.get(codec, "rgb24")
    with pytest.raises(UnreadableVideoError, match="the given .* bytes is a still picture"):
        decode(encode(numbered(1), codec=codec, container=container, pix_fmt=pix_fmt))


def test_a_picture_format_without_a_decoder_is_named():
    with pytest.raises(UnreadableVideoError, match="cannot decode"):
        decode(b'<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"></svg>')


@pytest.mark.parametrize("gap", [8.0, 12.0, 45.0])
def test_a_still_is_held_where_the_length_of_the_file_agrees(tmp_path, gap):
    times = [k / 25 + (gap if k >= 5 else 0) for k in range(10)]
    for container in ("mp4", "matroska"):
        source = encode(numbered(10), 25, container=container, times=times)
        for images in read_and_muxed(source, tmp_path):
            assert numbers(images) == [0, 1, 2, 3, *[4] * (1 + round(25 * gap)), 5, 6, 7, 8, 9]


def timescaled(unit: int, editlist: int = 0) -> bytes:
    """An mp4 whose track has `unit` ticks per second in place of 12800, of which a picture lasts 512."""
    mp4 = encode(numbered(75), options={"use_editlist": str(editlist)})
    at = mp4.index(b"mdhd") + 4 + 12
    return mp4[:at] + unit.to_bytes(4, "big") + mp4[at + 4 :]


@pytest.mark.parametrize(
    "source",
    [
        timescaled(0),
        timescaled(1),
        timescaled(1, editlist=1),
        timescaled(2**31 - 1),
        {"frames": numbered(75), "fps": 1e-9},
        {"frames": numbered(75), "fps": 1e9},
        {"frames": numbered(75), "fps": 5e-324},
    ],
    ids=["scale 0", "scale 1", "scale 1, cut", "huge scale", "slow array", "fast array", "slowest array"],
)
def test_rates_that_no_video_has_are_an_error_at_once(source):
    with pytest.raises(UnreadableVideoError, match="Is its rate right"):
        for count, _ in enumerate(iter_frames(source)):
            assert count < 20_000


@pytest.mark.parametrize("size", [(8, 8), (4, 96), (16, 400)])
def test_pictures_without_room_for_a_face_are_an_error(size):
    height, width = size
    frames = np.zeros((3, height, width, 3), np.uint8)
    for source in ({"frames": frames, "fps": 25}, lossless(frames, pix_fmt="yuv444p")):
        with pytest.raises(UnreadableVideoError, match=f"pictures of {width}x{height} pixels"):
            decode(source)


@pytest.mark.parametrize("wrong", [4000, 0, 30_000], ids=["late", "early", "far"])
def test_a_lone_time_stamp_that_jumps_does_not_move_the_others(tmp_path, wrong):
    source = encode(numbered(20), codec="mjpeg", container="matroska", pix_fmt="yuvj420p")
    third, moved = (b"\x81" + time.to_bytes(2, "big") + b"\x80" for time in (80, wrong))
    assert third in source  # a block's track, milliseconds and flags
    source = source.replace(third, moved, 1)
    with pytest.warns(UserWarning, match="has 1 time stamps that jump"):
        assert numbers(list(iter_frames(source))) == list(range(20))
    mux_speech(source, SILENCE, tmp_path / "out.mp4")
    assert numbers(decode(tmp_path / "out.mp4")) == list(range(20))
