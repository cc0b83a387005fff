"""The page of examples/browser: what headless Chromium speaks is what the pipeline speaks."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_lip2speech.audio.mel import log_mel_spectrogram
from hf_lip2speech.export import export_onnx

from .hub.browser import Visitor, require_chromium

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "examples" / "browser"
TALKER = ROOT / "examples" / "sample" / "talker.mp4"
MODULES = PAGE / "node_modules"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The page as its README.md sets it up, by a server of files."""
    require_chromium()
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra onnx)")
    if not MODULES.is_dir():
        pytest.skip("the page's libraries are not there: npm install --prefix examples/browser")
    site = tmp_path_factory.mktemp("site")
    for path in [*PAGE.glob("*.js"), PAGE / "index.html"]:
        shutil.copyfile(path, site / path.name)
    (site / "node_modules").symlink_to(MODULES)
    shutil.copytree(ROOT / "src" / "hf_lip2speech" / "assets" / "face", site / "face")
    export_onnx("bundled", site / "model")
    handler = functools.partial(Files, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args) -> None:
        pass


@pytest.fixture
def visitor(url, tmp_path):
    visitor = Visitor(url, 900, 1100, tmp_path / "profile")
    says(visitor, "Choose a video")
    yield visitor
    visitor.leave()


def says(visitor: Visitor, text: str) -> str:
    return visitor.wait_for(text, lambda: text in visitor.one("#status").text and visitor.one("#status").text)


def samples(visitor: Visitor) -> np.ndarray:
    return np.array(visitor.script("return [...window.result.samples]"), dtype=np.float32)


def test_a_file_speaks_in_the_browser_as_in_python_and_nothing_leaves_the_machine(visitor, tmp_path):
    from transformers import pipeline

    visitor.one("#file").send_keys(str(TALKER))
    says(visitor, "Ready")
    visitor.click("#speak")
    says(visitor, "3.0 s of speech")
    visitor.photograph(tmp_path / "page.png")
    heard = samples(visitor)
    expected = pipeline("lip-to-speech", model="bundled", device="cpu")(str(TALKER))["audio"]
    assert heard.shape == expected.shape
    mels = [log_mel_spectrogram(torch.from_numpy(sound)).flatten() for sound in (heard, expected)]
    # A browser decodes in its own way, and a little pitch shifts the phase of all that follows.
    assert np.corrcoef(*mels)[0, 1] > 0.99
    assert visitor.hosts() == {"127.0.0.1"}
    asked = "return fetch('https://example.org').then(() => 'sent', () => 'refused')"
    assert visitor.script(asked) == "refused"
    visitor.one("#voice").send_keys("slt")
    visitor.click("#speak")
    visitor.wait_for("another voice", lambda: not np.allclose(samples(visitor), heard, atol=0.01))


def test_a_video_without_a_face_is_told_in_a_sentence(visitor, tmp_path):
    from hf_lip2speech.media.video import write_video

    write_video(tmp_path / "gray.mp4", np.full((20, 96, 96), 128, dtype=np.uint8))
    visitor.one("#file").send_keys(str(tmp_path / "gray.mp4"))
    says(visitor, "Ready")
    visitor.click("#speak")
    assert "one face" in says(visitor, "No face was found")
    (tmp_path / "text.mp4").write_text("no video")
    visitor.one("#file").send_keys(str(tmp_path / "text.mp4"))
    says(visitor, "cannot be read as a video")
