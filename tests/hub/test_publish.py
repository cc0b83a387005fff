"""`hf-lip2speech publish`: what is in the repository, and who can load it how."""

import json
import shutil
import sys

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModel

import hf_lip2speech_cli
from hf_lip2speech import SpeechUnitExtractor
from hf_lip2speech.errors import PublishError
from hf_lip2speech.evaluation.systems import fingerprint
from hf_lip2speech.hub.publish import publish
from hf_lip2speech.hub.repository import make_repository
from hf_lip2speech.loading import BUNDLED
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig

from ..hub_server import HubServer
from ..hub_server.cards import problems
from ..tiny_model import tiny_model

REPOSITORIES = {
    "whole": {"unit_extractor/config.json", "unit_extractor/model.safetensors", "preprocessor_config.json"}
    | {"voices.safetensors"}
    | {"samples/talker.wav", "results.json", ".eval_results/two_test.yaml"},
    "lip2speech": {"preprocessor_config.json"},
    "vocoder": set(),
    "units": set(),
}
CLASSES = {
    "whole": ("Lip2SpeechWithVocoderConfig", "Lip2SpeechWithVocoder"),
    "lip2speech": ("Lip2SpeechConfig", "Lip2SpeechModel"),
    "vocoder": ("UnitVocoderConfig", "UnitVocoderModel"),
    "units": ("SpeechUnitExtractorConfig", "SpeechUnitExtractor"),
}
SPEAK = """
import json, sys
import numpy as np
{before}
from transformers import pipeline
speak = pipeline("lip-to-speech", model="anna/whole", device="cpu"{flag})
frames = np.random.default_rng(0).integers(0, 256, (6, 96, 96), dtype=np.uint8)
speech = speak({{"frames": frames, "fps": 25}}, cropped=True)
speak.model.save_pretrained("{out}")
speak.feature_extractor.save_pretrained("{out}")
print(json.dumps([type(speak).__name__, speech["audio"].tolist()]))
"""


def content(hub: HubServer, name: str, path: str, revision: str = "main") -> bytes:
    file = hub.repositories["model", name].at(revision).files[path]
    return (hub.files / file.sha256).read_bytes()


@pytest.mark.parametrize("name", REPOSITORIES)
def test_a_repository_holds_weights_configs_code_and_card_and_nothing_else(published, name):
    everything = {"config.json", "model.safetensors", "README.md", "hf_lip2speech_classes.py"}
    revision = "v1" if name == "whole" else "main"
    files = published.hub.repositories["model", f"anna/{name}"].at(revision).files
    assert set(files) == everything | REPOSITORIES[name]


@pytest.mark.parametrize("name", CLASSES)
def test_its_config_leads_to_the_packages_classes_and_sets_no_trap(published, name):
    config = json.loads(content(published.hub, f"anna/{name}", "config.json"))
    config_class, model_class = CLASSES[name]
    assert config["auto_map"] == {
        "AutoConfig": f"hf_lip2speech_classes.{config_class}",
        "AutoModel": f"hf_lip2speech_classes.{model_class}",
    }
    assert "custom_pipelines" not in config and "_name_or_path" not in config
    code = content(published.hub, f"anna/{name}", "hf_lip2speech_classes.py").decode()
    assert {config_class, model_class} <= set(code.replace(",", " ").split())


def test_the_weights_are_those_of_the_checkpoint_bit_for_bit(published):
    for name in ("whole", "lip2speech", "vocoder"):
        weights = (published.folder / name / "model.safetensors").read_bytes()
        assert content(published.hub, f"anna/{name}", "model.safetensors") == weights


def test_a_list_of_weight_files_publishes_no_file_from_elsewhere(tmp_path):
    model, out = tmp_path / "models" / "vocoder", tmp_path / "deep" / "out"
    tiny_model().vocoder.save_pretrained(model)
    (tmp_path / "models" / "secret").write_text("mine")
    (model / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "../secret"}}')
    make_repository(model, out)
    assert "model.safetensors" in [path.name for path in out.iterdir()]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    (model / "model.safetensors").unlink()
    with pytest.raises(PublishError, match="index.json does not name files in .*vocoder alone"):
        make_repository(model, tmp_path / "deep" / "other")


