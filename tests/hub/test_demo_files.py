"""The demo reads no file of the server but its visitors' uploads, and fetches nothing for a visitor."""

import json
import shutil
import socketserver
import threading
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

import hf_lip2speech
from hf_lip2speech.pipeline import LipToSpeechPipeline

from ..tiny_model import tiny_model
from .test_demo import TALKER, VOICE, second  # noqa: F401  a fixture


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of the page, and the folder of its files."""
    gradio = pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from hf_lip2speech.hub.demo import page as module

    folder = tmp_path_factory.mktemp("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        served = module.make_page(LipToSpeechPipeline(model=tiny_model(), device="cpu"))
        _, url, _ = served.launch(prevent_thread_lock=True, quiet=True, **module.LOOK)
        try:
            yield url, folder
        finally:
            served.close()
            gradio.close_all()


@pytest.fixture
def secret(tmp_path) -> Path:
    """A video of the server's that no visitor should see."""
    return Path(shutil.copyfile(TALKER, tmp_path / "secret.mp4"))


@pytest.fixture
def asked():
    """Who connects to this machine's other servers, and the address of one."""
    found = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            found.append(self.request.recv(1000))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield found, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def upload(url: str, content: bytes, name: str = "mine.mp4") -> str:
    """The path on the server of an upload."""
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    return answer.json()[0]


def speech(url: str, video: object, voice: str = "ann", recording: object = None) -> tuple[str, str]:
    """What the page answers to a request made by hand: the event, and what comes with it."""
    answer = httpx.post(f"{url}gradio_api/call/speak", json={"data": [video, voice, recording, None, None]})
    if answer.status_code != 200:
        return "refused", answer.text
    with httpx.stream(
        "GET", f"{url}gradio_api/call/speak/{answer.json()['event_id']}", timeout=120
    ) as stream:
        event = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: ") and event in ("complete", "error"):
                return event, line.removeprefix("data: ")
    return "broke off", ""


def file(path: object, **more: object) -> dict:
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}} | more


def test_the_requests_by_hand_are_those_that_the_page_takes(page, second):  # noqa: F811
    url = page[0]
    event, said = speech(url, file(upload(url, Path(second).read_bytes())))
    assert event == "complete", said
    assert json.loads(said)[0]["path"].endswith("speech.mp4")
    assert httpx.get(f"{url}gradio_api/file={json.loads(said)[0]['path']}").status_code == 200


@pytest.mark.parametrize(
    "route", ["gradio_api/file=", "file=", "gradio_api/file/", "gradio_api/stream/", "static/", "assets/", "gradio_api/proxy=file://"]
)  # fmt: skip
def test_no_address_of_the_page_serves_the_servers_files(page, secret, route):
    url, folder = page
    module = Path(hf_lip2speech.__file__)
    beside = folder / ".." / secret.parent.name / secret.name
    for path in (
        "/etc/passwd",
        "/proc/self/environ",
        secret,
        module,
        beside,
        folder.parent / "x" / ".." / "x",
    ):
        for spelt in (str(path), quote(str(path), safe=""), f"../../../../../../../..{path}"):
            answer = httpx.get(f"{url}{route}{spelt}")
            assert answer.status_code >= 400, (route, spelt)
            assert b"root:" not in answer.content and b"ftyp" not in answer.content


def test_a_path_in_place_of_an_upload_is_refused(page, second, secret):  # noqa: F811
    url = page[0]
    mine = file(upload(url, Path(second).read_bytes()))
    for video in (file(secret), str(secret), {"video": file(secret)}, file(f"file://{secret}"),
                  file(mine["path"] + "/../../../../.." + str(secret))):  # fmt: skip
        event, said = speech(url, video)
        assert event in ("error", "refused"), (video, said)
    event, said = speech(url, mine, "<recording>", file(VOICE))
    assert event in ("error", "refused"), said


def test_an_address_in_place_of_an_upload_is_not_fetched(page, second, asked):  # noqa: F811
    url, (found, address) = page[0], asked
    mine = file(upload(url, Path(second).read_bytes()))
    for video in (
        file(f"{address}/a.mp4"),
        file("a.mp4", url=f"{address}/a.mp4"),
        f"{address}/a.mp4",
        {"video": file(f"{address}/a.mp4")},
    ):
        event, said = speech(url, video)
        assert event in ("error", "refused"), (video, said)
    event, said = speech(url, mine, "<recording>", file(f"{address}/a.wav"))
    assert event in ("error", "refused"), said
    httpx.get(f"{url}gradio_api/proxy={address}/a")
    assert found == []


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{name}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{name}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT3S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="9"><BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".mpd"])
def test_an_upload_that_names_other_files_is_no_video(page, secret, asked, kind, suffix):
    """FFmpeg would play what a playlist names: other visitors' videos, or what is on this network."""
    url, (found, address) = page[0], asked
    for name in (secret, f"file://{secret}", f"{address}/a.mp4"):
        playlist = upload(url, PLAYLISTS[kind].format(name=name).encode(), f"mine{suffix}")
        event, said = speech(url, file(playlist))
        assert event in ("error", "refused"), said
    assert found == []
