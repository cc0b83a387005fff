"""Containers, pictures, arrays, names, addresses and recordings of speakers."""

import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_lip2speech.media.audio import read_audio

from ..media.clips import encode, numbered, sound_file
from .judging import Case, command
from .material import CONTAINERS, box, clip, damaged, pipe, sound, spoken

SIZES = ((1, 1), (2, 2), (15, 15), (16, 16), (96, 1), (2, 96), (4096, 16), (96, 95), (88, 88), (640, 8))
FORMATS = ("yuv420p", "yuv444p", "yuvj420p", "gray", "yuv420p10le", "nv12")
RATES = (1, 2, 23, 60, 120, 1000)
ADDRESSES = (
    "http://", "http://[::1", "http://[zz]/", "http://127.0.0.1:1/x", "http://127.0.0.1:99999/x", "http://..",
    "http://a b/c", "https://\0/", "http://127.0.0.1:x/", "http://user:pass@127.0.0.1:1/", "http://\u2100.com/",
    "http://" + "a" * 300, "http://../x", "http:///x", "https://127.0.0.1:1/", "http://127.0.0.1:1/\r\nX: y",
    "http://xn--\udcff/", "http://.", "http://127.0.0.1:-1/", "http://%zz/", "http://ü\udcff/",
)  # fmt: skip


def containers(amount: int = 4, seed: int = 0) -> Iterator[Case]:
    for suffix in CONTAINERS:
        for name, data in damaged(clip(suffix), amount, seed):
            yield Case("container", f"{suffix} {name}", functools.partial(_speak_file, data, suffix))
            if suffix in ("mp4", "mkv", "avi") and "flipped" in name:
                yield Case("container --video", f"{suffix} {name}", functools.partial(_mux, data, suffix))
    for kind, offset in ((b"mdhd", 12), (b"mvhd", 12), (b"stts", 4), (b"stts", 8), (b"stts", 12)):
        for value in (0, 1, 2**31 - 1, 2**32 - 1):
            data = box(clip("mp4"), kind, offset, value)
            name = f"{kind.decode()}+{offset} = {value}"
            yield Case("time stamps", name, functools.partial(_speak_file, data, "mp4"))
            yield Case("time stamps", f"{name} --video", functools.partial(_mux, data, "mp4"))
    for kind, offset in (
        (b"tkhd", 76),
        (b"tkhd", 80),
        (b"avc1", 24),
        (b"stsz", 4),
        (b"stsz", 8),
        (b"stco", 8),
    ):
        for value in (0, 1, 2**31 - 1, 2**32 - 1):
            data = box(clip("mp4"), kind, offset, value)
            name = f"{kind.decode()}+{offset} = {value}"
            yield Case("boxes", name, functools.partial(_speak_file, data, "mp4"))
    for name, times in {
        "jump": [0, 0.04, 5000, 5000.04],
        "one": [3600],
    }.items():
        data = encode(numbered(len(times), 96, 96), times=times, container="matroska", codec="mpeg4")
        yield Case("time stamps", name, functools.partial(_speak_file, data, "mkv"))


def _speak_file(data: bytes, suffix: str, folder: Path) -> Any:
    path = folder / f"clip.{suffix}"
    path.write_bytes(data)
    return spoken(path)


def _mux(data: bytes, suffix: str, folder: Path) -> Any:
    """The command with --video, on the small model's speech."""
    (folder / f"clip.{suffix}").write_bytes(data)
    return speak(folder, folder / f"clip.{suffix}", "--video", folder / "out.mp4")


def speak(folder: Path, *words: object, output: Path | None = None) -> Any:
    """`hf-lip2speech speak` with the small model, without loading it again."""
    from hf_lip2speech import pipeline

    output = output or folder / "out.wav"
    outputs = [output, *(words[i + 1] for i, word in enumerate(words) if word in ("--video", "--plot"))]
    load, pipeline.load_pipeline = pipeline.load_pipeline, lambda *_: pipe()
    try:
        return command("speak", *words, "--cropped", "-o", output, outputs=tuple(map(Path, outputs)))
    finally:
        pipeline.load_pipeline = load