def test_private_is_private_and_stays_so_when_it_is_published_again(published):
    repositories = published.hub.repositories
    assert repositories["model", "anna/whole"].private
    assert not repositories["model", "anna/vocoder"].private
    titles = [commit.title for commit in repositories["model", "anna/whole"].at("main").lineage()]
    assert titles == ["Publish with hf-lip2speech"] * 2 + ["initial commit"]


def test_what_the_new_version_has_no_more_is_gone_and_what_its_owner_added_stays(published):
    repository = published.hub.repositories["model", "anna/other"]
    before, added, *_ = list(repository.at("main").lineage())[::-1][1:]
    assert "unit_extractor/config.json" in before.files and ".eval_results/two_test.yaml" in before.files
    everything = {"config.json", "model.safetensors", "README.md", "hf_lip2speech_classes.py"}
    assert set(repository.at("main").files) == everything | {"notes.txt"}


def test_the_models_address_is_printed(published):
    assert published.printed[0] == f"{published.hub.url}/anna/whole"


def test_the_hub_was_asked_whether_the_card_is_valid_before_anything_was_made(published):
    assert published.hub.requests[0] == ("POST", "/api/validate-yaml")


def test_the_card_says_what_was_stated_and_measured(published):
    card = ModelCard(content(published.hub, "anna/whole", "README.md", "v1").decode())
    assert card.data.license == "cc-by-nc-4.0" and card.data.library_name == "transformers"
    assert "pipeline_tag" not in card.data.to_dict()
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["wer"] == 33.3 and values["stoi"] == 0.55
    assert card.data.eval_results[0].metric_name == "WER %"
    for said in (
        "Numbers drawn at random.",
        "drawn at random from data",
        "It says nothing.",
        'model="anna/whole"',
    ):
        assert said in card.text
    assert 'src="https://huggingface.co/anna/whole/resolve/main/samples/talker.wav"' in card.text


def test_where_nothing_was_stated_the_card_says_so(published):
    card = ModelCard(content(published.hub, "anna/vocoder", "README.md").decode())
    assert card.data.license is None
    assert "has not stated their licence" in card.text
    assert card.text.count("Not stated by the publisher of these weights.") == 2


@pytest.mark.slow
def test_it_speaks_with_the_package_imported_and_no_flag_or_installed_and_trusted(published, tmp_path):
    def spoken(before: str, flag: str, out: str):
        code = SPEAK.format(before=before, flag=flag, out=tmp_path / out)
        return json.loads(published.hub.python(code).splitlines()[-1])

    imported = spoken("import hf_lip2speech", "", "imported")
    trusted = spoken("", ", trust_remote_code=True", "trusted")
    both = spoken("import hf_lip2speech", ", trust_remote_code=True", "both")
    assert imported == trusted == both
    assert imported[0] == "LipToSpeechPipeline" and len(imported[1]) == 6 * 640
    # Saving a model that came with trust leaves no copy of this package's modules behind.
    for name in ("imported", "trusted", "both"):
        assert not list((tmp_path / name).glob("*.py"))
        assert json.loads((tmp_path / name / "config.json").read_text())["voices"] == ["ann", "bob"]


@pytest.mark.slow
def test_hf_download_and_hf_upload_carry_the_repository_on(published, tmp_path):
    published.hub.hf("download", "anna/whole", "--revision", "v1", "--local-dir", tmp_path / "copy")
    published.hub.hf("upload", "anna/copy", tmp_path / "copy", "--exclude", ".cache/*")
    files = published.hub.repositories["model", "anna/whole"].at("v1").files
    copied = published.hub.repositories["model", "anna/copy"].at("main").files
    assert {path: file.sha256 for path, file in copied.items()} == {
        path: file.sha256 for path, file in files.items()
    }


@pytest.mark.slow
def test_the_example_publishes_as_the_command_does(hub, checkpoints):
    from ..test_package import ROOT

    example = ROOT / "examples" / "push_to_hub.py"
    hub.script(example, checkpoints / "vocoder", "anna/vocoder", "--private")
    assert "model.safetensors" in hub.repositories["model", "anna/vocoder"].at("main").files
    refused = hub.run(sys.executable, example, checkpoints / "vocoder", "ben/vocoder", check=False)
    assert refused.returncode and "you may not write there" in refused.stderr


