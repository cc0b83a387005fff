"""The documentation's commands are run, each by itself and as printed, on small stand-ins for what it reads.

Not run here but only checked: what installs or logs in (pip, apt-get, hf), what needs a cluster or days
(sbatch, the trainings at full size), `demo` and `record`, which serve until they are stopped, `live`, which
needs a camera, and what other tests run (make, the cards, parity, `personalise`, `reface`).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hf_lip2speech_cli
from hf_lip2speech.data import prepare as prepare_module
from hf_lip2speech_cli import videos

from ..training.conftest import SHARED_SETTINGS, STAGES
from ..training.prepared_folder import write_prepared_folder
from .checks import PLACEHOLDER_CONFIG
from .snippets import ROOT, Command, commands, pages, snippets
from .stand_ins import StandIns, hubert, prepared

FAST = ("speak", "read", "compose", "convert")  # the other commands take longer
SMALLER = {
    "evaluate": ("--limit", "1"),
    "prepare": ("--num-proc", "1", "--num-visual-units", "8"),
    "render": ("--clips", "2"),
}
OUTPUTS = ("out", "output", "video_output", "transcript", "plot")


def shell_commands() -> list[Command]:
    blocks = (snippet for page in pages() for snippet in snippets(page) if snippet.language == "bash")
    return [command for block in blocks for command in commands(block)]


def ours() -> list:
    found = []
    for command in shell_commands():
        if command.words[0] == "hf-lip2speech" and command.words[1] not in (
            "demo",
            "live",
            "personalise",
            "record",
            "reface",
        ):
            marks = () if command.words[1] in FAST else (pytest.mark.slow,)
            found.append(pytest.param(command, id=str(command), marks=marks))
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stand-ins")


@pytest.fixture
def here(tmp_path, monkeypatch, store) -> StandIns:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return StandIns(store, folder)


@pytest.mark.parametrize("command", ours())
def test_a_command_of_ours_runs(command, here, monkeypatch, request):
    words = [word.lstrip("/").replace("user/", "anna/") for word in command.words[1:]]
    words = [word for word in words if word not in ("--engine", "ray")]  # there is no cluster
    monkeypatch.setattr(videos, "_downloaded", lambda name: "MY_VIDEOS")  # nor the Hub
    if "whisper" in words and "--protocol" in words:  # nor the recogniser that it names
        words = [word for word in words if word not in ("--protocol", "whisper")]
    words += SMALLER.get(words[0], ())
    args = hf_lip2speech_cli.make_parser().parse_args(words)
    if getattr(args, "recogniser", None) is not None:  # its weights are the Hub's
        words += ["--recogniser", "none"]
    if args.command == "render" and shutil.which("flite") is None:
        pytest.skip("flite, which speaks for the drawn talkers, is not installed")
    here.for_arguments(args)
    if (
        args.command == "publish" and args.dry_run is None
    ):  # the Hub's client reads its settings when it is imported
        hub = request.getfixturevalue("hub")
        hub.run(sys.executable, "-m", "hf_lip2speech", *words)
        assert ("model", args.repo_id) in hub.repositories
        return
    here.put(hubert, "hubert")  # prepare's default is one of the Hub's
    monkeypatch.setattr(prepare_module, "DEFAULT_UNITS", "hubert")
    assert hf_lip2speech_cli.main(words) == 0
    if args.command == "publish":
        assert Path(args.dry_run, "README.md").is_file()
        return
    if getattr(args, "dry_run", False):
        assert not Path(args.out).exists()
        return
    outputs = [getattr(args, name, None) for name in OUTPUTS] + getattr(args, "paths", [])[-1:]
    written = [path for path in outputs if path]
    if args.command == "speak" and args.output is None:  # its default names
        written += Path().rglob("*.speech.wav")
    assert (written or args.command == "read") and all(Path(path).exists() for path in written)


def trainings() -> list:
    """Those whose configuration the reader is to write."""
    return [
        pytest.param(command, id=str(command))
        for command in shell_commands()
        if command.words[0] == "accelerate" and any(map(PLACEHOLDER_CONFIG.fullmatch, command.words))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", trainings())
def test_a_training_with_a_configuration_of_ones_own_runs(command, here):
    place = next(place for place, word in enumerate(command.words) if PLACEHOLDER_CONFIG.fullmatch(word))
    script, config, *overrides = command.words[place - 1 :]
    settings = (
        SHARED_SETTINGS
        | STAGES[Path(script).stem]
        | {"data": "prepared", "output_dir": "run", "max_steps": 2}
    )
    Path(config).write_text(yaml.safe_dump(settings))
    write_prepared_folder(Path("prepared"))
    run_process("accelerate", "launch", "--cpu", str(ROOT / script), config, *overrides)
    assert Path("run", "last", "model.safetensors").is_file()


@pytest.mark.slow
def test_the_loaders_pace_can_be_measured(here, capfd):
    here.put(prepared, "data/prepared")
    (command,) = (one for one in shell_commands() if "scripts/measure_loader.py" in one.words)
    run_process("python", str(ROOT / command.words[1]), *(word.lstrip("/") for word in command.words[2:]))
    assert "frames/s" in capfd.readouterr().out


def run_process(*words: str) -> None:
    """A command in a process of its own, with this interpreter's programs and this tree's package."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT / "src"),
        "ACCELERATE_USE_CPU": "true",
    }
    assert subprocess.run(words, env=environment, timeout=900).returncode == 0