def pictures() -> Iterator[Case]:
    for height, width in SIZES:
        frames = {"frames": np.zeros((3, height, width, 3), np.uint8), "fps": 25}
        yield Case("size", f"{width}x{height} cropped", lambda _, f=frames: spoken(f))
        yield Case("size", f"{width}x{height} with a face", lambda _, f=frames: spoken(f, cropped=False))
    for pix_fmt in FORMATS:
        codec = "ffv1" if pix_fmt in ("yuv420p10le", "gray", "yuv444p") else "mpeg4"
        codec = {"nv12": "rawvideo", "yuvj420p": "mjpeg"}.get(pix_fmt, codec)
        make = functools.partial(encode, numbered(3, 96, 96), codec=codec, container="matroska")
        act = lambda folder, make=make, p=pix_fmt: _speak_file(make(pix_fmt=p), "mkv", folder)  # noqa: E731
        yield Case("pixel format", pix_fmt, act)
    for rate in RATES:
        make = functools.partial(encode, numbered(5, 96, 96), rate, codec="mpeg4", container="matroska")
        yield Case("rate", str(rate), lambda folder, make=make: _speak_file(make(), "mkv", folder))
    for codec, container, suffix in (
        ("png", "image2pipe", "png"),
        ("mjpeg", "mjpeg", "jpg"),
        ("gif", "gif", "gif"),
    ):
        pix_fmt = {"png": "rgb24", "gif": "rgb8"}.get(codec, "yuvj420p")
        make = functools.partial(
            encode, numbered(1, 96, 96), codec=codec, container=container, pix_fmt=pix_fmt
        )
        yield Case("still", suffix, lambda folder, make=make, s=suffix: _speak_file(make(), s, folder))
    svg = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="96" height="96"/>'
    for name, data in {
        "svg": svg,
        "wav": sound_file(),
        "text": b"hello " * 100,
        "html": b"<html><body>404</body></html>",
        "playlist": b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "zeros": bytes(10_000),
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(50_000),
        "pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
        "zip": b"PK\x03\x04" + bytes(200),
    }.items():
        yield Case("no video", name, functools.partial(_speak_file, data, "mp4"))
        yield Case("no video", f"{name} (bytes)", lambda _, data=data: spoken(data))
        yield Case("no video", f"{name} (command)", functools.partial(_mux, data, "mp4"))
    noise = np.random.default_rng(0).integers(0, 256, (4, 120, 160, 3), dtype=np.uint8)
    for name, frames in {"noise": noise, "black": noise * 0, "white": noise * 0 + 255}.items():
        yield Case("no face", name, lambda _, f=frames: spoken({"frames": f, "fps": 25}, cropped=False))


def _arrays() -> Iterator[tuple[str, Any, Any]]:
    good = numbered(3, 96, 96)
    floats = good / 255
    shapes = ((96, 96), (96, 96, 3), (3, 96, 96, 4), (3, 96, 96, 2), (0, 96, 96, 3), (3, 0, 96, 3), (1,), ())
    for shape in (*shapes, (3, 0, 0, 3), (1, 3, 96, 96, 3), (3, 2, 96, 96), (3, 96, 3)):
        yield f"shape {shape}", np.zeros(shape, np.uint8), 25
    for dtype in (
        bool,
        np.int8,
        np.int16,
        np.uint16,
        np.int64,
        np.float16,
        np.float64,
        complex,
        object,
        "U3",
        "M8[s]",
    ):
        yield f"dtype {dtype}", np.zeros((3, 96, 96, 3)).astype(dtype), 25
    for value in (np.nan, np.inf, -np.inf, -0.1, 1.1, 255.0):
        frames = floats.copy()
        frames[1, 2, 3] = value
        yield f"value {value}", frames, 25
    for fps in (
        0,
        -1,
        1e-9,
        1e-300,
        1e300,
        1e9,
        np.nan,
        np.inf,
        None,
        "25",
        "",
        True,
        [25],
        25 + 0j,
        2**70,
        10**400,
    ):
        yield f"fps {str(fps)[:12]}", good, fps
    tensor = torch.from_numpy(good)
    yield "grad", torch.from_numpy(floats).requires_grad_(), 25
    yield "sparse", tensor.to_sparse(), 25
    yield "meta", tensor.to("meta"), 25
    yield "bfloat16", torch.from_numpy(floats).to(torch.bfloat16), 25
    yield "quantized", torch.quantize_per_tensor(torch.rand(3, 96, 96, 3), 0.1, 0, torch.quint8), 25
    yield "conjugate", torch.zeros(3, 96, 96, 3, dtype=torch.complex64).conj(), 25
    yield "nested", torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(3, 3)]), 25
    yield "list", good.tolist(), 25
    yield "ragged", [good[0], good[1, :50]], 25
    yield "strings", ["a.png", "b.png"], 25
    yield "None", None, 25
    yield "dict", {"a": 1}, 25
    yield "str", "frames", 25
    yield "bytes", b"frames", 25
    yield "generator", (frame for frame in good), 25
    yield "set", {1, 2}, 25
    yield "masked", np.ma.masked_array(good, mask=good > 100), 25
    yield "strided", good[:, ::-1, ::-1], 25
    yield "big-endian", floats.astype(">f4"), 25
    yield "structured", np.zeros(3, dtype=[("a", "u1")]), 25


