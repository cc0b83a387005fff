"""The site, opened from disk in Chromium without a network: search, players, nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..hub.browser import FAINT, OPTIONS, require_chromium
from .snippets import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def browser(tmp_path):
    require_chromium()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    chosen = webdriver.ChromeOptions()
    chosen.binary_location = shutil.which("chromium")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    for option in (*OPTIONS, f"--user-data-dir={tmp_path}", "--window-size=1280,900", offline):
        chosen.add_argument(option)
    driver = webdriver.Chrome(options=chosen, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def wait_for(what: str, condition):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come")


@pytest.mark.parametrize("page", ["index.html", "api/pipeline.html"])
def test_the_search_finds_pages_without_network_and_server(site, browser, page):
    browser.get((site / page).as_uri())
    wait_for(
        "the search", lambda: browser.execute_script("return !document.querySelector('.md-search').hidden")
    )
    query = browser.find_element("css selector", "[data-md-component=search-query]")
    query.click()  # the index is read now
    query.send_keys("copy synthesis")
    links = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    found = wait_for("a result", lambda: browser.execute_script(links))
    assert any("glossary.html" in link for link in found)


FETCHED = (
    r'(?:<script|<img|<audio|<video|<iframe)[^>]* src="(https?:[^"]+)',
    r'<link[^>]* rel="?(?:stylesheet|preload)[^>]* href="(https?:[^"]+)',
)


def test_nothing_is_fetched_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not [address for pattern in FETCHED for address in re.findall(pattern, text)], path


@pytest.mark.parametrize(("page", "count"), [("index.html", 1), ("voices.html", 5)])
def test_sound_and_video_play_on_the_page(site, browser, page, count):
    browser.get((site / page).as_uri())
    players = "const players = [...document.querySelectorAll('audio, video')];"
    browser.execute_script(players + "players.forEach(one => {one.preload = 'auto'; one.load()})")
    lengths = players + "return players.map(one => one.duration)"

    def all_known() -> bool:
        found = browser.execute_script(lengths)
        return len(found) == count and all(seconds and 2 < seconds < 4 for seconds in found)

    wait_for("the length", all_known)


def test_what_the_home_page_says_can_be_read(site, browser):
    browser.get((site / "index.html").as_uri())
    wait_for("the page", lambda: browser.find_elements("css selector", "main h1"))
    assert browser.execute_script(FAINT) == []


def test_the_command_line_has_a_page(site):
    text = (site / "cli.html").read_text(encoding="utf-8")
    assert "--sample-rate" in text and 'id="evaluate"' in text and "--protocol" in text
