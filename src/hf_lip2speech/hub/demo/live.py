"""The demo's live tab: pictures of a visitor's camera come in small parcels, speech goes back in the answers.

Plain requests, since Gradio streams sound in pieces of a second and more.
"""

import html
import io
import math
import struct
import threading
import time
from collections.abc import Iterator
from uuid import uuid4

import fastapi
import numpy as np
from PIL import Image

from ...errors import LimitError
from ...live import LiveSession
from ...pipeline import LipToSpeechPipeline
from ...streaming import LipToSpeechStream
from .speaking import voice_choices

ADDRESS = "/gradio_api/live"  # where Gradio's own addresses are, which proxies know
MAX_SECONDS = 120  # of one visit
MAX_BYTES = 2 << 20  # of a parcel
MAX_PIXELS = 1280 * 960  # of a picture
ABSENCE = 5.0  # seconds without a picture until a visitor counts as gone
HEADER = struct.Struct("<dI")  # of a picture in a parcel: seconds, bytes of JPEG


class Visit:
    """One visitor's session: a thread speaks, and its sound waits for the next parcel."""

    def __init__(self, speak: LipToSpeechPipeline, voice: str | None):
        self.name = uuid4().hex
        self.session = LiveSession(LipToSpeechStream(speak, speaker=voice), patience=ABSENCE)
        self._until = time.monotonic() + MAX_SECONDS
        self._sound: list[bytes] = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether the visitor left, stopped, or had the time that there is."""
        if time.monotonic() > self._until:
            self.session.end()
        return not self._thread.is_alive()

    def _run(self) -> None:
        for samples, heard in self.session.speech():
            if heard:
                with self._lock:
                    self._sound.append((samples * 32767).round().astype("<i2").tobytes())

    def take(self) -> bytes:
        """The sound since the last call: 16 kHz, signed 16 bits."""
        with self._lock:
            sound, self._sound = b"".join(self._sound), []
        return sound

    def finish(self) -> bytes:
        self.session.end()
        self._thread.join(timeout=10)
        return self.take()


class Visits:
    """One visitor at a time."""

    def __init__(self, speak: LipToSpeechPipeline):
        self._speak = speak
        self._visit: Visit | None = None
        self._lock = threading.Lock()

    def start(self, voice: str | None) -> str:
        """The name of a new visit.

        Raises:
            LimitError: somebody else speaks live.
            Lip2SpeechError: an unknown voice, or a model that cannot speak live.
        """
        if voice is not None and voice not in self._speak.voices:  # a path would be read
            raise LimitError("There is no such voice.")
        with self._lock:
            if self._visit is not None and not self._visit.over:
                raise LimitError(f"Somebody else is live: try again in {MAX_SECONDS // 60} minutes.")
            self._visit = Visit(self._speak, voice)
            return self._visit.name

    def find(self, name: str) -> Visit | None:
        visit = self._visit
        return visit if visit is not None and visit.name == name and not visit.over else None


def pictures(parcel: bytes) -> Iterator[tuple[float, np.ndarray]]:
    """The pictures of a parcel: time stamps in seconds, uint8 (H, W, 3) RGB.

    Raises:
        LimitError: it is no parcel, or its pictures are too large.
    """
    try:
        while parcel:
            stamp, size = HEADER.unpack_from(parcel)
            jpeg, parcel = parcel[HEADER.size : HEADER.size + size], parcel[HEADER.size + size :]
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                if picture.width * picture.height > MAX_PIXELS or not math.isfinite(stamp):
                    raise LimitError("A picture is too large.")
                yield stamp, np.array(picture.convert("RGB"))
    except (struct.error, OSError, SyntaxError) as error:
        raise LimitError("This is no parcel of JPEG pictures with their times.") from error


def add_live(app: fastapi.FastAPI, speak: LipToSpeechPipeline) -> None:
    """Serve the addresses to which live.js talks."""
    visits = Visits(speak)

    def start(voice: str = "") -> fastapi.Response:
        try:
            return fastapi.Response(visits.start(voice or None), media_type="text/plain")
        except ValueError as error:
            return fastapi.Response(str(error), status_code=409, media_type="text/plain")

    async def read(request: fastapi.Request) -> bytes:
        parcel = b""
        async for piece in request.stream():
            parcel += piece
            if len(parcel) > MAX_BYTES:
                raise fastapi.HTTPException(413)
        return parcel

    def frames(name: str, parcel: bytes = fastapi.Depends(read)) -> fastapi.Response:
        visit = visits.find(name)
        if visit is None:
            return fastapi.Response(status_code=410)  # it was too long, or is another's
        try:
            for stamp, picture in pictures(parcel):
                visit.session.offer(picture, stamp)
        except LimitError as error:
            return fastapi.Response(str(error), status_code=400, media_type="text/plain")
        session, latency = visit.session, visit.session.latency() or 0
        told = {"X-Latency": f"{latency:.3f}", "X-Dropped": f"{session.dropped}/{session.frames}"}
        told["X-Face"] = str(int(session.stream.face_seen))
        return fastapi.Response(visit.take(), headers=told, media_type="application/octet-stream")

    def stop(name: str) -> fastapi.Response:
        visit = visits.find(name)
        sound = b"" if visit is None else visit.finish()
        return fastapi.Response(sound, media_type="application/octet-stream")

    for handler in (start, frames, stop):
        app.add_api_route(f"{ADDRESS}/{handler.__name__}", handler, methods=["POST"], include_in_schema=False)


def live_html(speak: LipToSpeechPipeline) -> str:
    """What the tab shows; live.js makes it work."""
    voices = "".join(
        f'<option value="{html.escape(voice)}">{html.escape(name)}</option>'
        for name, voice in voice_choices(speak)
    )
    return (
        '<div id="live"><video id="live-video" muted playsinline></video>'
        f'<p><label>Voice <select id="live-voice">{voices}</select></label> '
        '<button id="live-button" class="lg primary">Start the camera</button></p>'
        '<p id="live-status" role="status">Half a second after your lips, you hear what they say.</p></div>'
    )
