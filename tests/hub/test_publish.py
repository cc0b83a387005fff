"""`hf-lip2speech publish`: what is in the repository, and who can load it how."""

import json
import sys

import pytest
import torch
from huggingface_hub import ModelCard

import hf_lip2speech_cli
from hf_lip2speech.errors import PublishError
from hf_lip2speech.hub.publish import publish
from hf_lip2speech.hub.repository import make_repository

from ..hub_server import HubServer
from .conftest import write_checkpoints

REPOSITORIES = {
    "whole": {"unit_extractor/config.json", "unit_extractor/model.safetensors", "preprocessor_config.json"}
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


def test_private_is_private_and_stays_so_when_it_is_published_again(published):
    repositories = published.hub.repositories
    assert repositories["model", "anna/whole"].private
    assert not repositories["model", "anna/vocoder"].private
    titles = [commit.title for commit in repositories["model", "anna/whole"].at("main").lineage()]
    assert titles == ["Publish with hf-lip2speech"] * 2 + ["initial commit"]


def test_what_the_new_version_has_no_more_is_gone(published):
    files = published.hub.repositories["model", "anna/whole"].at("main").files
    assert not any(path.startswith(".eval_results") for path in files)


def test_the_commits_address_is_printed(published):
    assert published.printed[0].startswith(f"{published.hub.url}/anna/whole/commit/")


def test_the_hub_was_asked_whether_the_card_is_valid_before_anything_was_made(published):
    assert published.hub.requests[0] == ("POST", "/api/validate-yaml")


def test_the_card_says_what_was_stated_and_measured(published):
    card = ModelCard(content(published.hub, "anna/whole", "README.md", "v1").decode())
    assert card.data.license == "cc-by-nc-4.0" and card.data.library_name == "transformers"
    assert "pipeline_tag" not in card.data.to_dict()
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values["wer"] == 33.3 and values["stoi"] == 0.55
    assert "by pocketsphinx" in card.data.eval_results[0].metric_name
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
    assert "has not said under which licence" in card.text
    assert card.text.count("Not stated by whoever published these weights.") == 2


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
        assert json.loads((tmp_path / name / "config.json").read_text())["voices"].keys() == {"ann", "bob"}


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


REFUSALS = """
import hf_lip2speech_cli
from huggingface_hub import HfApi
HfApi().create_repo("anna/open")
publish = lambda *arguments: hf_lip2speech_cli.main(["publish", "{folder}/vocoder", *arguments])
print([publish("ben/model"), publish("anna/open", "--private"), publish("no-owner")])
"""


def test_the_hubs_refusals_are_one_line_each(hub, checkpoints):
    done = hub.run(sys.executable, "-c", REFUSALS.format(folder=checkpoints))
    assert done.stdout.splitlines()[-1] == "[1, 1, 1]"
    errors = [line for line in done.stderr.splitlines() if line.startswith("hf-lip2speech: error")]
    assert [("may not write" in errors[0]), ("is public" in errors[1]), ("owner/name" in errors[2])] == [
        True
    ] * 3
    assert "Traceback" not in done.stderr
    assert set(hub.repositories["model", "anna/open"].at("main").files) == set()


def test_without_a_token_it_says_how_to_log_in(hub, checkpoints):
    code = f"from hf_lip2speech_cli import main; print(main(['publish', '{checkpoints}/vocoder', 'anna/m']))"
    done = hub.run(sys.executable, "-c", code, token=None)
    assert done.stdout.split()[-1] == "1"
    assert "hf auth login" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def fresh(tmp_path):
    write_checkpoints(tmp_path)
    return tmp_path


def test_a_broken_checkpoint_is_refused_before_the_hub_is_asked(fresh):
    from safetensors.torch import load_file, save_file

    weights = load_file(fresh / "vocoder" / "model.safetensors")
    name = next(iter(weights))
    save_file(
        {key: value for key, value in weights.items() if key != name}, fresh / "vocoder" / "model.safetensors"
    )
    with pytest.raises(PublishError, match=f"lack: {name}"):
        publish(fresh / "vocoder", "anna/vocoder")
    save_file(weights | {name: torch.zeros(3, 5)}, fresh / "vocoder" / "model.safetensors")
    with pytest.raises(PublishError, match="do not load"):
        publish(fresh / "vocoder", "anna/vocoder")
    whole = (fresh / "vocoder" / "model.safetensors").read_bytes()
    (fresh / "vocoder" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PublishError, match="do not load"):
        publish(fresh / "vocoder", "anna/vocoder")
    weights[name].fill_(float("nan"))
    save_file(weights, fresh / "vocoder" / "model.safetensors")
    with pytest.raises(PublishError, match="not finite"):
        publish(fresh / "vocoder", "anna/vocoder")
    (fresh / "vocoder" / "model.safetensors").unlink()
    with pytest.raises(PublishError, match="no model.safetensors"):
        publish(fresh / "vocoder", "anna/vocoder")
    (fresh / "vocoder" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PublishError, match="'bert'"):
        publish(fresh / "vocoder", "anna/vocoder")
    with pytest.raises(PublishError, match="no config.json"):
        publish(fresh / "nowhere", "anna/vocoder")


def test_the_card_beside_the_weights_is_taken_with_the_repositorys_name_and_the_results(fresh, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (fresh / "whole" / "card.yaml").unlink()
    (fresh / "whole" / "README.md").write_text('---\nlicense: mit\n---\n# Mine\n\nmodel="THIS FOLDER"\n')
    card = make_repository(fresh / "whole", out, "anna/mine", evaluation=fresh / "evaluation")
    assert card.text.strip().startswith('# Mine\n\nmodel="anna/mine"\n\n## Samples\n')
    assert "## Evaluation" in card.text and "anna/mine/resolve/main/samples/talker.wav" in card.text
    assert (card.data.license, card.data.model_name) == ("mit", "mine")
    assert {result.metric_type for result in card.data.eval_results} == {"wer", "stoi", "estoi"}
    assert ModelCard.load(out / "README.md").content == card.content


def test_a_card_without_a_licence_is_refused(fresh, tmp_path):
    (tmp_path / "out").mkdir()
    (fresh / "vocoder" / "README.md").write_text("---\ntags: [a]\n---\n# Mine\n")
    with pytest.raises(PublishError, match="states no license"):
        make_repository(fresh / "vocoder", tmp_path / "out")


def test_a_derived_model_names_its_own_code_and_drops_the_trap(fresh, tmp_path):
    (tmp_path / "out").mkdir()
    path = fresh / "vocoder" / "config.json"
    trap = {"custom_pipelines": {"lip-to-speech": {}}, "auto_map": {"AutoModel": "anna/base--other.Model"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | trap))
    make_repository(fresh / "vocoder", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "custom_pipelines" not in config
    assert config["auto_map"]["AutoModel"] == "hf_lip2speech_classes.UnitVocoderModel"


def test_samples_that_lie_there_are_taken_and_a_part_speaks_none(fresh, tmp_path):
    (tmp_path / "out").mkdir()
    (fresh / "whole" / "samples").mkdir()
    (fresh / "whole" / "samples" / "mine.wav").write_bytes(b"RIFF")
    make_repository(fresh / "whole", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "samples").iterdir()] == ["mine.wav"]
    (tmp_path / "other").mkdir()
    with pytest.raises(PublishError, match="spoken by the composite"):
        make_repository(fresh / "vocoder", tmp_path / "other", sample="face.mp4")


def test_who_states_nothing_is_told_what_the_card_lacks(fresh, capsys, monkeypatch):
    monkeypatch.setattr("hf_lip2speech.cli.publish.publish", lambda *a, **b: "https://address")
    assert hf_lip2speech_cli.main(["publish", str(fresh / "vocoder"), "anna/vocoder"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "https://address\n" and "card.yaml" in printed.err
    assert hf_lip2speech_cli.main(["publish", str(fresh / "whole"), "anna/whole"]) == 0
    assert capsys.readouterr().err == ""
