"""The demo as visitors meet it: served by its command, used in headless Chromium on a desktop and on a phone.

The pages are photographed into pytest's folder for the test (--basetemp says where), to be looked at. One of
them is docs/demo.jpg, made anew where page or bundled model have changed:

    pytest tests/hub/test_demo_in_chromium.py -k desktop --basetemp SHOTS
    python -c "from PIL import Image; import glob; page = Image.open(*glob.glob('SHOTS/*0/after.png')); \\
        page = page.convert('RGB').crop((90, 0, 1190, page.height)); \\
        page.resize((1000, page.height * 10 // 11)).save('docs/demo.jpg', quality=80)"
"""

import os
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

import hf_lip2speech
from hf_lip2speech.hub.repository import RENDERED_SPEAKER
from hf_lip2speech.media.video import iter_frames, write_video

from .browser import FAINT, LOADED, Visitor, camera_options, require_chromium
from .demo_server import served
from .test_demo import VOICE, faceless, long, sound_alone, text

pytestmark = pytest.mark.slow

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """The page by the command, which must leave nothing behind in its temporary folder."""
    require_chromium()
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    folder = tmp_path_factory.mktemp("tmp")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    sources = {"PYTHONPATH": str(Path(hf_lip2speech.__file__).parents[1]), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "hf_lip2speech", "demo", "--port", port]
    with served(command, env=os.environ | sources) as address:
        yield address
    assert [path.name for path in folder.glob("lip2speech*")] == []


@pytest.fixture
def visit(url, tmp_path):
    visitors = []

    def enter(size: tuple[int, int], *options: str) -> Visitor:
        visitors.append(Visitor(url, *size, tmp_path / "profile", options))
        return visitors[-1]

    yield enter
    for visitor in visitors:
        visitor.leave()


