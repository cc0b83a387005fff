"""The live tab's server: one visitor at a time, whose parcels are checked."""

import io
import struct

import numpy as np
import pytest

from hf_lip2speech.errors import LimitError

from ..test_streaming import FRAMES
from ..tiny_model import tiny_pipeline

live = pytest.importorskip("hf_lip2speech.hub.demo.live", reason="gradio is not installed (extra demo)")


def parcel(frames, start: float = 0.0) -> bytes:
    from PIL import Image

    parts = b""
    for number, frame in enumerate(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG")
        parts += struct.pack("<dI", start + number / 25, file.tell()) + file.getvalue()
    return parts


@pytest.fixture
def client():
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    live.add_live(app, tiny_pipeline())
    return TestClient(app)


def test_a_visit_speaks_what_it_is_sent_and_makes_others_wait(client):
    name = client.post(f"{live.ADDRESS}/start?voice=bob").text
    answer = client.post(f"{live.ADDRESS}/start")
    assert answer.status_code == 409 and "Somebody else is live" in answer.text
    answer = client.post(f"{live.ADDRESS}/frames?name={name}", content=parcel(FRAMES[:6]))
    assert answer.headers["X-Dropped"].endswith("/6")
    sound = answer.content + client.post(f"{live.ADDRESS}/stop?name={name}").content
    assert len(sound) == 2 * 6 * 640
    assert client.post(f"{live.ADDRESS}/frames?name={name}", content=b"").status_code == 410
    other = client.post(f"{live.ADDRESS}/start").text
    assert other != name and client.post(f"{live.ADDRESS}/stop?name={other}").content == b""


def test_voices_and_parcels_that_will_not_do_are_refused(client, monkeypatch):
    answer = client.post(f"{live.ADDRESS}/start?voice=/etc/passwd")
    assert answer.status_code == 409 and answer.text == "There is no such voice."
    name = client.post(f"{live.ADDRESS}/start").text
    address = f"{live.ADDRESS}/frames?name={name}"
    for wrong in (b"a", b"no parcel of pictures", struct.pack("<dI", 0, 4) + b"JPEG"):
        assert client.post(address, content=wrong).status_code == 400
    assert client.post(address, content=bytes(live.MAX_BYTES + 1)).status_code == 413
    with pytest.raises(LimitError, match="too large"):
        list(live.pictures(parcel(FRAMES[:1], start=float("nan"))))
    with pytest.raises(LimitError, match="too large"):
        list(live.pictures(parcel([np.zeros((1500, 1500, 3), np.uint8)])))
    client.post(f"{live.ADDRESS}/stop?name={name}")


def test_a_visit_that_lasts_too_long_or_was_left_makes_room(client, monkeypatch):
    monkeypatch.setattr(live, "ABSENCE", 0.05)
    monkeypatch.setattr(live, "MAX_SECONDS", 0)
    first = client.post(f"{live.ADDRESS}/start").text
    visits = 0
    while client.post(f"{live.ADDRESS}/start").status_code == 409:
        visits += 1
        assert visits < 1000
    assert client.post(f"{live.ADDRESS}/frames?name={first}", content=b"").status_code == 410
