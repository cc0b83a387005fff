"""`from_pretrained` from a Hub over HTTP, for every class; and what it says when that does not work."""

import json
import pickle
import sys
from pathlib import Path

import pytest

from ..hostile import Hostile
from ..hub_server import HubServer

LOAD = """
import json, sys
import torch
import hf_lip2speech as h
from huggingface_hub import HfApi
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, pipeline
from hf_lip2speech.errors import Lip2SpeechError

sizes = dict(frontend_stem_channels=8, frontend_channels=(8, 16), frontend_blocks=(1, 1), hidden_size=32)
sizes |= dict(num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, position_groups=2)
h.AVHubertModel(h.AVHubertConfig(**sizes)).push_to_hub("anna/avhubert")
h.SpeakerEncoder(h.SpeakerEncoderConfig()).push_to_hub("anna/speaker")
api = HfApi()
api.create_repo("anna/bert")
api.upload_file(path_or_fileobj=b'{"model_type": "bert"}', path_in_repo="config.json", repo_id="anna/bert")
other = b'{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}'
api.upload_file(path_or_fileobj=other, path_in_repo="preprocessor_config.json", repo_id="anna/bert")

whole, units = "anna/whole", dict(subfolder="unit_extractor")
places = [
    (h.Lip2SpeechWithVocoder, whole, {}), (h.Lip2SpeechModel, whole, {}), (h.UnitVocoderModel, whole, {}),
    (h.SpeechUnitExtractor, whole, units | {"revision": "v1"}), (h.Lip2SpeechModel, "anna/lip2speech", {}),
    (h.UnitVocoderModel, "anna/vocoder", {}), (h.SpeechUnitExtractor, "anna/units", {}),
    (h.AVHubertModel, "anna/avhubert", {}), (h.SpeakerEncoder, "anna/speaker", {}),
]
loaded = []
for model_class, name, where in places:
    model, report = model_class.from_pretrained(name, output_loading_info=True, **where)
    again = model_class.from_pretrained(name, local_files_only=True, **where)
    same = all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    half = model_class.from_pretrained(name, dtype="bfloat16", device_map="auto", **where)
    half = model_class.from_pretrained(name, dtype=half.dtype, device_map={"": "cpu"}, **where)
    config = model_class.config_class.from_pretrained(name, **where)
    unfit = [*report["missing_keys"], *report["mismatched_keys"]]
    placed = {str(tensor.device) for tensor in half.state_dict().values()}
    loaded.append([type(model).__name__, same, str(half.dtype), sorted(placed), unfit, type(config).__name__])
    model.save_pretrained(sys.argv[2] + "/" + type(model).__name__)

# All classes in folders of one repository, at a tag whose files the branch has no more.
public = [*dict.fromkeys(place[0] for place in places), h.Lip2SpeechFeatureExtractor]
h.Lip2SpeechFeatureExtractor().save_pretrained(sys.argv[2] + "/Lip2SpeechFeatureExtractor")
api.create_repo("anna/nested")
api.upload_folder(folder_path=sys.argv[2], repo_id="anna/nested")
api.create_tag("anna/nested", tag="v1")
api.delete_files("anna/nested", ["*"])
at = lambda one: dict(subfolder=one.__name__, revision="v1")
nested = {one.__name__: type(one.from_pretrained("anna/nested", **at(one))).__name__ for one in public}

def refusal(call):
    try:
        call()
    except Exception as error:
        return [isinstance(error, Lip2SpeechError), isinstance(error, OSError), str(error)]

composite, extractor = h.Lip2SpeechWithVocoder, h.Lip2SpeechFeatureExtractor
revisions = ["v1", "main", api.model_info(whole, revision="v1").sha]
autos = (AutoConfig, AutoModel, AutoFeatureExtractor)
absent = dict(cache_dir=sys.argv[1])
print(json.dumps({
    "loaded": loaded,
    "nested": nested,
    "auto": [type(auto.from_pretrained(whole)).__name__ for auto in autos],
    "extractor": type(extractor.from_pretrained(whole)).__name__,
    "voices": [composite.from_pretrained(whole, revision=one).config.default_voice for one in revisions],
    "refusals": {
        "repository": refusal(lambda: composite.from_pretrained("anna/none")),
        "form": refusal(lambda: composite.from_pretrained("runs/grid_s1/best")),
        "revision": refusal(lambda: composite.from_pretrained(whole, revision="v9")),
        "subfolder": refusal(lambda: h.SpeechUnitExtractor.from_pretrained(whole, subfolder="none")),
        "kind": refusal(lambda: composite.from_pretrained("anna/bert")),
        "part": refusal(lambda: h.Lip2SpeechModel.from_pretrained("anna/vocoder")),
        "extractor": refusal(lambda: extractor.from_pretrained("anna/bert")),
        "no extractor": refusal(lambda: extractor.from_pretrained("anna/units")),
        "token": refusal(lambda: composite.from_pretrained(whole, token=False, **absent)),
        "features": refusal(lambda: h.SpeechUnitExtractor(
            h.SpeechUnitExtractorConfig(features="anna/none", fitted=True)).encode(torch.zeros(16000))),
        "cache": refusal(lambda: composite.from_pretrained(whole, local_files_only=True, **absent)),
        "cache extractor": refusal(lambda: extractor.from_pretrained(whole, local_files_only=True, **absent)),
        "gated": refusal(lambda: composite.from_pretrained("anna/gated")),
        "gated extractor": refusal(lambda: extractor.from_pretrained("anna/gated")),
        "gated without a token": refusal(lambda: composite.from_pretrained("anna/gated", token=False)),
        "half": refusal(lambda: h.UnitVocoderModel.from_pretrained("anna/half")),
        "pickle": refusal(lambda: h.UnitVocoderModel.from_pretrained("anna/pickle")),
        "no weights": refusal(lambda: h.UnitVocoderModel.from_pretrained("anna/no_weights")),
    },
    "pipeline": refusal(lambda: pipeline("lip-to-speech", "anna/torn"))[2],
    "hostile": [type(load("anna/hostile")).__name__ for load in (
        composite.from_pretrained, AutoModel.from_pretrained, lambda name: pipeline("lip-to-speech", name))],
}))
"""
CUT = """
import json, time
time.sleep = lambda seconds: None  # the client waits a second before each new attempt
from hf_lip2speech import Lip2SpeechModel, UnitVocoderModel
answers = []
for model_class in (Lip2SpeechModel, UnitVocoderModel):
    try:
        answers.append(model_class.from_pretrained("anna/whole", cache_dir={cache!r}).config.model_type)
    except OSError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """What hostile code would make."""
    return tmp_path_factory.mktemp("hostile") / "ran"


def put_bad_repositories(hub: HubServer, folder: Path, ran: Path) -> None:
    """Repositories as nobody should publish them."""
    vocoder = {
        name: (folder / "vocoder" / name).read_bytes() for name in ("config.json", "model.safetensors")
    }
    whole = {path.name: path.read_bytes() for path in (folder / "whole").iterdir() if path.is_file()}
    hub.put("anna/gated", whole, gated=True)
    hub.put("anna/half", vocoder | {"model.safetensors": vocoder["model.safetensors"][:5000]})
    hub.put("anna/torn", whole | {"model.safetensors": whole["model.safetensors"][:5000]})
    hub.put("anna/no_weights", {"config.json": vocoder["config.json"]})
    pickled = pickle.dumps({"conv_pre.bias": Hostile(ran)})
    hub.put("anna/pickle", {"config.json": vocoder["config.json"], "pytorch_model.bin": pickled})
    code = f"import os\nos.mkdir({str(ran)!r})\nclass Model: pass\n".encode()
    leads_there = {"auto_map": {"AutoConfig": "evil.Model", "AutoModel": "evil.Model"}}
    config = json.dumps(json.loads(whole["config.json"]) | leads_there).encode()
    hub.put("anna/hostile", whole | {"config.json": config, "evil.py": code})


@pytest.fixture(scope="module")
def loaded(published, ran, tmp_path_factory) -> dict:
    put_bad_repositories(published.hub, published.folder, ran)
    empty, nested = (tmp_path_factory.mktemp(name) for name in ("empty", "nested"))
    done = published.hub.run(sys.executable, "-c", LOAD, empty, nested)
    return json.loads(done.stdout.splitlines()[-1])


def test_every_class_loads_from_the_hub_and_then_without_it_in_any_dtype(loaded):
    classes = ["Lip2SpeechWithVocoder", "Lip2SpeechModel", "UnitVocoderModel", "SpeechUnitExtractor"]
    classes += [
        "Lip2SpeechModel",
        "UnitVocoderModel",
        "SpeechUnitExtractor",
        "AVHubertModel",
        "SpeakerEncoder",
    ]
    assert [entry[0] for entry in loaded["loaded"]] == classes
    for name, same, dtype, placed, unfit, config in loaded["loaded"]:
        assert same and dtype == "torch.bfloat16" and unfit == [], name
        assert placed and "meta" not in placed, name
        assert config == name.removesuffix("Model") + "Config"


def test_the_auto_classes_find_them(loaded):
    assert loaded["auto"] == [
        "Lip2SpeechWithVocoderConfig",
        "Lip2SpeechWithVocoder",
        "Lip2SpeechFeatureExtractor",
    ]
    assert loaded["extractor"] == "Lip2SpeechFeatureExtractor"


def test_every_class_loads_from_a_folder_of_a_repository_at_a_revision(loaded):
    assert len(loaded["nested"]) == 7
    assert all(asked == found for asked, found in loaded["nested"].items())


def test_a_tag_a_branch_and_a_commit_are_revisions(loaded):
    assert loaded["voices"] == ["ann", "bob", "ann"]


@pytest.mark.parametrize(
    ("case", "said"),
    {
        "repository": ["anna/none", "no such repository", "hf auth login"],
        "form": ["runs/grid_s1/best", "owner/name"],
        "revision": ["anna/whole", "no branch, tag or commit 'v9'"],
        "kind": ["anna/bert", "'bert'", "'lip2speech_with_vocoder'"],
        "part": ["anna/vocoder", "'lip2speech_unit_vocoder'", "'lip2speech'"],
        "extractor": ["anna/bert", "Wav2Vec2FeatureExtractor"],
        "token": ["anna/whole", "none that you may read"],
        "features": ["anna/none", "no such repository"],
        "cache": ["anna/whole", "local_files_only", "not in the cache"],
        "cache extractor": ["anna/whole", "local_files_only", "not in the cache"],
        "gated": ["anna/gated", "grant you access"],
        "gated extractor": ["anna/gated", "grant you access"],
        "gated without a token": ["anna/gated", "grant you access"],
        "half": ["anna/half", "weights are damaged", "force_download=True"],
        "pickle": ["anna/pickle", "pickle", "safetensors"],
        "no weights": ["anna/no_weights", "model.safetensors", "HF_HUB_OFFLINE"],
        "subfolder": ["anna/whole", "no config.json with a model_type"],
        "no extractor": ["anna/units", "preprocessor_config.json"],
    }.items(),
)
def test_what_cannot_be_loaded_is_said_in_a_sentence_that_names_it(loaded, case, said):
    ours, _, message = loaded["refusals"][case]
    assert ours
    assert [part for part in said if part not in message] == [], message
    assert len(message) < 330 and "\n" not in message


def test_the_pipeline_says_of_damaged_weights_what_from_pretrained_says(loaded):
    # transformers' pipeline would put the traces of all its attempts into one error.
    assert loaded["pipeline"].startswith("Nothing could be loaded from 'anna/torn': its weights are damaged")


def test_what_a_repository_would_run_is_not_run(loaded, ran):
    assert loaded["hostile"] == ["Lip2SpeechWithVocoder", "Lip2SpeechWithVocoder", "LipToSpeechPipeline"]
    assert not ran.exists()


@pytest.mark.parametrize("case", ["repository", "form", "revision", "token", "cache", "gated"])
def test_what_is_not_there_is_an_oserror_as_everywhere_in_transformers(loaded, case):
    assert loaded["refusals"][case][1]


def downloads(hub) -> int:
    return sum(method == "GET" and path.startswith("/files/") for method, path in hub.requests)


@pytest.mark.slow
def test_a_connection_that_breaks_off_is_taken_up_again(published, tmp_path):
    hub = published.hub
    hub.hf("download", "anna/whole", "config.json", "--cache-dir", tmp_path)
    before, hub.cuts = downloads(hub), 1
    try:
        printed = hub.python(CUT.format(cache=str(tmp_path)))
    finally:
        left, hub.cuts = hub.cuts, 0
    assert json.loads(printed.splitlines()[-1]) == ["lip2speech", "lip2speech_unit_vocoder"]
    assert left == 0
    assert downloads(hub) - before == 2  # of the weights: the one that was cut, and the next attempt


@pytest.mark.slow
def test_a_connection_that_breaks_off_for_good_is_said_so_and_works_another_time(published, tmp_path):
    hub = published.hub
    hub.cuts = 10**6
    try:
        printed = hub.python(CUT.format(cache=str(tmp_path)))
    finally:
        hub.cuts = 0
    messages = json.loads(printed.splitlines()[-1])
    for message in messages:
        assert message.startswith(
            "Nothing could be loaded from 'anna/whole': the connection to the Hub broke off"
        )
    printed = hub.python(CUT.format(cache=str(tmp_path)))
    assert json.loads(printed.splitlines()[-1]) == ["lip2speech", "lip2speech_unit_vocoder"]


@pytest.mark.slow
def test_the_command_says_it_in_one_line(published, tmp_path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"not looked at before the model is there")
    hub = published.hub

    def speak(name: str) -> list[str]:
        done = hub.run(sys.executable, "-m", "hf_lip2speech", "speak", video, "--model", name, check=False)
        assert done.returncode == 1
        return done.stderr.splitlines()

    (line,) = speak("anna/none")
    assert "anna/none" in line
    (line,) = speak("anna/vocoder")
    assert "unit_vocoder" in line and "lip2speech_with_vocoder" in line
