"""`publish` is killed with SIGKILL at 20 random moments: what is visible is one version or the other, whole,
and the next attempt completes it."""

import tempfile
from pathlib import Path

import huggingface_hub
import pytest

from hf_lip2speech.hub.publish import publish

from ..hub_server.processes import TOKEN
from ..killing import finish, kill_often

NAME = "anna/killed"


@pytest.mark.slow
def test_a_publication_survives_twenty_kills(checkpoints, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")

    def files() -> dict[str, str] | None:
        repository = hub.repositories.get(("model", NAME))
        found = repository and repository.at("main").files
        return found and {path: file.sha256 for path, file in found.items() if path != ".gitattributes"}

    def publishing(version: str):
        folder = Path(checkpoints) / version
        return lambda: publish(folder, NAME, facts=Path(checkpoints) / "whole/card.yaml", token=TOKEN)

    whole = {}
    for version in ("changed", "whole"):
        seconds = finish(publishing(version), tmp_path / "log")
        whole[version] = files()
    assert whole["changed"] != whole["whole"]
    hub.repositories.clear()
    now = "changed"

    def killed() -> None:
        assert files() in (None, {}, *whole.values()), "half a version is visible"

    def done() -> None:
        nonlocal now
        assert files() == whole[now]
        now = "whole" if now == "changed" else "changed"
        for path in hub.files.iterdir():  # uploaded large files of earlier attempts
            if path.name not in {*(files() or {}).values()}:
                path.unlink()

    work = lambda: publishing(now)()  # noqa: E731
    print("publish", kill_often(work, seconds, tmp_path / "log", seed=16, killed=killed, done=done))
