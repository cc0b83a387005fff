"""The Space of examples/space: its header, that its commands upload it, and that it runs by itself."""

import os
import shutil
import socket
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import hf_lip2speech

from .demo_server import served

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "space"


def header() -> dict:
    return yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_header_names_the_app_and_a_gradio_that_the_extra_allows():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    facts = header()
    assert facts["sdk"] == "gradio" and (SPACE / facts["app_file"]).is_file()
    assert f"gradio>={facts['sdk_version'].removesuffix('.0')}" in extras["demo"]
    assert len(facts["short_description"]) <= 60  # the Hub refuses more
    assert (SPACE / "requirements.txt").read_text().split() == ["hf-lip2speech[demo]"]


def test_its_commands_put_the_space_on_the_hub(hub):
    commands = [
        line.split()[1:]
        for line in (SPACE / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("    hf ")
    ]
    assert [command[0] for command in commands] == ["repos", "upload"]
    for command in commands:
        hub.hf(*(word.replace("user/", "anna/") if word != "." else str(SPACE) for word in command))
    listed = hub.python(
        "from huggingface_hub import HfApi; print(HfApi().list_repo_files('anna/name', repo_type='space'))"
    )
    assert all(path.name in listed for path in SPACE.iterdir() if path.is_file())


@pytest.mark.slow
def test_it_runs_alone_in_a_folder_as_a_space_runs_it(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed (extra demo)")
    from gradio_client import Client, handle_file

    from hf_lip2speech.hub.repository import RENDERED_SPEAKER

    shutil.copytree(SPACE, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    of_a_space = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SERVER_PORT": str(port)}
    of_a_space |= {"SYSTEM": "spaces", "SPACE_ID": "anna/lips"}
    environment = os.environ | of_a_space | {"PYTHONPATH": str(Path(hf_lip2speech.__file__).parents[1])}
    with served([sys.executable, "app.py"], cwd=tmp_path / "app", env=environment):
        client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=str(tmp_path))
        talking, *_ = client.predict(handle_file(RENDERED_SPEAKER), "slt", None, api_name="/speak")
    assert Path(talking).name == "speech.mp4"
