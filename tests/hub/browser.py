"""Headless Chromium on the demo's page: what a visitor does there, and what the visitor sees."""

import base64
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from .demo_server import PATIENCE

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def camera_options(frames: Iterable[np.ndarray], folder: Path, sound: Path | None = None) -> list[str]:
    """Options of a browser whose camera shows these frames, uint8 (H, W, 3) RGB at 25 per second, again and
    again, and whose microphone hears a wav file."""
    with av.open(str(folder / "camera.y4m"), "w", format="yuv4mpegpipe") as container:
        stream = None
        for frame in frames:
            if stream is None:
                stream = container.add_stream("wrapped_avframe", rate=25)
                (stream.height, stream.width), stream.pix_fmt = frame.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame).reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={folder / 'camera.y4m'}",
        "--autoplay-policy=no-user-gesture-required",
        *([] if sound is None else [f"--use-file-for-fake-audio-capture={sound}"]),
    ]


def require_chromium() -> None:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")


class Visitor:
    """A visitor of the page with a fresh browser.

    Args:
        url: of the page.
        width, height: of the window; below 500 it is a phone's.
        profile: an empty folder for the browser.
        options: more of Chromium's.
        ready: an element that shows that the page is complete.
    """

    def __init__(
        self,
        url: str,
        width: int,
        height: int,
        profile: Path,
        options: Sequence[str] = (),
        ready: str = "#speak",
    ):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        chosen = webdriver.ChromeOptions()
        chosen.binary_location = shutil.which("chromium")
        for option in (*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}", *options):
            chosen.add_argument(option)
        chosen.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        self.width, self.ready = width, ready
        self.driver = webdriver.Chrome(options=chosen, service=Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(PATIENCE)
        self.driver.set_script_timeout(PATIENCE)
        if width < 500:
            screen = {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True}
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.open(url)

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait_for(self.ready, lambda: self.one(self.ready).is_displayed())

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def wait_for(self, what: str, condition: Callable[[], Any]) -> Any:
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except WebDriverException:  # not there yet, or just being replaced
                pass
            time.sleep(0.2)
        raise AssertionError(f"{what} did not come")

    def click(self, selector: str) -> None:
        self.wait_for(selector, lambda: self.one(selector).is_displayed() and self.one(selector).is_enabled())
        self.one(selector).click()

    def give(self, file: str | os.PathLike, place: str = "#video") -> None:
        """Upload a file and wait until the page has it."""
        self.wait_for(f"{place}'s upload", lambda: self.one(f"{place} input[type=file]")).send_keys(str(file))
        # Of a recording the page shows no name, only how long it is.
        length = f"{place} #duration"
        self.wait_for(
            "the upload", lambda: self.has(Path(file).name, place) or self.one(length).text.strip("0:")
        )

    def has(self, name: str, place: str = "#video") -> bool:
        code = "return [...document.querySelectorAll(arguments[0])].map(e => e.src || e.href || '').join(' ')"
        return name in self.script(code, f"{place} video, {place} audio, {place} a[download]")

    def speak(self) -> None:
        self.click("#speak")
        self.wait_for("the picture", lambda: self.script(LOADED, "#picture img"))
        for place in ("#talking", "#mouth"):
            self.wait_for(place, lambda place=place: self.seconds(place) > 0)

    def seconds(self, place: str) -> float:
        return self.script("return document.querySelector(arguments[0])?.duration || 0", f"{place} video")

    def told(self) -> str:
        """The text of the messages that the page shows, when there are some."""
        code = "return [...document.querySelectorAll('.toast-body')].map(e => e.innerText).join(' ')"
        return self.wait_for("a message", lambda: self.script(code))

    def hosts(self) -> set[str]:
        """Where the browser has sent requests to."""
        logged = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in logged
            if event["method"] == "Network.requestWillBeSent"
        ]
        return {url.split("/")[2].split(":")[0] for url in urls if url.startswith("http")}

    def photograph(self, path: Path) -> None:
        """The whole page, also what lies below the window; scrolls back to its top."""
        height = self.script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        answer = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def leave(self) -> None:
        self.driver.quit()


# Texts whose contrast is below that of WCAG AA: 4.5 to 1, of large ones 3 to 1; and fields whose edge is
# below 3 to 1. Disabled texts may be fainter.
FAINT = """
const channel = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const colour = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const found = colour(getComputedStyle(element).backgroundColor);
    if (found.length < 4 || found[3] > 0.8) return found;
  }
  return [255, 255, 255];
};
const contrast = (text, ground) => {
  const [a, b] = [light(colour(text)), light(ground)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
};
const visible = (element) => element.checkVisibility({visibilityProperty: true, opacityProperty: true});
const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode());) {
  const element = node.parentElement, style = getComputedStyle(element);
  if (!visible(element) || !node.data.trim()) continue;
  if (element.closest("script, style, button:disabled, [aria-hidden=true]")) continue;
  const large = parseFloat(style.fontSize) >= (style.fontWeight >= 700 ? 18.66 : 24);
  const seen = contrast(style.color, behind(element));
  if (seen < (large ? 3 : 4.5)) found.push(`${node.data.trim().slice(0, 40)}: ${seen.toFixed(1)}`);
}
for (const field of document.querySelectorAll("textarea, input[type=radio]:not(:checked)")) {
  const style = getComputedStyle(field);
  const seen = parseFloat(style.borderTopWidth) ? contrast(style.borderTopColor, behind(field)) : 1;
  if (visible(field) && seen < 3) found.push(`edge of ${field.type}: ${seen.toFixed(1)}`);
}
return found;
"""
LOADED = (
    "let image = document.querySelector(arguments[0]); return image && image.complete && image.naturalWidth"
)