BROKEN_OFF = """
import time
time.sleep = lambda seconds: None  # the client waits before each new attempt
import hf_lip2speech_cli
print(hf_lip2speech_cli.main(["publish", "{folder}/vocoder", "anna/vocoder"]))
"""


@pytest.mark.slow
def test_an_upload_that_breaks_off_is_taken_up_or_leaves_nothing_and_works_another_time(hub, checkpoints):
    code = BROKEN_OFF.format(folder=checkpoints)
    hub.upload_cuts = 10**6
    done = hub.run(sys.executable, "-c", code)
    assert done.stdout.splitlines()[-1] == "1" and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("hf-lip2speech: error")]
    assert "the upload was interrupted" in line
    assert [*hub.repositories["model", "anna/vocoder"].at("main").files] == []
    hub.upload_cuts = 1
    assert hub.python(code).splitlines()[-1] == "0"
    assert "model.safetensors" in hub.repositories["model", "anna/vocoder"].at("main").files
    assert hub.upload_cuts == 0


REFUSALS = """
import hf_lip2speech_cli
from huggingface_hub import HfApi
HfApi().create_repo("anna/open")
publish = lambda *arguments: hf_lip2speech_cli.main(["publish", "{folder}/vocoder", *arguments])
open("{facts}", "w").write("title: Mine\\nlicense: free")
print([publish("ben/model"), publish("anna/open", "--private"), publish("no-owner"),
       publish("anna/open", "--facts", "{facts}")])
"""


@pytest.mark.slow
def test_the_hubs_refusals_are_one_line_each(hub, checkpoints, tmp_path):
    code = REFUSALS.format(folder=checkpoints, facts=tmp_path / "facts.yaml")
    done = hub.run(sys.executable, "-c", code)
    assert done.stdout.splitlines()[-1] == "[1, 1, 1, 1]"
    errors = [line for line in done.stderr.splitlines() if line.startswith("hf-lip2speech: error")]
    for said, error in zip(
        ("may not write", "is public", "owner/name", '"license" must be'), errors, strict=True
    ):
        assert said in error, error
    assert "Traceback" not in done.stderr
    assert set(hub.repositories["model", "anna/open"].at("main").files) == set()


@pytest.mark.slow
def test_without_a_token_it_says_how_to_log_in(hub, checkpoints):
    code = f"from hf_lip2speech_cli import main; print(main(['publish', '{checkpoints}/vocoder', 'anna/m']))"
    done = hub.run(sys.executable, "-c", code, token=None)
    assert done.stdout.split()[-1] == "1"
    assert "hf auth login" in done.stderr and "Traceback" not in done.stderr
    assert hub.requests == []  # it is said at once, not after the work


