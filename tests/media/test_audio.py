"""Sound files of many kinds in, 16 kHz mono out."""

import io
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from hf_lip2speech.errors import Lip2SpeechError, NoAudioError
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.video import iter_frames

from .clips import encode, numbered
from .voices import babble


def wav(samples: np.ndarray, rate: int = 16_000, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=options.pop("format", "WAV"), **options)
    return file.getvalue()


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("subtype", "tolerance"),
    [
        ("PCM_U8", 1 / 128),
        ("PCM_16", 1 / 32768),
        ("PCM_24", 2**-23),
        ("PCM_32", 1e-7),
        ("FLOAT", 0),
        ("DOUBLE", 1e-7),
    ],
)
def test_every_sample_format_is_scaled_to_one(subtype, tolerance):
    waveform = babble(0.3, level=0.9)
    np.testing.assert_allclose(read_audio(wav(waveform, subtype=subtype)), waveform, atol=tolerance)


def test_sound_of_a_format_without_a_decoder_is_named():
    data = wav(babble(0.3))
    unknown = data[:20] + b"\xff\xff" + data[22:]
    with pytest.raises(NoAudioError, match="sound in a format that FFmpeg cannot decode"):
        read_audio(unknown)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int16", "int32", "uint16"])
def test_arrays_of_every_type_are_scaled_to_one(dtype):
    waveform = babble(0.2)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        array, tolerance = waveform.astype(kind), 1e-6
    else:
        half = 2.0 ** (8 * kind.itemsize - 1)
        array = np.round(waveform * half + (half if kind.kind == "u" else 0)).astype(kind)
        tolerance = 0.6 / half + 1e-7
    result = read_audio({"array": array, "sampling_rate": 16_000})
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, waveform, atol=tolerance)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_to_the_same_sound(rate):
    sound = read_audio(wav(tone(rate), rate, subtype="FLOAT"))
    assert len(sound) == 16_000
    np.testing.assert_allclose(sound[800:-800], tone(16_000)[800:-800], atol=1e-3)


