"""The recorder as a speaker meets it, in headless Chromium with a fake camera and microphone."""

import os
import socket
import sys
from pathlib import Path

import pytest

import hf_lip2speech
from hf_lip2speech.data.corpora import FaceVideoFolder
from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import iter_frames

from ..hub.browser import Visitor, camera_options, require_chromium
from ..hub.demo_server import served

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "size", [pytest.param((1280, 900), id="desktop"), pytest.param((390, 844), id="phone")]
)
def test_a_take_is_filmed_checked_repeated_and_kept_and_the_next_prompt_comes(tmp_path, grid_dir, size):
    require_chromium()
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    import soundfile

    prompts, videos = tmp_path / "prompts.txt", tmp_path / "ann"
    prompts.write_text("bin white in m six please\nlay red by z four now\n")
    film = sorted((grid_dir / "original").glob("*.mpg"))[0]
    soundfile.write(tmp_path / "voice.wav", read_audio(film), 16_000)
    camera = camera_options(iter_frames(film), tmp_path, tmp_path / "voice.wav")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "hf_lip2speech", "record", str(prompts), str(videos), "--port", port]
    environment = os.environ | {"PYTHONPATH": str(Path(hf_lip2speech.__file__).parents[1])}
    with served(command, says="The recorder is at ", env=environment) as url:
        visitor = Visitor(url, *size, tmp_path / "profile", camera, ready="#keep")
        try:
            text = visitor.script
            shown = "return document.getElementById('{}').innerText"
            visitor.wait_for("the prompt", lambda: "1 of 2" in text(shown.format("prompt")))
            assert "bin white in m six please" in text(shown.format("prompt"))
            visitor.photograph(tmp_path / "before.png")

            def film_it() -> None:
                if visitor.driver.find_elements("css selector", "#take [title='grant webcam access'] button"):
                    visitor.click("#take [title='grant webcam access'] button")
                visitor.click("#take [title='start recording']")
                playing = "return document.querySelector('[data-testid=webcam-video]').currentTime"
                start = text(playing)
                visitor.wait_for("three seconds", lambda: text(playing) > start + 3)
                visitor.click("#take [title='stop recording']")
                visitor.wait_for("the verdict", lambda: visitor.one("#again").is_enabled())

            film_it()
            verdict = text(shown.format("verdict"))
            assert "Your face is seen and your speech is heard" in verdict
            visitor.photograph(tmp_path / "checked.png")
            assert not list(videos.glob("*"))
            visitor.click("#again")
            visitor.wait_for("the camera", lambda: not visitor.one("#again").is_enabled())
            film_it()
            visitor.click("#keep")
            visitor.wait_for("the next prompt", lambda: "2 of 2" in text(shown.format("prompt")))
            assert "lay red by z four now" in text(shown.format("prompt"))
            film_it()
            visitor.click("#keep")
            visitor.wait_for("the end", lambda: "All 2 prompts" in text(shown.format("prompt")))
            visitor.photograph(tmp_path / "end.png")
            assert text("return document.documentElement.scrollWidth") <= size[0]
            assert visitor.hosts() == {"127.0.0.1"}
        finally:
            visitor.leave()
    clips = list(FaceVideoFolder(videos, validation_fraction=0))
    assert [clip.text for clip in clips] == prompts.read_text().splitlines()
    assert {clip.speaker for clip in clips} == {"ann"}
    for clip in clips:
        assert 50 < sum(1 for _ in iter_frames(clip.video)) < 150
        assert read_audio(clip.video).std() > 0.005