def arrays() -> Iterator[Case]:
    for name, frames, fps in _arrays():
        given = {"frames": frames, "fps": fps}
        yield Case("array", name, lambda _, given=given: spoken(given))
    for name, given in {
        "no fps": {"frames": numbered(2, 96, 96)},
        "empty dict": {},
        "None": {"video": None},
        "number": 7,
        "float": 1.5,
        "set": {1},
        "array alone": numbered(2, 96, 96),
        "tensor alone": torch.zeros(2, 96, 96),
        "nested dict": {"video": {"video": {"path": None}}},
        "path in bytes": {"bytes": "text"},
        "bytes in path": {"path": b"clip"},
        "list in a list": [["a.mp4"]],
        "None in a list": [None],
        "object": object(),
        "class": Path,
        "function": len,
    }.items():
        yield Case("input", name, lambda _, given=given: _last(pipe()(given, cropped=True)))
    for name, value in {
        "cropped": "yes",
        "return_units": 1,
        "loud": True,
        "batch_size": 0,
        "num_workers": -1,
        "detector": 7,
        "progress": 7,
        "return_face_mask": None,
        "face": "left",
    }.items():
        given = {"frames": numbered(2, 96, 96), "fps": 25}
        options = {"cropped": name != "detector", name: value}
        yield Case("argument", name, lambda _, o=options, g=given: _last(pipe()([g], **o)))


def _last(result: Any) -> tuple[dict, int]:
    speech = list(result)[-1] if not isinstance(result, dict) else result
    return speech, len(speech["audio"]) // 640


class _Closed(io.BytesIO):
    def __init__(self) -> None:
        super().__init__(clip("mp4"))
        self.close()


class _Raising:
    """A file object whose methods fail."""

    def __init__(self, error: Exception, seekable: bool):
        self.error, self.can = error, seekable

    def seekable(self) -> bool:
        return self.can

    def seek(self, *_: int) -> int:
        raise self.error

    tell = seek

    def read(self, *_: int) -> bytes:
        raise self.error


