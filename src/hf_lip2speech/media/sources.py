"""Where sound and video come from: paths, URLs, bytes and binary files, all opened in one way."""

import contextlib
import functools
import http.client
import io
import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from ..errors import EmptyVideoError, Lip2SpeechError, MissingVideoError, NoAudioError, UnreadableVideoError

MAX_BYTES = 4 << 30  # of a download or a file object
MAX_SECONDS = 900.0  # of a download
SLOWEST = 1000.0  # bytes per second of a download, on average ...
PATIENCE = 20.0  # ... once it has lasted so many seconds; also the longest wait for the next byte
MAX_REDIRECTS = 5
CHUNK = 1 << 16
# of FFmpeg's formats those that name further files and addresses, which it would read too
NAMING_OTHERS = {
    *("concat", "dash", "hls", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest")
}


@dataclass(frozen=True)
class Medium:
    """What is expected in a source, and the errors that say that it is not there."""

    noun: str
    unreadable: type[Lip2SpeechError]
    missing: type[Lip2SpeechError]
    empty: type[Lip2SpeechError]
    others: str  # what else the reader takes, for the message about an unknown type


_FRAMES, _SAMPLES = '{"frames": RGB (T, H, W, 3), "fps": float}', '{"array": samples, "sampling_rate": int}'
VIDEO = Medium("a video", UnreadableVideoError, MissingVideoError, EmptyVideoError, _FRAMES)
SOUND = Medium("a recording", NoAudioError, NoAudioError, NoAudioError, _SAMPLES)


@dataclass(frozen=True)
class Download(os.PathLike):
    """A temporary copy of a URL or a file object. Messages name the source."""

    path: Path
    name: str

    def __fspath__(self) -> str:
        return str(self.path)


def describe(source: object) -> str:
    """The name of a source in messages."""
    if isinstance(source, Download):
        return source.name
    if isinstance(source, dict):
        return "the given frames" if "frames" in source else "the given sound"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the given {len(source)} bytes"
    if isinstance(source, str | os.PathLike):
        return repr(os.fspath(source))
    if hasattr(source, "read"):
        return f"the given file object {getattr(source, 'name', '')!r}"
    return f"the given {type(source).__name__}"


def as_array(values: Any) -> np.ndarray:
    """An array, a list, or a tensor of PyTorch, perhaps with a gradient or on a GPU, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def is_url(source: object) -> bool:
    """Whether a source is an http(s) URL."""
    return isinstance(source, str) and re.match("https?://", source, re.IGNORECASE) is not None


@contextlib.contextmanager
def local_source(source: Any, medium: Medium = VIDEO) -> Generator[os.PathLike | BinaryIO]:
    """A source that can be read several times: a path or bytes in memory.

    URLs are downloaded (once, however often the result is read) and file objects are copied, to a temporary
    file that is deleted at the end.

    Args:
        source: path, http(s) URL, bytes, binary file, or what an outer `local_source` gave.
        medium: VIDEO or SOUND: what is expected, for messages and error classes.

    Raises:
        MissingVideoError (of a video), NoAudioError (of sound): there is no such file.
        UnreadableVideoError, NoAudioError: a folder, a pipe, a failed download, or no source at all.
    """
    name = describe(source)
    if is_url(source) or hasattr(source, "read"):
        with tempfile.TemporaryDirectory(prefix="lip2speech-") as folder:
            copy = Download(Path(folder) / "copy", name)
            if is_url(source):
                _download(source, copy.path, medium)
            elif isinstance(source, io.TextIOBase):
                raise medium.unreadable(f"{name} is open as text: open it with mode 'rb'")
            else:
                try:
                    if getattr(source, "seekable", lambda: False)():
                        source.seek(0)
                    _copy(source.read, copy.path)
                except Exception as error:  # whatever the caller's file raises
                    reason = error if isinstance(error, OSError | ValueError) else repr(error)
                    raise medium.unreadable(f"{name} cannot be read: {reason}") from error
            yield copy
    elif isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        if not path or not os.path.exists(path):
            raise medium.missing(
                f"there is no file {path!r}: expected the path or http(s) URL of {medium.noun}"
            )
        if not os.path.isfile(path):
            what = "a folder" if os.path.isdir(path) else "a pipe or device"
            raise medium.unreadable(f"{path!r} is {what}: expected a file with {medium.noun}")
        yield source if isinstance(source, os.PathLike) else Path(source)
    else:
        raise medium.unreadable(
            f"cannot read {medium.noun} from {type(source).__name__}: expected a path, URL, bytes, a binary "
            f"file or {medium.others}"
        )


@functools.cache
def one_file() -> dict[str, Any]:
    """Arguments for `av.open`, by which it reads the given file and no other: playlists are refused. Titles
    may have any encoding."""
    formats = ",".join(sorted(av.formats_available - NAMING_OTHERS))
    return {"mode": "r", "options": {"format_whitelist": formats}, "metadata_errors": "replace"}


def open_container(opened: os.PathLike | BinaryIO, name: str, medium: Medium = VIDEO) -> InputContainer:
    """Open what `local_source` gave with FFmpeg.

    Raises:
        UnreadableVideoError, EmptyVideoError, NoAudioError: FFmpeg knows no such format, or the file ends.
    """
    try:
        if isinstance(opened, os.PathLike):
            return av.open(ffmpeg_name(opened), **one_file())
        opened.seek(0)
        return av.open(opened, **one_file())
    except av.EOFError as error:
        raise medium.empty(f"{name} ends before any of its content") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without FFmpeg's number and temporary names
        if isinstance(error, av.ArgumentError):
            reason = f"{reason} (a playlist, perhaps: files that name others are not read)"
        raise medium.unreadable(
            f"cannot open {name} as {medium.noun}: {reason}. Does it play elsewhere?"
        ) from error


def ffmpeg_name(path: str | os.PathLike[str]) -> str:
    """A path for FFmpeg: absolute, or FFmpeg would take what is before a colon for a protocol."""
    return os.path.abspath(path)


def video_streams(container: InputContainer) -> list[av.VideoStream]:
    """The video streams that are not cover pictures."""
    return [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]


def _copy(read: Callable[[int], bytes], path: Path, stopped: threading.Event | None = None) -> int:
    """Write everything that `read` returns to a new file; returns the number of bytes."""
    total = 0
    with path.open("wb") as file:
        while (chunk := read(CHUNK)) and not (stopped and stopped.is_set()):
            total += len(chunk)
            if total > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
            file.write(chunk)
    return total


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and only to http(s)."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_url(newurl):
            raise urllib.error.URLError(f"it redirects to {newurl!r}, which is no http(s) URL")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, path: Path, medium: Medium) -> None:
    failures: list[Exception] = []
    stopped = threading.Event()

    def fetch() -> None:
        try:
            opener = urllib.request.build_opener(_Redirects)
            with opener.open(_quoted(url), timeout=PATIENCE) as response:
                expected = int(response.headers.get("Content-Length") or 0)
                if expected > MAX_BYTES:
                    raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
                received = _copy(response.read1, path, stopped)
                if received < expected and not stopped.is_set():
                    raise ValueError(f"it broke off after {received} of {expected} bytes")
        except (OSError, ValueError, http.client.HTTPException) as error:
            failures.append(error)

    # In a thread, because a socket's timeout restarts with every byte: a server that sends a byte every
    # other second, be it of a header, would never reach it.
    begin = time.monotonic()
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
            seconds, size = time.monotonic() - begin, path.stat().st_size if path.exists() else 0
            if seconds > MAX_SECONDS or (seconds > PATIENCE and size < SLOWEST * seconds):
                failures.append(TimeoutError(f"{size} bytes in {seconds:.0f} s is too slow"))
                break
    finally:
        stopped.set()
    if failures:
        error = failures[0]
        odd = "its answer is no HTTP, " if isinstance(error, http.client.HTTPException) else ""
        raise medium.unreadable(f"cannot download {url!r}: {odd}{error}") from error


def _quoted(url: str) -> str:
    """A URL as it was typed or copied, with spaces and non-ASCII letters in its path and query escaped."""
    parts = urllib.parse.urlsplit(url)
    path, query = (urllib.parse.quote(part, safe="/%:@!$&'()*+,;=~?") for part in (parts.path, parts.query))
    return parts._replace(path=path, query=query).geturl()
