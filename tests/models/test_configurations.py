"""Configurations: folders that older versions saved, and fields that are read."""

import json
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModel

import hf_lip2speech
from hf_lip2speech import Lip2SpeechConfig, Lip2SpeechWithVocoder, SpeakerEncoder, UnitVocoderConfig
from hf_lip2speech.registration import MODELS

from ..tiny_model import tiny_model

FORMER = {
    "lip2speech_unit_vocoder": "unit_vocoder",
    "lip2speech_speaker_encoder": "speaker_encoder",
    "lip2speech_unit_extractor": "speech_unit_extractor",
}


def as_saved_before(model, folder) -> None:
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part.get("model_type") == "lip2speech_unit_vocoder":
            part["sampling_rate"] = 16_000
        if part.get("model_type") == "lip2speech":
            part["label_lag"] = part.pop("max_av_offset")
        if part.get("model_type") in FORMER:
            part["model_type"] = FORMER[part["model_type"]]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("part", ["vocoder", "speaker_encoder", "units", "composite"])
def test_a_folder_with_a_former_type_loads_by_its_class_and_by_the_auto_classes(
    tmp_path, part, units, caplog
):
    composite = tiny_model()
    composite.config.lip2speech.max_av_offset = 2
    models = {"composite": composite, "vocoder": composite.vocoder, "units": units}
    model = models[part] if part in models else SpeakerEncoder.bundled()
    as_saved_before(model, tmp_path)
    assert "lip2speech_unit" not in (tmp_path / "config.json").read_text()
    for loaded in (type(model).from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)):
        assert type(loaded) is type(model)
        assert loaded.config.model_type == model.config.model_type
        state = model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())
    config = AutoConfig.from_pretrained(tmp_path).to_dict()
    assert config == model.config.to_dict() | {"_name_or_path": str(tmp_path)}
    if part == "composite":
        vocoder = type(composite.vocoder).from_pretrained(tmp_path)
        assert vocoder.config.model_type == "lip2speech_unit_vocoder"
    assert "of type" not in caplog.text
    loaded.save_pretrained(tmp_path / "again")
    again = (tmp_path / "again" / "config.json").read_text()
    assert not any(f'"{former}"' in again for former in FORMER.values())
    assert "sampling_rate" not in again and "label_lag" not in again


def test_a_sampling_rate_that_the_vocoder_does_not_have_is_refused():
    assert not hasattr(UnitVocoderConfig(sampling_rate=16_000), "sampling_rate")
    with pytest.raises(ValueError, match="sampling_rate is 24000"):
        UnitVocoderConfig(sampling_rate=24_000)


def test_the_former_name_of_the_largest_offset_is_read():
    config = Lip2SpeechConfig.from_dict({"model_type": "lip2speech", "label_lag": 3})
    assert config.max_av_offset == 3 and "label_lag" not in config.to_dict()
    assert Lip2SpeechWithVocoder.from_pretrained("bundled").config.lip2speech.max_av_offset == 3


@pytest.mark.parametrize("config_class", [model.config_class for model in MODELS])
def test_every_field_of_a_config_is_read(config_class):
    package = Path(hf_lip2speech.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py") if "configuration_" not in path.name)
    part = r"config\.(?:lip2speech\.|vocoder\.|encoder\.)?"
    fields = list(config_class.__dict__["__annotations__"])
    assert [name for name in fields if not re.search(rf"{part}{name}\b", code)] == []
