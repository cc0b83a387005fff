"""The documentation's Python is run, page by page and from top to bottom.

What a page reads is put in its place (`stand_ins`); an address on the network is served here, and the Hub is
that of hub_server.
"""

import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hf_lip2speech.media.audio import read_audio
from hf_lip2speech.media.video import iter_frames, open_video, write_video
from hf_lip2speech.video.mouth import mouth_crops

from .snippets import ROOT, pages, snippets
from .stand_ins import (
    TALKER,
    VOICE,
    StandIns,
    evaluation,
    flow_model,
    lrs3,
    model,
    prepared,
    recording,
    video,
)


def mouth(path: Path) -> None:
    with open_video(TALKER) as video:
        write_video(path, mouth_crops(video))


FILES = {
    "/data/lrs3": lrs3,
    "EVALUATION": evaluation,
    "MODEL": model,
    "FLOW_MODEL": flow_model,
    "a.mp4": video,
    "b.mp4": video,
    "c.mp4": video,
    "mouth.mp4": mouth,
    "prepared": prepared,
    "prepared/lrs3": prepared,
    "silent.mp4": video,
    "voice.wav": recording,
}
# What a page's reader has already.
GIVEN = {
    "README.md": lambda: {"frames": np.stack(list(iter_frames(TALKER)))},
    "docs/evaluation.md": lambda: {"speech": read_audio(VOICE), "truth": read_audio(VOICE)},
}
WALK_THROUGH = "docs/own_talker.md"  # has a test of its own


def pages_with_python() -> list[str]:
    found = [page for page in pages() if any(snippet.language == "python" for snippet in snippets(page))]
    assert WALK_THROUGH in found
    return [page for page in found if page != WALK_THROUGH]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stand-ins")


@pytest.fixture
def host(tmp_path):
    """The address of a server of the file silent.mp4."""
    folder = tmp_path / "host"
    folder.mkdir()
    shutil.copyfile(TALKER, folder / "silent.mp4")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("page", pages_with_python())
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, store, hub, host):
    notebook = SimpleNamespace(
        version_info=(9, 0), display=SimpleNamespace(Audio=lambda data, rate: (data, rate))
    )
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook.display)
    # Empty lines before it let an error name the page's line.
    code = ""
    for snippet in snippets(page):
        if snippet.language == "python":
            code += "\n" * (snippet.line - 1 - code.count("\n")) + snippet.code
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "examples").symlink_to(ROOT / "examples")
    files = StandIns(store, here)
    for name, make in FILES.items():
        if f'"{name}"' in code:
            files.put(make, name.lstrip("/"))
    on_the_hub = '"user/' in code
    few = "max_steps=2, per_device_train_batch_size=2"
    for printed, real in {
        "https://host": host, '"/data/': '"data/', '"user/': '"anna/', "num_train_epochs=10": few
    }.items():  # fmt: skip
        code = code.replace(printed, real)
    if on_the_hub:  # whose client reads its settings when it is imported
        assert page not in GIVEN
        (here / "page.py").write_text(code)
        hub.script(here / "page.py")
    else:
        exec(compile(code, ROOT / page, "exec"), GIVEN.get(page, dict)())
