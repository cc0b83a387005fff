"""The client's side: processes of their own that find this Hub, and nothing of the user's."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TOKEN, USER = "hf_anna", "anna"


class ClientProcesses:
    """Mixin: runs commands that talk to the Hub at `url`, with a home in `folder`."""

    url: str
    folder: Path

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        """The variables with which a process of its own finds this Hub, and nothing of the user's."""
        cleaned = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(self.folder / "home"), "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        own |= {"NO_PROXY": "127.0.0.1,localhost"}
        return cleaned | own | ({} if token is None else {"HF_TOKEN": token})

    def run(
        self, *command: object, token: str | None = TOKEN, check: bool = True
    ) -> subprocess.CompletedProcess:
        """Run a command; its output is text."""
        environment = self.environment(token)
        done = subprocess.run(
            [str(part) for part in command], env=environment, capture_output=True, text=True, timeout=900
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def python(self, code: str, **options: Any) -> str:
        """What a fresh interpreter prints."""
        return self.run(sys.executable, "-c", code, **options).stdout

    def script(self, path: Path, *arguments: object, **options: Any) -> str:
        """What a script prints."""
        return self.run(sys.executable, path, *arguments, **options).stdout

    def hf(self, *arguments: object, **options: Any) -> subprocess.CompletedProcess:
        """The command `hf`."""
        return self.run(sys.executable, "-m", "huggingface_hub.cli.hf", *arguments, **options)
