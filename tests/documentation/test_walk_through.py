"""docs/own_talker.md is walked from top to bottom, in one shell and as it is printed, with a small folder of
videos.

Left out: what installs or logs in (environment and token are here), what serves until it is stopped, and the
one command that does it all (tests/test_personalise.py). The trainings get a few updates.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from hf_lip2speech.loading import BUNDLED

from .snippets import ROOT, snippets
from .stand_ins import face_videos

PAGE = "docs/own_talker.md"
LEFT_OUT = ("pip install", "hf auth login", "tensorboard", "hf-lip2speech personalise")
FEW = "max_steps=2 warmup_steps=1 eval_steps=1 per_device_train_batch_size=2"
FEW_UPDATES = {"examples/train.py": FEW, "examples/train_vocoder.py": f"{FEW} adversarial_from_step=1"}


def script() -> str:
    """The page's commands and Python as one shell script."""
    parts = []
    for snippet in snippets(PAGE):
        if snippet.language == "python":
            parts.append(f"python - <<'PYTHON'\n{snippet.code}PYTHON\n")
        elif snippet.language == "bash":
            lines = [line for line in snippet.code.splitlines() if not line.startswith(LEFT_OUT)]
            parts.append("\n".join(lines) + "\n")
    code = "".join(parts).replace("user/", "anna/")
    for training, settings in FEW_UPDATES.items():
        command = re.compile(rf"^(accelerate launch .*{re.escape(training)} .*)$", re.MULTILINE)
        code, count = command.subn(rf"\1 {settings}", code)
        assert count == 1, training
    return code


@pytest.mark.slow
def test_the_walk_through_leads_to_a_model_of_the_talker_on_the_hub(hub, tmp_path):
    here = tmp_path / "clone"
    here.mkdir()
    (here / "examples").symlink_to(ROOT / "examples")
    face_videos(here / "my_videos")
    environment = hub.environment() | {
        "ACCELERATE_USE_CPU": "true",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "src"),
    }
    shell = ["bash", "-euxo", "pipefail", "-c", script()]
    done = subprocess.run(shell, cwd=here, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    units = (here / "prepared" / "unit_extractor" / "model.safetensors").read_bytes()
    assert units == (BUNDLED / "unit_extractor" / "model.safetensors").read_bytes()
    assert "['ann']" in done.stdout.splitlines()  # the voices, as the page prints them
    assert soundfile.info(here / "speech.wav").frames == 640 * 75
    assert (here / "speech.mp4").is_file() and (here / "my_evaluation" / "index.html").is_file()
    repository = hub.repositories["model", "anna/ann"]
    assert repository.private
    files = repository.at("main").files
    assert {"model.safetensors", "README.md", "results.json", "unit_extractor/config.json"} <= {*files}
    card = (hub.files / files["README.md"].sha256).read_text()
    assert "A model of Ann" in card and "end-to-end" in card
