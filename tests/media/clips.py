"""Generated videos whose frames survive any codec: frame i spells i in black and white bars."""

import io
import struct
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
    codec_options: dict[str, str] | None = None,
    source_format: str = "rgb24",
    **context,
) -> bytes:
    """A video file in memory.

    `times` are the frames' time stamps in seconds, by default index / rate; `options` are the container's,
    `context` attributes of the codec's.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip"
        with av.open(str(path), mode="w", format=container, options=options or {}) as output:
            stream = output.add_stream(codec, rate=Fraction(rate))
            first = av.VideoFrame.from_ndarray(frames[0], format=source_format)
            stream.width, stream.height, stream.pix_fmt = first.width, first.height, pix_fmt
            stream.options = FASTEST.get(codec, {}) | (codec_options or {})
            stream.bit_rate = 2_000_000
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for name, value in context.items():
                setattr(stream.codec_context, name, value)
            for index, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, format=source_format)
                if times is not None:
                    picture.pts, picture.time_base = round(times[index] * 1000), Fraction(1, 1000)
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        return path.read_bytes()


def with_cover(mp4: bytes, jpeg: bytes) -> bytes:
    """An mp4 (with faststart) that has a cover picture in front of its tracks, where some taggers put it."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)

    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    cover = box(b"ilst", box(b"covr", box(b"data", struct.pack(">II", 13, 0), jpeg)))
    tags = box(b"udta", box(b"meta", bytes(4), handler, cover))
    start = mp4.index(b"moov") - 4
    size, offsets = int.from_bytes(mp4[start : start + 4], "big"), mp4.index(b"stco") + 12
    count = int.from_bytes(mp4[offsets - 4 : offsets], "big")
    moved = [entry + len(tags) for entry in struct.unpack_from(f">{count}I", mp4, offsets)]
    moov = bytearray(mp4[start : start + size].replace(b"udta", b"free"))
    struct.pack_into(f">{count}I", moov, offsets - start, *moved)
    struct.pack_into(">I", moov, 0, size + len(tags))
    return mp4[:start] + bytes(moov[:8]) + tags + bytes(moov[8:]) + mp4[start + size :]


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
