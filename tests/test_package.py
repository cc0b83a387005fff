"""The package as a whole: what importing it does and costs, who imports whom, what is shipped."""

import ast
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
HEAVY = ("av", "datasets", "evaluate", "ai_edge_litert", "matplotlib", "gradio")

# docs/architecture.md: a room may import from the rooms of lower numbers and from itself.
FLOORS = {
    "constants": 0,
    "errors": 1,
    "extras": 1,
    "files": 2,
    "loading": 2,
    "media": 3,
    "video": 4,
    "audio": 4,
    "losses": 5,
    "models": 6,
    "feature_extraction_lip2speech": 6,
    "data": 7,
    "synthetic": 8,
    "training": 8,
    "pipeline_inputs": 8,
    "pipeline": 9,
    "plotting": 9,
    "evaluation": 9,
    "conversion": 9,
    "hub": 10,
    "registration": 10,
    "cli": 11,
}


def run_python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def after_import() -> dict:
    """What is to be found in a fresh interpreter after `import hf_lip2speech`."""
    return json.loads(
        run_python(
            """
import json, sys
import hf_lip2speech
modules = sorted({name.split(".")[0] for name in sys.modules})
from transformers import AutoConfig, AutoModel, AutoFeatureExtractor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
ours = {name: config for name, config in CONFIG_MAPPING._extra_content.items()}
print(json.dumps({
    "modules": modules,
    "configs": {name: config.__name__ for name, config in ours.items()},
    "models": {name: MODEL_MAPPING[config].__name__ for name, config in ours.items()},
    "extractors": {name: FEATURE_EXTRACTOR_MAPPING[config].__name__
                   for name, config in ours.items() if config in FEATURE_EXTRACTOR_MAPPING},
    "task": PIPELINE_REGISTRY.check_task("lip-to-speech")[1]["impl"].__name__,
    "public": {name: str(type(getattr(hf_lip2speech, name)).__name__) for name in hf_lip2speech.__all__},
    "listed": dir(hf_lip2speech),
}))
"""
        ).splitlines()[-1]
    )


def test_importing_loads_no_decoder_detector_data_set_metric_or_plotting_library(after_import):
    assert [name for name in HEAVY if name in after_import["modules"]] == []


def test_importing_registers_every_model_with_the_auto_classes(after_import):
    assert after_import["configs"] == {
        "lip2speech": "Lip2SpeechConfig",
        "lip2speech_avhubert": "AVHubertConfig",
        "lip2speech_with_vocoder": "Lip2SpeechWithVocoderConfig",
        "unit_vocoder": "UnitVocoderConfig",
        "speaker_encoder": "SpeakerEncoderConfig",
        "speech_unit_extractor": "SpeechUnitExtractorConfig",
    }
    assert after_import["models"] == {
        "lip2speech": "Lip2SpeechModel",
        "lip2speech_avhubert": "AVHubertModel",
        "lip2speech_with_vocoder": "Lip2SpeechWithVocoder",
        "unit_vocoder": "UnitVocoderModel",
        "speaker_encoder": "SpeakerEncoder",
        "speech_unit_extractor": "SpeechUnitExtractor",
    }
    assert after_import["extractors"] == dict.fromkeys(
        ("lip2speech", "lip2speech_avhubert", "lip2speech_with_vocoder"), "Lip2SpeechFeatureExtractor"
    )


def test_importing_registers_the_task(after_import):
    assert after_import["task"] == "LipToSpeechPipeline"


def test_every_public_name_can_be_had_and_is_listed(after_import):
    assert set(after_import["public"]) <= set(after_import["listed"])
    assert after_import["public"].pop("__version__") == "str"


def test_registering_twice_changes_nothing_and_warns_of_nothing(caplog):
    from transformers.pipelines import PIPELINE_REGISTRY

    from hf_lip2speech.registration import register

    before = dict(PIPELINE_REGISTRY.supported_tasks)
    with caplog.at_level("WARNING", logger="transformers"):  # a command that ran before may have quietened it
        register()
    assert PIPELINE_REGISTRY.supported_tasks == before
    assert not caplog.records


def test_an_unknown_name_is_an_attribute_error():
    import hf_lip2speech

    with pytest.raises(AttributeError, match="NoSuchThing"):
        _ = hf_lip2speech.NoSuchThing


def test_the_command_helps_within_half_a_second_without_transformers():
    code = (
        "import sys, hf_lip2speech_cli\n"
        "try: hf_lip2speech_cli.main(['--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "print([name for name in ('transformers', 'torch', 'numpy', 'hf_lip2speech') if name in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = run_python(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert printed.splitlines()[-1] == "[]"
    assert "speak" in printed and "prepare" in printed
    # The processor's time, interpreter included: the clock would measure whatever else runs on the machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_command_is_installed_under_its_name():
    command = shutil.which("hf-lip2speech", path=str(Path(sys.executable).parent))
    if command is None:
        pytest.skip("hf-lip2speech is not installed in this environment (the package is on its path only)")
    done = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "speak" in done.stdout


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "cli" if parts[-1] in ("hf_lip2speech_cli", "__main__") else parts[1]  # the faces of cli/


def imported_rooms(path: Path) -> set[str]:
    """The package's rooms that a file imports from, at its top or inside a function."""
    package = path.relative_to(SOURCE).with_suffix("").parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            base = (*base, *(node.module.split(".") if node.module else ()))
            names = [".".join((*base, alias.name)) for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "hf_lip2speech" and len(parts) > 1:
                rooms.add(parts[1])
    return rooms


MODULES = [
    pytest.param(path, id=path.relative_to(SOURCE).as_posix())
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "hf_lip2speech" / "__init__.py"  # the front door opens into all rooms
]


@pytest.mark.parametrize("path", MODULES)
def test_no_room_imports_a_higher_one(path):
    here = room(path)
    assert here in FLOORS, f"{here} has no floor: give it one here and in docs/architecture.md"
    above = {name for name in imported_rooms(path) - {here} if FLOORS.get(name, 99) > FLOORS[here]}
    assert not above


def test_the_check_of_imports_sees_what_it_should(tmp_path, monkeypatch):
    package = tmp_path / "hf_lip2speech" / "audio"
    package.mkdir(parents=True)
    file = package / "io.py"
    file.write_text(
        "from ..models.modeling_lip2speech import x\nfrom .mel import y\nfrom .. import errors\n"
        "import torch\n"
        "def f():\n    from hf_lip2speech.data.corpora import GRID\n    import hf_lip2speech.cli.speak\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    assert room(file) == "audio"
    assert imported_rooms(file) == {"models", "audio", "errors", "data", "cli"}


def test_the_architecture_page_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not [name for name in FLOORS if not re.search(rf"\b{name}\b", page)]


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    import hf_lip2speech

    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", hf_lip2speech.__version__)


def test_files_made_by_others_are_named_in_the_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assets = SOURCE / "hf_lip2speech" / "assets"
    for folder in sorted(path for path in assets.iterdir() if path.is_dir()):
        assert folder.relative_to(ROOT).as_posix() in notice
