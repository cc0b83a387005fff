"""Speech put back into videos of several containers."""

import io

import av
import numpy as np
import pytest

from hf_lip2speech.errors import Lip2SpeechError, NoVideoStreamError, UnreadableVideoError
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.transcripts import Cue
from hf_lip2speech.media.video import iter_frames

from .clips import encode, numbered, numbers, sound_file, with_matrix
from .voices import babble

COUNT = 30  # frames
SPEECH = babble(COUNT / 25)


def packets(source) -> list[tuple[int, bytes]]:
    with av.open(source if isinstance(source, str) else io.BytesIO(source)) as container:
        return [(packet.pts, bytes(packet)) for packet in container.demux(video=0) if packet.size]


def durations(path) -> dict[str, float]:
    with av.open(str(path)) as container:
        return {s.codec_context.name: float(s.duration * s.time_base) for s in container.streams}


def similarity(path, speech: np.ndarray = SPEECH) -> float:
    return float(np.corrcoef(read_audio(path)[: len(speech)], speech)[0, 1])


def test_the_pictures_of_an_mp4_file_are_copied_bit_by_bit(tmp_path):
    source = encode(numbered(COUNT))
    out = tmp_path / "out.mp4"
    mux_speech(source, SPEECH, out)
    assert [data for _, data in packets(str(out))] == [data for _, data in packets(source)]
    assert durations(out) == pytest.approx({"h264": 1.2, "aac": 1.2}, abs=1e-3)
    assert similarity(out) > 0.98
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize(
    ("codec", "container", "anew"),
    [
        ("libx264", "matroska", False),
        ("libx264", "mpegts", False),
        ("libx264", "avi", False),
        ("libx264", "h264", True),  # a bare stream without time stamps
        ("libx265", "mp4", False),
        ("libvpx-vp9", "webm", True),
        ("mpeg1video", "mpeg", True),
        ("mpeg4", "avi", True),
        ("mjpeg", "avi", True),
    ],
)
def test_every_container_becomes_an_mp4_of_the_same_pictures_and_length(tmp_path, codec, container, anew):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    source = encode(numbered(COUNT), codec=codec, container=container, pix_fmt=pix_fmt)
    out = tmp_path / "out.mp4"
    mux_speech(source, SPEECH, out)
    assert (b"crf=16" in out.read_bytes()) is anew  # x264 signs with its options
    expected = "hevc" if codec == "libx265" else "h264"
    assert durations(out) == pytest.approx({expected: 1.2, "aac": 1.2}, abs=1e-2)
    assert numbers(list(iter_frames(out))) == list(range(COUNT))
    assert similarity(out) > 0.98


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".MKV"])
@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_h264_is_copied_with_reordered_pictures_between_containers(tmp_path, caplog, suffix, container):
    """As OBS writes it: Matroska has no decoding times, of which FFmpeg guesses all but the first."""
    source = encode(numbered(COUNT), container=container, codec_options={"preset": "medium", "bf": "3"})
    out = tmp_path / f"out{suffix}"
    mux_speech(source, SPEECH, out)
    assert not caplog.records
    assert len(out.read_bytes()) < len(source) + 40_000  # and not encoded again
    assert numbers(list(iter_frames(out))) == list(range(COUNT))
    with av.open(str(out)) as video:
        assert [stream.codec_context.name for stream in video.streams] == ["h264", "aac"]
        assert (b"matroska" in out.read_bytes()[:64]) is (suffix == ".MKV")


def test_a_damaged_video_that_can_be_read_can_be_muxed(tmp_path):
    data = bytearray(encode(numbered(75), codec="mpeg4", options={"movflags": "+faststart"}))
    data[-2000:-1500] = bytes(500)
    with pytest.warns(UserWarning):
        frames = list(iter_frames(bytes(data[:-700])))
    mux_speech(bytes(data[:-700]), SPEECH, tmp_path / "out.mp4")
    assert len(list(iter_frames(tmp_path / "out.mp4"))) == len(frames) > 50


def test_other_endings_are_refused_before_any_work(tmp_path):
    with pytest.raises(Lip2SpeechError, match=r"\.mp4, \.mov, \.mkv, got 'out.avi'"):
        mux_speech("nowhere.mp4", SPEECH, tmp_path / "out.avi")


def test_variable_frame_times_are_kept(tmp_path):
    times = np.cumsum([0.0, *([0.04, 0.1] * 7)])
    source = encode(numbered(15), times=times, codec="libvpx-vp9", container="webm")
    out = tmp_path / "out.mp4"
    mux_speech(source, SPEECH, out)
    with av.open(str(out)) as container:
        np.testing.assert_allclose([frame.time for frame in container.decode(video=0)], times, atol=2e-3)


