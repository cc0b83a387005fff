"""examples/notebook.ipynb runs from top to bottom, with fewer steps of training."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .snippets import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
# What IPython gives a notebook: `!command` in a shell, {name} filled in, and displays.
IPYTHON = """
import subprocess, sys, types
shown = []
class Shown:
    def __init__(self, data=None, **options): self.data = data
display = types.SimpleNamespace(Audio=Shown, Image=Shown, Markdown=Shown, Video=Shown, display=shown.append)
python = {"version_info": (9, 0), "get_ipython": lambda: None}
sys.modules["IPython"] = types.SimpleNamespace(display=display, **python)
sys.modules["IPython.display"] = display
def shell(command):
    subprocess.run(command.format(**globals()), shell=True, check=True)
"""


def cells(kind: str) -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def script() -> str:
    lines = "\n".join(cell for cell in cells("code") if not cell.startswith("%pip")).splitlines()
    return IPYTHON + "\n".join(f"shell({line[1:]!r})" if line.startswith("!") else line for line in lines)


def test_the_notebook_holds_no_output_and_says_first_what_the_model_does_not_know():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])
    assert "51 words" in cells("markdown")[0]
    compile(script(), NOTEBOOK, "exec")


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path):
    for name in ("examples", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    code, count = re.subn(r"^STEPS = \d+", "STEPS = 2", script(), flags=re.MULTILINE)
    assert count == 1
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "src"),
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        [sys.executable, "-c", code + "\nprint(len(shown), 'shown')"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" shown\n") and "['drawn']" in done.stdout
    assert (tmp_path / "evaluation" / "index.html").is_file()
    assert "A model of drawn talkers" in (tmp_path / "would_be_sent" / "README.md").read_text()