def test_channels_are_averaged_whichever_axis_they_are_on():
    left, right = babble(0.2), babble(0.2, pitch=210, seed=1)
    stereo = np.stack([left, right])
    mean = (left + right) / 2
    for array in (stereo, stereo.T):
        np.testing.assert_allclose(read_audio({"array": array, "sampling_rate": 16_000}), mean, atol=1e-7)
    np.testing.assert_allclose(read_audio(wav(stereo.T, subtype="FLOAT")), mean, atol=1e-7)
    np.testing.assert_allclose(read_audio(wav(stereo.T, format="FLAC", subtype="PCM_24")), mean, atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_what_is_written_is_read_back_bit_for_bit_at_16_bits(tmp_path, suffix):
    pcm = np.random.default_rng(0).integers(-32768, 32767, 5000) / 32768
    path = tmp_path / f"voice{suffix}"
    write_audio(path, pcm)
    np.testing.assert_array_equal(read_audio(path), pcm.astype(np.float32))
    assert soundfile.info(path).subtype == "PCM_16"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_loud_samples_are_clipped_not_wrapped(tmp_path):
    write_audio(tmp_path / "loud.wav", np.array([1.5, -1.5, 0.25]))
    np.testing.assert_allclose(read_audio(tmp_path / "loud.wav"), [1, -1, 0.25], atol=1e-4)
    loud = read_audio({"array": np.array([1.5, -1.5, 0.25]), "sampling_rate": 16_000})
    np.testing.assert_array_equal(loud, np.float32([1, -1, 0.25]))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "voice.wav"
    write_audio(path, np.zeros(10))
    before = path.read_bytes()
    with pytest.raises(Lip2SpeechError, match=r"1-D.*\(2, 3\)"):
        write_audio(path, np.zeros((2, 3)))
    with pytest.raises(Lip2SpeechError, match=r"\.wav or \.flac.*voice\.ogg"):
        write_audio(tmp_path / "voice.ogg", np.zeros(10))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def video_with_sound(picture_start: float, sound_times: list[tuple[float, np.ndarray]]) -> bytes:
    """A Matroska file whose pictures start at `picture_start` seconds, with PCM sound at the given times."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index, image in enumerate(numbered(10)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(1000 * (picture_start + index / 25)), Fraction(1, 1000)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for start, samples in sound_times:
            pcm = np.round(samples[None] * 32768).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, round(start * 16_000), Fraction(1, 16_000)
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return file.getvalue()


def test_pictures_do_not_break_off_where_the_sound_is_longer():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(iter_frames(video_with_sound(0.0, [(0.0, np.zeros(48_000))])))) == 10


@pytest.mark.parametrize("picture_start", [0.0, 0.1, 0.5])
def test_the_sound_of_a_video_starts_with_its_first_picture(picture_start):
    waveform = babble(0.4)
    sound = read_audio(video_with_sound(picture_start, [(0.2, waveform)]))
    shift = round((0.2 - picture_start) * 16_000)
    expected = np.pad(waveform, (shift, 0)) if shift >= 0 else waveform[-shift:]
    assert len(sound) == len(expected)
    np.testing.assert_allclose(sound, expected, atol=1 / 32768)


def test_a_gap_in_the_time_stamps_is_silence():
    first, second = babble(0.2), babble(0.2, seed=1)
    sound = read_audio(video_with_sound(0.0, [(0.0, first), (0.5, second)]))
    np.testing.assert_allclose(sound, np.concatenate([first, np.zeros(4800), second]), atol=1 / 32768)


def test_the_sound_of_a_grid_video_is_that_of_the_corpus(grid_dir):
    for path in sorted((grid_dir / "original").glob("*.mpg")):
        corpus = read_audio(grid_dir / "audio_16k" / "s1" / f"{path.stem}.flac")
        sound = read_audio(path)
        assert abs(len(sound) - len(corpus)) <= 1
        count = min(len(sound), len(corpus))
        assert np.corrcoef(sound[:count], corpus[:count])[0, 1] > 0.999


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"this is not a sound", "cannot open the given 19 bytes as a recording"),
        (encode(numbered(3)), "no sound track"),
        (wav(np.zeros(0)), "without samples"),
        ({"array": np.zeros(5)}, "sampling_rate.*got the keys"),
        ({"array": np.zeros((2, 2, 2)), "sampling_rate": 16_000}, r"1 or 2 dimensions.*\(2, 2, 2\)"),
        ({"array": np.zeros(5), "sampling_rate": 0}, "claims 0 samples per second"),
        ({"array": np.zeros(5), "sampling_rate": 1}, "claims 1 samples per second; expected 2000 to 768000"),
        ({"array": np.zeros(5), "sampling_rate": 10**30}, "claims 10+ samples per second"),
        ({"array": np.zeros(5), "sampling_rate": float("inf")}, "inf Hz"),
        ({"array": np.zeros(5), "sampling_rate": None}, "one array.*at None Hz"),
        ({"array": [[0.0], [0.0, 1.0]], "sampling_rate": 16_000}, "one array of samples.*list"),
        ({1: np.zeros(5), "rate": 16_000}, "got the keys"),
        ({"array": np.zeros(5, dtype=bool), "sampling_rate": 16_000}, "floats or integers.*bool"),
        ({"array": np.array([0, np.nan]), "sampling_rate": 16_000}, "not numbers"),
    ],
    ids=[
        "garbage",
        "silent video",
        "empty",
        "no rate",
        "3-D",
        "rate 0",
        "rate 1",
        "rate 1e30",
        "rate inf",
        "rate None",
        "ragged",
        "keys of two types",
        "bool",
        "nan",
    ],
)
def test_what_holds_no_sound_is_named(source, message):
    with pytest.raises(NoAudioError, match=message):
        read_audio(source)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_samples_that_are_not_finite_are_refused_and_leave_no_file(tmp_path, value):
    with pytest.raises(Lip2SpeechError, match="1 of the waveform's 3 samples"):
        write_audio(tmp_path / "speech.wav", np.array([0.1, value, 0.2]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_a_file_that_claims_an_impossible_rate_is_refused_before_it_is_read(tmp_path, rate):
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.zeros(100), 16_000)
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")  # of the fmt chunk
    path.write_bytes(data)
    with pytest.raises(NoAudioError, match="sound.wav"):
        read_audio(path)
