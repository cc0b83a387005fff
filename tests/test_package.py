"""The package as a whole: what importing it does and costs, who imports whom, what is shipped."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import hf_lip2speech_cli
from hf_lip2speech_extras import EXTRAS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
OURS = ("hf_lip2speech", "hf_lip2speech_cli", "hf_lip2speech_extras")
HEAVY = ("av", "datasets", "evaluate", "ai_edge_litert", "matplotlib", "gradio")


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


def test_importing_registers_every_model_with_the_auto_classes_under_its_former_name_too(after_import):
    names = {
        "lip2speech": ("Lip2SpeechConfig", "Lip2SpeechModel"),
        "lip2speech_avhubert": ("AVHubertConfig", "AVHubertModel"),
        "lip2speech_with_vocoder": ("Lip2SpeechWithVocoderConfig", "Lip2SpeechWithVocoder"),
        "lip2speech_unit_vocoder": ("UnitVocoderConfig", "UnitVocoderModel"),
        "lip2speech_mel_flow": ("MelFlowConfig", "MelFlowModel"),
        "lip2speech_speaker_encoder": ("SpeakerEncoderConfig", "SpeakerEncoder"),
        "lip2speech_unit_extractor": ("SpeechUnitExtractorConfig", "SpeechUnitExtractor"),
    }
    for former in ("unit_vocoder", "speaker_encoder"):
        names[former] = names[f"lip2speech_{former}"]
    names["speech_unit_extractor"] = names["lip2speech_unit_extractor"]
    registered = {
        name: (config, after_import["models"][name]) for name, config in after_import["configs"].items()
    }
    assert registered == names
    assert after_import["extractors"] == dict.fromkeys(
        ("lip2speech", "lip2speech_avhubert", "lip2speech_with_vocoder"), "Lip2SpeechFeatureExtractor"
    )


def test_a_type_that_another_library_registered_is_left_to_it():
    run_python(
        """
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig
class Theirs(PreTrainedConfig):
    model_type = "speaker_encoder"
AutoConfig.register("speaker_encoder", Theirs)
import hf_lip2speech
assert CONFIG_MAPPING["speaker_encoder"] is Theirs
assert hf_lip2speech.SpeakerEncoder.bundled().config.model_type == "lip2speech_speaker_encoder"
"""
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


def layers() -> dict[str, int]:
    """Package -> layer, as docs/architecture.md lists them."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {name: int(layer) for layer, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}


def package_of(module: tuple[str, ...]) -> str:
    """The package that a module belongs to, as docs/architecture.md names them."""
    return module[0] if module[0] != "hf_lip2speech" or len(module) == 1 else module[1]


def imports(module: tuple[str, ...], code: str) -> set[tuple[str, ...]]:
    """The names that a module imports, at its top or inside a function; with `require_extra` as well."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (*module[: len(module) - node.level],) if node.level else ()
            base = (*base, *(node.module.split(".") if node.module else ()))
            found |= {(*base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require_extra":
            found |= {tuple(arg.value.split(".")) for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return found


MODULES = {
    (module := path.relative_to(SOURCE).with_suffix("").parts): imports(module, path.read_text("utf-8"))
    for path in sorted(SOURCE.rglob("*.py"))
}


def test_imports_are_found_wherever_they_are():
    code = (
        "from ..models.conv import x\nfrom . import mel\ndef f():\n  import torch.nn\n  require_extra('cv2')"
    )
    assert imports(("hf_lip2speech", "audio", "mfcc"), code) == {
        ("hf_lip2speech", "models", "conv", "x"), ("hf_lip2speech", "audio", "mel"), ("torch", "nn"), ("cv2",)
    }  # fmt: skip


def test_no_package_imports_from_a_higher_layer():
    known, wrong = layers(), []
    for module, imported in MODULES.items():
        here = package_of(module)
        if here in ("__init__", "__main__"):  # the entry points; __init__ exports from every package
            continue
        assert here in known, f"{here} has no layer in docs/architecture.md"
        ours = (package_of(name) for name in imported if name[0] in OURS)
        wrong += [
            f"{'.'.join(module)} imports {there}" for there in ours if known.get(there, -1) > known[here]
        ]
    assert wrong == []
    assert {package_of(module) for module in MODULES} >= {*known}


def test_no_module_of_commands_imports_another():
    modules = {run.__module__.rpartition(".")[2] for run, _ in hf_lip2speech_cli.COMMANDS}
    for module in modules:
        imported = MODULES["hf_lip2speech_cli", module]
        assert not modules & {name[1] for name in imported if name[0] == "hf_lip2speech_cli"}, module


def test_no_module_uses_the_private_names_of_another():
    private = [
        (".".join(module), name)
        for module, imported in MODULES.items()
        for name in imported
        if name[0] in OURS and name[-1].startswith("_") and not name[-1].startswith("__")
    ]
    assert not private


# What each package may import besides the dependencies of a plain installation.
EXTRAS_OF = {
    "audio": {"pitch"},
    "data": {"train", "ray"},
    "evaluation": {"distillmos", "eval", "naturalness", "whisper"},
    "export": {"onnx"},
    "hf_lip2speech_cli": {"eval"},
    "hub": {"demo"},
    "media": {"live"},
    "models": {"train"},
    "plotting": {"plot"},
    "recording": {"demo"},
    "synthetic": {"eval", "pitch", "render"},
    "training": {"train"},
    "web": {"demo"},
}


def declared(*extras: str) -> set[str]:
    """The names of the distributions of a plain installation and of extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return {
        re.split(r"[\[<>=~!; ]", requirement)[0].lower().replace("_", "-")
        for requirement in [*project["dependencies"], *(one for extra in extras for one in optional[extra])]
    }


@cache
def distributions() -> dict[str, set[str]]:
    """Module -> the distributions that bring it; of some that the tests do without, from memory."""
    return {"parselmouth": {"praat-parselmouth"}, "speechmos": {"speechmos"}} | {
        module: {name.lower().replace("_", "-") for name in names}
        for module, names in packages_distributions().items()
    }


def test_every_import_is_declared_by_the_extra_of_its_package():
    known, wrong = distributions(), []
    for module, imported in MODULES.items():
        allowed = declared(*EXTRAS_OF.get(package_of(module), ()))
        others = {name[0] for name in imported} - {*sys.stdlib_module_names, *OURS}
        wrong += [(".".join(module), name) for name in others if not known.get(name, {name}) & allowed]
    assert wrong == []


def test_the_advice_names_an_extra_that_brings_the_module():
    for module, extra in EXTRAS.items():
        brought_by = distributions().get(module, {module.replace("_", "-")})
        assert brought_by & (declared(extra) - declared()), (module, extra)


def test_the_version_is_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    import hf_lip2speech

    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", hf_lip2speech.__version__)


def test_files_made_by_others_are_named_in_the_notice():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assets = SOURCE / "hf_lip2speech" / "assets"
    for folder in sorted(path for path in assets.iterdir() if path.is_dir()):
        assert folder.relative_to(ROOT).as_posix() in notice
