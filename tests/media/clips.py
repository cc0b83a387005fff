"""Generated videos whose frames survive any codec: frame i spells i in black and white bars."""

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8
FASTEST = {"libx264": {"preset": "ultrafast"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}


def numbered(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """uint8 (count, height, width, 3); 8 bars across frame i are the binary digits of i."""
    digits = np.arange(count)[:, None] >> np.arange(BITS) & 1
    bars = np.repeat(40 + 160 * digits.astype(np.uint8), width // BITS, axis=1)
    return np.broadcast_to(bars[:, None, :, None], (count, height, width, 3)).copy()


def numbers(frames: Sequence[np.ndarray]) -> list[int]:
    """The numbers of frames made by `numbered`."""
    bars = [frame.mean(axis=(0, 2)).reshape(BITS, -1).mean(axis=1) > 120 for frame in frames]
    return [int(np.sum(bar << np.arange(BITS))) for bar in bars]


def encode(
    frames: np.ndarray,
    rate: Fraction | int = 25,
    *,
    codec: str = "libx264",
    container: str = "mp4",
    pix_fmt: str = "yuv420p",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """A video file in memory; `times` are the frames' time stamps in seconds, by default index / rate."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        _encode(path, frames, rate, codec, container, pix_fmt, times, options)
        return path.read_bytes()


def _encode(path, frames, rate, codec, container, pix_fmt, times, options):
    with av.open(str(path), mode="w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pix_fmt
        stream.options = FASTEST.get(codec, {})
        stream.bit_rate = 2_000_000
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times is not None:
                picture.pts, picture.time_base = round(times[index] * 1000), Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


def with_matrix(mp4: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An mp4 whose first track's display matrix has the linear part (a, b, c, d)."""
    start = mp4.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, layer and volume
    a, b, c, d = (value << 16 & 0xFFFFFFFF for value in matrix)
    words = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return mp4[:start] + b"".join(word.to_bytes(4, "big") for word in words) + mp4[start + 36 :]


def sound_file(seconds: float = 0.5) -> bytes:
    """A wav file."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="wav") as output:
        stream = output.add_stream("pcm_s16le", rate=16_000, layout="mono")
        samples = np.zeros((1, round(16_000 * seconds)), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()