def names() -> Iterator[Case]:
    def named(name: str, make: Callable[[Path], Any] | None = None) -> Callable[[Path], Any]:
        def act(folder: Path) -> Any:
            os.chdir(folder)
            if make is not None:
                make(Path(name))
            return spoken(name)

        return act

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip("mp4"))

    good = (
        "http:x.mp4",
        "take:1.mp4",
        "%03d.mp4",
        "a\udcff.mp4",
        " .mp4",
        "-.mp4",
        "a\nb.mp4",
        "n" * 251 + ".mp4",
    )
    for name in (
        *good,
        "file:x.mp4",
        "pipe:0",
        "concat:a|b",
        "http:/x.mp4",
        "https:x",
        "'\".mp4",
        "ü.mp4",
        "data:,x",
    ):
        yield Case("name", f"a file {ascii(name)[:30]}", named(name, write))
        yield Case("name", f"command {ascii(name)[:30]}", lambda folder, n=name: _name_command(folder, n))
    bad = (
        "",
        "nowhere.mp4",
        "n" * 300,
        "n/" * 3000,
        "\0.mp4",
        "\udcff.mp4",
        "~nobody/x",
        "clip.mp4/x",
        "file:///etc/passwd",
    )
    for name in (
        *bad,
        "ftp://a/b.mp4",
        "rtsp://127.0.0.1/x",
        "data:video/mp4;base64,AA",
        "udp://@:1",
        "C:\\x.mp4",
    ):
        yield Case("name", f"nothing {ascii(name)[:30]}", named(name))
        yield Case("name", f"nothing, command {ascii(name)[:30]}", lambda folder, n=name: speak(folder, n))
    yield Case("name", "a folder", named("dir", lambda path: path.mkdir()))
    yield Case("name", "a fifo", named("fifo.mp4", os.mkfifo))
    yield Case(
        "name",
        "a fifo (command)",
        lambda folder: (os.mkfifo(folder / "f.mp4"), speak(folder, folder / "f.mp4"))[1],
    )
    yield Case("name", "a link to itself", named("loop.mp4", lambda path: path.symlink_to(path.name)))
    yield Case("name", "a link to nowhere", named("gone.mp4", lambda path: path.symlink_to("none")))
    for device in ("/dev/null", "/dev/zero", "/dev/stdin", "/proc/self/mem", "/etc"):
        yield Case("name", device, named(device))
    for name, file in {
        "closed": _Closed,
        "text": lambda: io.StringIO("text"),
        "text file": lambda: open(__file__),
        "write only": lambda: open(os.devnull, "wb"),
        "raises OSError": lambda: _Raising(OSError(5, "Input/output error"), False),
        "raises OSError when seeking": lambda: _Raising(OSError(5, "Input/output error"), True),
        "raises ValueError": lambda: _Raising(ValueError("no"), True),
        "raises KeyError": lambda: _Raising(KeyError("no"), True),
        "empty": io.BytesIO,
    }.items():
        yield Case("file object", name, lambda _, file=file: spoken(file()))
        yield Case("file object", f"{name} of a speaker", lambda _, file=file: _speaker(file()))


def _name_command(folder: Path, name: str) -> Any:
    os.chdir(folder)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(clip("mp4"))
    from hf_lip2speech import pipeline

    load, pipeline.load_pipeline = pipeline.load_pipeline, lambda *_: pipe()
    try:
        words = ["speak", "--cropped", "--", name]
        done = command(*words)
        written = [path for path in folder.iterdir() if path.suffix == ".wav"]
        if done.code == 0 and not written:
            return command("speak")  # nothing was written: shown as wrong below
        return done
    finally:
        pipeline.load_pipeline = load


def _speaker(speaker: Any) -> tuple[dict, int]:
    return spoken({"frames": numbered(2, 96, 96), "fps": 25}, speaker=speaker)


def speakers(amount: int = 3, seed: int = 0) -> Iterator[Case]:
    for suffix in ("wav", "flac", "ogg", "mp3"):
        for name, data in damaged(sound(suffix), amount, seed):
            yield Case("recording", f"{suffix} {name}", lambda _, data=data: _speaker(data))
    for name, data in damaged(clip("mp4"), 2, seed):
        yield Case("recording", f"mp4 {name}", lambda _, data=data: read_audio(data).shape)
    for rate in (0, 1, 2**31 - 1, 2**32 - 1, 44_100):
        data = sound()[:24] + rate.to_bytes(4, "little") + sound()[28:]
        yield Case("recording", f"wav of {rate} Hz", lambda _, data=data: _speaker(data))
    for place in (20, 22, 32, 34):  # of its format, channels, bytes of a sample and bits
        for value in (0, 3, 255, 65_535):
            data = sound()[:place] + value.to_bytes(2, "little") + sound()[place + 2 :]
            yield Case("recording", f"wav with {value} at {place}", lambda _, data=data: _speaker(data))
    voice = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
    for rate in (0, -1, 1, 1e30, np.nan, np.inf, "16000", None, [16_000], 2**80, 1.5, True):
        given = {"array": voice, "sampling_rate": rate}
        yield Case("speaker array", f"rate {rate}", lambda _, g=given: _speaker(g))
    for name, array in {
        "empty": voice[:0],
        "one sample": voice[:1],
        "short": voice[:100],
        "silent": voice * 0,
        "NaN": voice * np.nan,
        "inf": voice * np.inf,
        "huge": voice * 1e30,
        "3-D": voice.reshape(2, 100, 100),
        "scalar": np.float32(1),
        "complex": voice * 1j,
        "object": voice.astype(object),
        "text": "text",
        "None": None,
        "bool": voice > 0,
        "list": voice.tolist(),
        "tensor": torch.from_numpy(voice),
        "grad": torch.from_numpy(voice.copy()).requires_grad_(),
        "meta": torch.from_numpy(voice).to("meta"),
        "sparse": torch.from_numpy(voice).to_sparse(),
        "ragged": [[1.0], [1.0, 2.0]],
        "many channels": voice.reshape(100, 200),
        "no channel": np.zeros((0, 100), np.float32),
        "generator": (x for x in voice),
        "dict": {"a": 1},
    }.items():
        given = {"array": array, "sampling_rate": 16_000}
        yield Case("speaker array", name, lambda _, g=given: _speaker(g))
    for name, speaker in {
        "nobody": "nobody",
        "no name": "",
        "long": "v" * 5000,
        "NUL": "\0",
        "number": 7,
        "True": True,
        "short": np.ones(255),
        "2-D": np.ones((1, 256)),
        "zeros": np.zeros(256),
        "NaN": np.full(256, np.nan),
        "huge": np.full(256, 1e38),
        "strings": ["a"] * 256,
        "nested": [[1.0] * 256],
        "complex": np.ones(256) * 1j,
        "meta": torch.ones(256, device="meta"),
        "sparse": torch.ones(256).to_sparse(),
        "object": object(),
        "empty dict": {},
        "folder": Path("/"),
        "device": "/dev/zero",
        "empty": [],
        "None in a list": [None] * 256,
        "set": set(),
        "bytes": b"",
        "integers": np.ones(256, int),
        "ragged": [1.0, [2.0]],
    }.items():
        yield Case("speaker", name, lambda _, s=speaker: _speaker(s))