@pytest.fixture
def fresh(checkpoints, tmp_path):
    shutil.copytree(checkpoints, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_broken_checkpoint_is_refused_before_the_hub_is_asked(fresh):
    from safetensors.torch import load_file, save_file

    folder = fresh / "vocoder"
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(iter(weights))

    def refused(said: str, broken: dict | None = None) -> None:
        if broken is not None:
            save_file(broken, path)
        with pytest.raises(PublishError, match=said):
            publish(folder, "anna/vocoder", token="hf_nobody")

    refused(f"lack: {name}", {key: value for key, value in weights.items() if key != name})
    refused("do not fit", weights | {name: torch.zeros(3, 5)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused("weights are damaged")
    refused("not finite", weights | {name: torch.full_like(weights[name], float("nan"))})
    path.unlink()
    refused("no model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    refused("'bert'")
    (folder / "config.json").unlink()
    refused("no config.json")


def test_the_card_beside_the_weights_is_taken_with_the_repositorys_name_and_the_results(fresh, tmp_path):
    out = tmp_path / "out"
    (fresh / "whole" / "card.yaml").unlink()
    text = '---\nlicense: mit\n---\n# Mine\n\nmodel="THIS FOLDER"\n\n## Training data\n\nNumbers.\n'
    (fresh / "whole" / "README.md").write_text(text)
    card = make_repository(fresh / "whole", out, "anna/mine", evaluation=fresh / "evaluation")
    assert card.text.strip().startswith('# Mine\n\nmodel="anna/mine"\n\n## Samples\n')
    titles = [line for line in card.text.splitlines() if line.startswith("## ")]
    assert titles == ["## Samples", "## Training data", "## Evaluation"] and "\n\n\n" not in card.text
    assert problems(str(card)) == []
    assert "| end-to-end | 33.3" in card.text and "anna/mine/resolve/main/samples/talker.wav" in card.text
    assert (card.data.license, card.data.model_name) == ("mit", "mine")
    assert {result.metric_type for result in card.data.eval_results} == {"wer", "stoi", "estoi"}
    assert ModelCard.load(out / "README.md").content == card.content


def test_a_card_without_a_licence_is_refused(fresh, tmp_path):
    (fresh / "vocoder" / "README.md").write_text("---\ntags: [a]\n---\n# Mine\n")
    with pytest.raises(PublishError, match="states no license"):
        make_repository(fresh / "vocoder", tmp_path / "out")


@pytest.mark.parametrize(
    "header", ["---\nlicense: mit\n  a: b\n---\n", "---\nmodel-index: 3\nlicense: mit\n---\n"]
)
def test_a_card_that_is_none_is_named(fresh, tmp_path, header):
    (fresh / "vocoder" / "README.md").write_text(f"{header}# Mine\n")
    with pytest.raises(PublishError, match="README.md is no model card"):
        make_repository(fresh / "vocoder", tmp_path / "out")


def test_results_are_published_only_with_the_weights_that_they_were_measured_with(fresh, tmp_path):
    path = fresh / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    model = AutoModel.from_pretrained(fresh / "changed")
    for name, weights, said in (("ours", fingerprint(model), None), ("others", "0" * 64, "other weights")):
        results["facts"]["weights_sha256"] = weights
        path.write_text(json.dumps(results))
        if said is None:
            make_repository(fresh / "changed", tmp_path / name, evaluation=fresh / "evaluation")
            assert (tmp_path / name / "results.json").read_bytes() == path.read_bytes()
            continue
        with pytest.raises(PublishError, match=said):
            make_repository(fresh / "changed", tmp_path / name, evaluation=fresh / "evaluation")
    for nonsense in ("{", "[]", '{"eval_loss": 1}'):
        path.write_text(nonsense)
        with pytest.raises(PublishError, match="not what `hf-lip2speech evaluate` writes"):
            make_repository(fresh / "vocoder", tmp_path / nonsense, evaluation=fresh / "evaluation")


def test_a_unit_extractor_names_a_model_that_others_can_have(fresh, tmp_path):
    (tmp_path / "hubert").mkdir()
    extractor = SpeechUnitExtractor(
        SpeechUnitExtractorConfig(features=str(tmp_path / "hubert"), num_units=20, fitted=True)
    )
    extractor.save_pretrained(fresh / "extractor")
    with pytest.raises(PublishError, match="the local folder"):
        make_repository(fresh / "extractor", tmp_path / "out")
    extractor.config.features = "facebook/hubert-base-ls960"
    extractor.save_pretrained(fresh / "extractor")
    make_repository(fresh / "extractor", tmp_path / "out")
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["features"] == "facebook/hubert-base-ls960"
    )


def test_the_bundled_model_can_be_published_with_its_card_and_results(tmp_path):
    card = make_repository(BUNDLED, tmp_path, "anna/mine")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    names -= {name for name in names if name.startswith("results")}
    other = {"results.json", ".eval_results/two_test.yaml", "samples/talker.wav"}
    weights = {path.name for path in BUNDLED.glob("model*.safetensors*")}
    assert names == REPOSITORIES["whole"] - other | weights | {
        "samples/talker.flac",
        "config.json",
        "README.md",
        "hf_lip2speech_classes.py",
    }
    for path in BUNDLED.glob("results*.json"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert problems(str(card)) == [] and 'model="anna/mine"' in card.text and "THIS FOLDER" not in str(card)
    titles = [line for line in card.text.splitlines() if line.startswith("## ")]
    assert titles[:3] == ["## What it is for, and what not", "## Samples", "## Evaluation"]


CORE_ONLY = """
import importlib.util, sys
from pathlib import Path
extras = {extras}
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.split(".")[0] in extras else find_spec(name, package))
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in extras:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, NotInstalled())
from hf_lip2speech.hub.repository import make_repository
from hf_lip2speech.loading import BUNDLED
make_repository(BUNDLED, Path(sys.argv[1]))
"""
EXTRAS = ("accelerate", "datasets", "evaluate", "jiwer", "matplotlib", "pesq", "pocketsphinx", "pyarrow")
EXTRAS += ("pystoi", "scipy", "sklearn", "tensorboard")


@pytest.mark.slow
def test_publishing_needs_none_of_the_extras(hub, tmp_path):
    hub.run(sys.executable, "-c", CORE_ONLY.format(extras=EXTRAS), tmp_path / "out")
    assert (tmp_path / "out" / "README.md").is_file() and (tmp_path / "out" / "results.json").is_file()


def test_ready_samples_are_taken_whatever_their_names_and_a_part_speaks_none(fresh, tmp_path):
    (fresh / "whole" / "samples").mkdir()
    (fresh / "whole" / "samples" / "my clip.wav").write_bytes(b"RIFF")
    card = make_repository(fresh / "whole", tmp_path / "out", "anna/mine")
    assert [path.name for path in (tmp_path / "out" / "samples").iterdir()] == ["my clip.wav"]
    assert "[samples/my clip.wav](samples/my%20clip.wav)" in card.text
    assert "resolve/main/samples/my%20clip.wav" in card.text
    with pytest.raises(PublishError, match="spoken by the composite"):
        make_repository(fresh / "vocoder", tmp_path / "other", sample="face.mp4")


def test_a_derived_model_names_its_own_code_and_drops_the_trap(fresh, tmp_path):
    path = fresh / "vocoder" / "config.json"
    trap = {"custom_pipelines": {"lip-to-speech": {}}, "auto_map": {"AutoModel": "anna/base--other.Model"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | trap))
    make_repository(fresh / "vocoder", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "custom_pipelines" not in config
    assert config["auto_map"]["AutoModel"] == "hf_lip2speech_classes.UnitVocoderModel"
    path = fresh / "changed" / "config.json"
    config = json.loads(path.read_text())
    config["vocoder"] |= trap | {"_name_or_path": "/home/anna/vocoder"}
    path.write_text(json.dumps(config))
    make_repository(fresh / "changed", tmp_path / "again")
    published = (tmp_path / "again" / "config.json").read_text()
    assert "/home/anna" not in published and "other.Model" not in published


def test_who_states_nothing_is_told_what_the_card_lacks(fresh, capsys, monkeypatch):
    monkeypatch.setattr("hf_lip2speech.hub.publish.publish", lambda *a, **b: "https://address")
    assert hf_lip2speech_cli.main(["publish", str(fresh / "vocoder"), "anna/vocoder"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "https://address\n" and "card.yaml" in printed.err
    assert hf_lip2speech_cli.main(["publish", str(fresh / "whole"), "anna/whole"]) == 0
    assert capsys.readouterr().err == ""


def test_a_dry_run_writes_what_would_be_sent_and_asks_nobody(fresh, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(HfApi, "create_repo", lambda *a, **b: pytest.fail("the Hub was asked"))
    out = fresh / "would be"
    line = ["publish", str(fresh / "whole"), "anna/whole", "--dry-run", str(out)]
    assert hf_lip2speech_cli.main([*line, "--evaluation", str(fresh / "evaluation")]) == 0
    printed = capsys.readouterr()
    files = {str(path.relative_to(out)): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    listed = [line.split(maxsplit=1) for line in printed.out.splitlines()]
    assert {name: int(size.replace(",", "")) for size, name in listed} == files
    assert {"README.md", "model.safetensors", "results.json", "samples/talker.wav"} <= set(files)
    assert 'model="anna/whole"' in (out / "README.md").read_text()
    assert printed.err == f"Nothing was sent. The card: {out / 'README.md'}\n"
    assert hf_lip2speech_cli.main(line) == 1 and "exists already" in capsys.readouterr().err
    assert (
        hf_lip2speech_cli.main(["publish", str(fresh / "whole"), "anna", "--dry-run", str(fresh / "b")]) == 1
    )
    assert not (fresh / "b").exists()