def test_pictures_that_start_late_start_at_once(tmp_path):
    source = encode(numbered(10), times=np.arange(10) / 25 + 3, container="matroska")
    mux_speech(source, SPEECH[:6400], tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(
            np.arange(10) / 25, abs=2e-3
        )


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"], ids=["copied", "encoded"])
@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, -1, -1, 0)], ids=str)
def test_a_clip_that_was_filmed_turned_or_mirrored_is_shown_as_before(tmp_path, codec, matrix):
    frames = numbered(5)
    frames[:, :32] //= 2  # top and bottom differ, as left and right do
    source = with_matrix(encode(frames, codec=codec), matrix)
    before = list(iter_frames(source))
    mux_speech(source, SPEECH[:3200], tmp_path / "out.mp4")
    for image, after in zip(before, iter_frames(tmp_path / "out.mp4"), strict=True):
        assert image.shape == after.shape and np.abs(image.astype(int) - after).mean() < 6


def test_odd_sides_are_encoded(tmp_path):
    source = encode(numbered(5)[:, :63, :95], codec="ffv1", container="matroska", pix_fmt="yuv444p")
    mux_speech(source, SPEECH[:3200], tmp_path / "out.mp4")
    assert next(iter(iter_frames(tmp_path / "out.mp4"))).shape == (62, 94, 3)


def test_the_sound_that_was_there_is_replaced_and_the_source_may_be_the_target(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode(numbered(COUNT)))
    mux_speech(path, babble(1.2, pitch=220, seed=5), path)
    mux_speech(path, SPEECH, path)
    assert set(durations(path)) == {"h264", "aac"} and len(durations(path)) == 2
    assert similarity(path) > 0.98


def test_loud_speech_is_clipped(tmp_path):
    mux_speech(encode(numbered(COUNT)), SPEECH * 100, tmp_path / "out.mp4")
    assert similarity(tmp_path / "out.mp4", np.clip(SPEECH * 100, -1, 1)) > 0.9


def test_sound_and_pictures_lie_side_by_side(tmp_path):
    mux_speech(encode(numbered(200)), babble(8.0), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        latest = {"video": 0.0, "audio": 0.0}
        for packet in container.demux():
            if packet.dts is not None:
                latest[packet.stream.type] = float(packet.dts * packet.time_base)
                assert abs(latest["video"] - latest["audio"]) < 1.5


def test_a_grid_clip_as_the_corpus_ships_it(tmp_path, grid_dir):
    source = sorted((grid_dir / "original").glob("*.mpg"))[0]
    speech = read_audio(source)
    mux_speech(source, speech, tmp_path / "out.mp4")
    assert durations(tmp_path / "out.mp4") == pytest.approx(
        {"h264": 3.0, "aac": len(speech) / 16_000}, abs=1e-3
    )
    assert similarity(tmp_path / "out.mp4", speech) > 0.99
    pairs = zip(iter_frames(source), iter_frames(tmp_path / "out.mp4"), strict=True)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in pairs) < 2


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = encode(numbered(COUNT))
    (tmp_path / "take:1.mp4").write_bytes(source)
    mux_speech("take:1.mp4", SPEECH, "said:1.mp4")
    assert [data for _, data in packets(str(tmp_path / "said:1.mp4"))] == [
        data for _, data in packets(source)
    ]
    assert similarity("said:1.mp4") > 0.98


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (b"this is not a video", UnreadableVideoError),
        (sound_file(), NoVideoStreamError),
    ],
)
def test_sources_without_pictures_are_named_and_nothing_is_written(tmp_path, source, error):
    with pytest.raises(error):
        mux_speech(source, SPEECH, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_stereo_waveform_is_refused(tmp_path):
    with pytest.raises(Lip2SpeechError, match="1-D"):
        mux_speech(encode(numbered(3)), np.zeros((2, 100)), tmp_path / "out.mp4")


def test_a_part_of_a_video_is_written_with_its_speech(tmp_path):
    out = tmp_path / "out.mp4"
    mux_speech(encode(numbered(COUNT)), SPEECH[: 16000 * 20 // 25], out, start=0.2, end=1.0)
    assert numbers(list(iter_frames(out))) == list(range(5, 25))
    assert durations(out) == pytest.approx({"h264": 0.8, "aac": 0.8}, abs=2e-3)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mov_text"), (".mov", "mov_text"), (".mkv", "srt")])
@pytest.mark.parametrize("pictures", ["libx264", "libvpx-vp9"])
def test_subtitles_are_a_track_with_their_times(tmp_path, suffix, codec, pictures):
    source = encode(numbered(COUNT), codec=pictures, container="matroska")
    out = tmp_path / f"out{suffix}"
    cues = [Cue(0.1, 0.5, "bin blau"), Cue(0.5, 0.9, "für f")]
    mux_speech(source, SPEECH, out, subtitles=cues)
    with av.open(str(out)) as container:
        (track,) = container.streams.subtitles
        assert track.codec_context.name == codec
        found = [
            (float(p.pts * p.time_base), float(p.duration * p.time_base), bytes(p))
            for p in container.demux(track)
            if p.size > 2
        ]
        if codec == "mov_text":
            assert b"Arial" in track.codec_context.extradata, "which QuickTime needs"
    prefix = 2 if codec == "mov_text" else 0
    texts = [(start, pytest.approx(length), data[prefix:].decode()) for start, length, data in found]
    assert texts == [(0.1, 0.4, "bin blau"), (0.5, 0.4, "für f")]
    assert len(list(iter_frames(out))) == COUNT and similarity(out) > 0.98
