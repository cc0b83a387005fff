"""`from_pretrained` of what is damaged, hostile or of another kind: a sentence names it, nothing is run."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

import hf_lip2speech
from hf_lip2speech import (
    AVHubertConfig,
    AVHubertModel,
    Lip2SpeechFeatureExtractor,
    Lip2SpeechModel,
    Lip2SpeechWithVocoder,
    MelFlowConfig,
    MelFlowModel,
    SpeakerEncoder,
    SpeakerEncoderConfig,
    SpeechUnitExtractor,
    UnitVocoderConfig,
    UnitVocoderModel,
)
from hf_lip2speech.errors import NotLoadedError, WrongKindError
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig

from .hostile import Hostile
from .tiny_model import tiny_model

MODELS = (
    Lip2SpeechWithVocoder,
    Lip2SpeechModel,
    UnitVocoderModel,
    SpeechUnitExtractor,
    SpeakerEncoder,
    AVHubertModel,
    MelFlowModel,
)
CONFIGS = [model.config_class for model in MODELS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[type, Path]:
    """A small model of each class, saved."""
    folder = tmp_path_factory.mktemp("models")
    whole = tiny_model()
    sizes = {"frontend_stem_channels": 8, "frontend_channels": (8, 16), "frontend_blocks": (1, 1)}
    sizes |= {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    models = [whole, whole.lip2speech, whole.vocoder]
    models.append(SpeechUnitExtractor(SpeechUnitExtractorConfig(features="mfcc", num_units=20)))
    models.append(SpeakerEncoder(SpeakerEncoderConfig(hidden_size=32)))
    models.append(AVHubertModel(AVHubertConfig(position_groups=2, **sizes)))
    models.append(MelFlowModel(MelFlowConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1)))
    for model in models:
        model.save_pretrained(folder / type(model).__name__)
    return {type(model): folder / type(model).__name__ for model in models}


@pytest.fixture
def vocoder(folders, tmp_path) -> Path:
    """A copy of the vocoder, to be damaged."""
    return shutil.copytree(folders[UnitVocoderModel], tmp_path / "vocoder")


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    content, tensors = weights.read_bytes(), load_file(weights)
    first = min(tensors)
    if how == "cut off":
        weights.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        weights.write_bytes(b"")
    elif how == "a pointer of git-lfs":
        weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    elif how == "of another shape":
        save_file(tensors | {first: torch.zeros(3, 5)}, weights, metadata={"format": "pt"})
    elif how == "one missing":
        save_file(
            {key: value for key, value in tensors.items() if key != first}, weights, metadata={"format": "pt"}
        )
    else:
        save_file({"other": torch.zeros(1)}, weights, metadata={"format": "pt"})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut off", "weights are damaged"),
        ("empty", "weights are damaged"),
        ("a pointer of git-lfs", "weights are damaged"),
        ("of another shape", "do not fit its configuration"),
        ("one missing", "is missing."),
        ("all of another model", "more."),
    ],
)
def test_weights_that_are_not_whole_are_no_model(folders, tmp_path, model, how, said):
    folder = shutil.copytree(folders[model], tmp_path / "model")
    damage(folder, how)
    with pytest.raises(NotLoadedError, match=said) as caught:
        model.from_pretrained(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["{bad", "[1]", '{"model_type": "unit_vocoder", "num_units": "many"}', "{}"]
)
def test_a_configuration_that_is_none_is_named(vocoder, content):
    (vocoder / "config.json").write_text(content)
    for model in (UnitVocoderModel, UnitVocoderConfig):
        with pytest.raises((NotLoadedError, WrongKindError, OSError), match="vocoder"):
            model.from_pretrained(vocoder)


@pytest.mark.parametrize("public", [*CONFIGS, Lip2SpeechFeatureExtractor], ids=lambda one: one.__name__)
def test_a_wrong_value_of_any_field_is_reported_as_such(tmp_path, public):
    public().save_pretrained(tmp_path)
    (file,) = tmp_path.iterdir()
    contents = json.loads(file.read_text())
    for field in contents:
        for value in (None, "x", 0, [1], {}):
            file.write_text(json.dumps(contents | {field: value}))
            try:
                public.from_pretrained(tmp_path)
            except (NotLoadedError, WrongKindError):
                pass


@pytest.mark.parametrize(
    "field",
    [
        *({"dtype": value} for value in ("x", "int8", "load", [], 0)),
        *({"quantization_config": value} for value in ({}, "x", {"quant_method": "gptq", "bits": 4})),
        *({"id2label": 3}, {"num_labels": 10**9}, {"_attn_implementation": 3}, {"base_model_tp_plan": 3}),
    ],
    ids=str,
)
def test_fields_that_transformers_does_not_check_are_told_too(vocoder, field):
    config = json.loads((vocoder / "config.json").read_text())
    (vocoder / "config.json").write_text(json.dumps(config | field))
    with pytest.raises(NotLoadedError, match="vocoder"):
        UnitVocoderModel.from_pretrained(vocoder)


@pytest.mark.parametrize("index", [b"{", b"[]", b"{}", b'{"metadata": {}, "weight_map": 3}'])
def test_a_damaged_list_of_weight_files_is_named(vocoder, index):
    (vocoder / "model.safetensors").unlink()
    (vocoder / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(NotLoadedError, match="vocoder.*its model.safetensors.index.json is damaged"):
        UnitVocoderModel.from_pretrained(vocoder)


def test_a_bug_is_not_taken_for_an_invalid_configuration(vocoder, monkeypatch):
    def broken(self, **fields):
        raise AttributeError("a bug")

    monkeypatch.setattr(UnitVocoderConfig, "__post_init__", broken)
    with pytest.raises(Exception, match="a bug") as caught:
        UnitVocoderConfig.from_pretrained(vocoder)
    assert not isinstance(caught.value, NotLoadedError)


def test_a_missing_configuration_is_not_taken_for_the_default_one(folders, tmp_path):
    folder = shutil.copytree(folders[SpeakerEncoder], tmp_path / "encoder")
    (folder / "config.json").unlink()
    with pytest.raises(WrongKindError, match="no config.json with a model_type"):
        SpeakerEncoder.from_pretrained(folder)


def test_every_class_refuses_every_other_kind_but_the_composites_parts_come_out_of_it(folders):
    parts = {(Lip2SpeechModel, Lip2SpeechWithVocoder), (UnitVocoderModel, Lip2SpeechWithVocoder)}
    for model in MODELS:
        for other, folder in folders.items():
            if other is model or (model, other) in parts:
                assert type(model.from_pretrained(folder)) is model
            else:
                with pytest.raises(WrongKindError, match=other.config_class.model_type):
                    model.from_pretrained(folder)


def test_a_pickle_is_not_run(vocoder, tmp_path):
    (vocoder / "model.safetensors").unlink()
    made = tmp_path / "made"
    (vocoder / "pytorch_model.bin").write_bytes(pickle.dumps({"conv_pre.bias": Hostile(made)}))
    with pytest.raises(NotLoadedError, match="a pickle that holds more than tensors"):
        UnitVocoderModel.from_pretrained(vocoder)
    torch.save({"conv_pre.bias": Hostile(made)}, vocoder / "pytorch_model.bin")
    with pytest.raises(NotLoadedError, match="a pickle that holds more than tensors"):
        UnitVocoderModel.from_pretrained(vocoder)
    assert not made.exists()


def test_code_that_a_configuration_names_is_not_run(vocoder, tmp_path):
    made = tmp_path / "made"
    (vocoder / "evil.py").write_text(f"import os\nos.mkdir({str(made)!r})\nclass Model: pass\n")
    config = json.loads((vocoder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Model", "AutoModel": "evil.Model"}
    (vocoder / "config.json").write_text(json.dumps(config))
    assert type(UnitVocoderModel.from_pretrained(vocoder)) is UnitVocoderModel
    assert type(AutoModel.from_pretrained(vocoder)) is UnitVocoderModel
    assert not made.exists()


def test_who_wants_new_weights_where_none_fit_says_so(vocoder):
    damage(vocoder, "of another shape")
    model = UnitVocoderModel.from_pretrained(vocoder, ignore_mismatched_sizes=True)
    assert type(model) is UnitVocoderModel
    damage(vocoder, "one missing")
    model, report = UnitVocoderModel.from_pretrained(vocoder, output_loading_info=True)
    assert len(report["missing_keys"]) == 1


def test_a_model_is_found_by_the_name_of_the_argument_too(folders):
    folder = folders[UnitVocoderModel]
    assert type(UnitVocoderModel.from_pretrained(pretrained_model_name_or_path=folder)) is UnitVocoderModel
    config = UnitVocoderConfig.from_pretrained(pretrained_model_name_or_path=folder)
    state = load_file(folder / "model.safetensors")
    model = UnitVocoderModel.from_pretrained(None, config=config, state_dict=state)
    assert torch.equal(model.conv_pre.bias, state["conv_pre.bias"])


def test_a_folder_without_the_feature_extractors_file_is_told_what_to_do(folders):
    with pytest.raises(NotLoadedError, match="preprocessor_config.json: save one"):
        Lip2SpeechFeatureExtractor.from_pretrained(folders[Lip2SpeechModel])


@pytest.mark.parametrize("name", ["", "./nowhere/at/all", "a file"])
def test_what_is_no_folder_is_said_so(folders, name):
    name = folders[UnitVocoderModel] / "model.safetensors" if name == "a file" else name
    for public in (*MODELS, UnitVocoderConfig, Lip2SpeechFeatureExtractor):
        with pytest.raises(NotLoadedError, match="is a file|not a local folder"):
            public.from_pretrained(name)


def test_every_public_class_that_is_loaded_is_looked_at_here():
    loaded = {name for name in hf_lip2speech.__all__ if name.endswith(("Model", "Encoder", "WithVocoder"))}
    assert loaded | {"SpeechUnitExtractor"} == {model.__name__ for model in MODELS}