@pytest.mark.parametrize("size", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")])
def test_an_upload_speaks_and_everything_is_shown_without_scrolling_sideways(visit, tmp_path, size):
    visitor = visit(size)
    visitor.photograph(tmp_path / "before.png")
    assert not visitor.one("#speak").is_enabled()
    examples = visitor.driver.find_elements("css selector", "#examples button")
    assert [one.accessible_name for one in examples] == [f"Rendered talker {number}" for number in (1, 2, 3)]
    visitor.give(RENDERED_SPEAKER)
    visitor.speak()
    top = "return document.querySelector('#talking').getBoundingClientRect().top"
    visitor.wait_for("the result on the screen", lambda: -50 < visitor.script(top) < size[1] / 2)
    visitor.photograph(tmp_path / "after.png")
    assert visitor.script(FAINT) == []
    assert visitor.seconds("#talking") == pytest.approx(3.0, abs=0.1)
    assert visitor.seconds("#mouth") == pytest.approx(3.0, abs=0.1)
    for place, name in (("#talking", "speech.mp4"), ("#mouth", "mouth.mp4"), ("#speech", "speech.wav")):
        assert visitor.has(name, place)
    assert visitor.script("return document.documentElement.scrollWidth") <= size[0]
    # The words are shown over the video, when they are said.
    words = visitor.one("#words").text.removeprefix("The lips say: ")
    assert words.startswith("bin red at")
    cues = "return [...document.querySelector('#talking video').textTracks].map("
    cues += "track => [track.mode, [...track.cues].map(cue => cue.text).join(' ')])"
    assert visitor.wait_for("subtitles", lambda: visitor.script(cues)) == [["showing", words]]
    assert "arxiv.org/abs/2305.19603" in visitor.one("#links a").get_attribute("href")
    assert visitor.hosts() == {"127.0.0.1"}


def test_voices_are_named_for_people_and_are_heard(visit, tmp_path):
    visitor = visit(PHONE)
    assert "Scottish man" in visitor.one("#voice").text and "awb" not in visitor.one("#voice").text
    visitor.click("#hear")
    visitor.wait_for("the sample", lambda: visitor.one("#sample #duration").text.strip("0:"))
    visitor.click("#voice label:nth-of-type(3)")
    visitor.wait_for(
        "no sample", lambda: not visitor.driver.find_elements("css selector", "#sample #duration")
    )
    assert visitor.hosts() == {"127.0.0.1"}


def test_of_two_people_one_is_chosen_by_a_number_in_a_picture(visit, tmp_path):
    left, right = (list(iter_frames(path)) for path in sorted(RENDERED_SPEAKER.parent.glob("*.mp4"))[:2])
    both = [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]
    write_video(tmp_path / "two.mp4", both)
    visitor = visit(DESKTOP)
    visitor.give(tmp_path / "two.mp4")
    visitor.click("#faces button")
    visitor.click("#show-faces")
    visitor.wait_for("the picture", lambda: visitor.script(LOADED, "#faces-picture img"))
    visitor.photograph(tmp_path / "faces.png")
    assert [label.text for label in visitor.driver.find_elements("css selector", "#face label")] == [
        "The one that talks",
        "Face 0",
        "Face 1",
    ]
    visitor.click("#face label:nth-of-type(3)")
    visitor.speak()
    first = visitor.one("#words").text
    visitor.click("#face label:nth-of-type(2)")
    visitor.click("#speak")
    visitor.wait_for("other words", lambda: visitor.one("#words").text != first)


def test_a_drawn_talker_is_a_click_away_and_speaks_in_the_voice_of_a_recording(visit, tmp_path):
    visitor = visit(PHONE)
    visitor.click("#examples button:nth-of-type(2)")
    visitor.wait_for("the example", lambda: visitor.has("talker_2.mp4"))
    visitor.click("#voice label:last-of-type")
    visitor.give(VOICE, "#recording")
    visitor.speak()
    visitor.photograph(tmp_path / "recording.png")
    assert visitor.seconds("#talking") == pytest.approx(3.0, abs=0.1)


def test_a_corpus_file_that_browsers_cannot_show_speaks_without_an_error(visit, grid_dir):
    visitor = visit(DESKTOP)
    visitor.give(sorted((grid_dir / "original").glob("*.mpg"))[0])
    assert visitor.one("#video").get_attribute("class").endswith("no-preview")
    visitor.speak()
    assert visitor.seconds("#talking") == pytest.approx(3.0, abs=0.1)
    assert not visitor.driver.find_elements("css selector", ".toast-body")


def test_what_will_not_do_is_told_in_a_sentence_and_never_a_trace(visit, url, tmp_path):
    visitor = visit(PHONE)
    for make, message in {
        faceless: "No face was found in this video",
        text: "This file cannot be read as a video",
        sound_alone: "This file holds only sound",
        long: "This video lasts 31 s; at most 30 s",
    }.items():
        visitor.open(url)
        make(tmp_path / f"{make.__name__}.mp4")
        assert not visitor.one("#speak").is_enabled()
        visitor.give(tmp_path / f"{make.__name__}.mp4")
        visitor.click("#speak")
        told = visitor.told()
        assert message in told and "Traceback" not in told and str(tmp_path) not in told and "/" not in told
    visitor.driver.save_screenshot(str(tmp_path / "error.png"))


@pytest.fixture
def camera(tmp_path) -> list[str]:
    """Options of a browser whose camera shows a talker, again and again."""
    return camera_options(iter_frames(RENDERED_SPEAKER), tmp_path)


def test_a_film_of_the_camera_speaks(visit, tmp_path, camera):
    visitor = visit(DESKTOP, *camera)
    visitor.click("#video button[aria-label='Capture from camera']")
    visitor.click("#video [title='grant webcam access'] button")
    visitor.click("#video [title='start recording']")
    playing = "return document.querySelector('[data-testid=webcam-video]').currentTime"
    start = visitor.script(playing)
    visitor.wait_for("three seconds of film", lambda: visitor.script(playing) > start + 3)
    visitor.click("#video [title='stop recording']")  # its button is still labelled "start recording"
    visitor.wait_for("the film", lambda: visitor.has("gradio_api/file="))
    visitor.speak()
    visitor.photograph(tmp_path / "camera.png")
    assert visitor.seconds("#talking") > 2


def test_the_camera_speaks_live_in_one_browser_at_a_time_and_stops(visit, tmp_path, camera):
    visitor = visit(DESKTOP, *camera)
    visitor.click("#live-tab-button")
    visitor.click("#live-button")
    status = "return document.getElementById('live-status').innerText"

    def heard() -> float:
        found = re.match(r"([\d.]+) s heard, \d+ ms after the lips", visitor.script(status))
        return float(found[1]) if found else 0.0

    visitor.wait_for("two seconds of speech", lambda: heard() > 2)
    assert "No face" not in visitor.script(status)
    visitor.driver.save_screenshot(str(tmp_path / "live.png"))
    ask = "return fetch('gradio_api/live/start', {method: 'POST'})"
    ask += ".then(async (answer) => [answer.status, await answer.text()])"
    second = visitor.script(ask)
    assert second == [409, "Somebody else is live: try again in 2 minutes."]
    visitor.click("#live-button")
    visitor.wait_for("the button", lambda: visitor.one("#live-button").text == "Start the camera")
    visitor.click("#live-button")  # and once more
    visitor.wait_for("speech again", lambda: 0.2 < heard() < 2)
    assert visitor.hosts() == {"127.0.0.1"}