def _redirect(target: str) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.end_headers()

    return answer


def _with(
    code: int = 200, body: bytes = b"", pause: float = 0.0, times: int = 1, **headers: str
) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        for _ in range(times):
            handler.wfile.write(body)
            time.sleep(pause)

    return answer


def _raw(line: bytes) -> Callable[[Any], None]:
    return lambda handler: handler.wfile.write(line)


def answers() -> dict[str, Any]:
    """What a web server may say."""
    good = clip("mp4")
    return {
        "good": good,
        "404": None,
        "500": _with(500, b"oops"),
        "403": _with(403),
        "401": _with(401, WWW_Authenticate="Basic"),
        "204": _with(204),
        "206": _with(206, good[:500]),
        "304": _with(304),
        "empty": b"",
        "html": b"<html>no</html>",
        "cut": _with(200, good[:500], Content_Length=str(len(good))),
        "too long": _with(200, good, Content_Length="10"),
        "odd length": _with(200, good, Content_Length="many"),
        "negative length": _with(200, good, Content_Length="-5"),
        "huge length": _with(200, good, Content_Length=str(10**15)),
        "drip": _with(200, b"x", 0.05, 10_000),
        "endless": _with(200, bytes(1 << 16), 0.0, 100_000),
        "gzip": _with(200, good, Content_Encoding="gzip"),
        "bad chunks": _with(200, b"zz\r\n", Transfer_Encoding="chunked"),
        "to itself": _redirect("/to itself".replace(" ", "%20")),
        "to a file": _redirect("file:///etc/passwd"),
        "to ftp": _redirect("ftp://127.0.0.1/x"),
        "to nothing": _redirect(""),
        "to nonsense": _redirect("http://[::1"),
        "to a bad port": _redirect("http://127.0.0.1:99999/"),
        "no http": _raw(b"SSH-2.0-OpenSSH\r\n"),
        "silence": _raw(b""),
        "long header": _raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        "many headers": _raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
        "bad status": _raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    }


def addresses(web: str) -> Iterator[Case]:
    """`web`: the address of a server that gives `answers`."""
    for name in answers():
        url = f"{web}/{name.replace(' ', '%20')}"
        yield Case("URL", name, lambda _, url=url: spoken(url))
        yield Case("URL", f"{name} of a speaker", lambda _, url=url: _speaker(url))
        yield Case("URL", f"{name} (command)", lambda folder, url=url: speak(folder, url))
    for url in ADDRESSES:
        yield Case("URL", ascii(url)[:40], lambda _, url=url: spoken(url))
        yield Case("URL", f"{ascii(url)[:40]} (command)", lambda folder, url=url: speak(folder, url))
