"""Small checkpoints of all kinds, and a Hub on which they are published."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hf_lip2speech import SpeechUnitExtractor
from hf_lip2speech.evaluation.results import summarise
from hf_lip2speech.files import write_text
from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig

from ..hub_server import HubServer
from ..tiny_model import save_model, tiny_model

FACTS = """
title: Small
license: cc-by-nc-4.0
license_reason: It was drawn at random from data of that licence.
language: [en]
data: [Numbers drawn at random.]
recipe: [Nothing was trained.]
limits: [It says nothing.]
"""
PUBLISH = """
import hf_lip2speech_cli
from huggingface_hub import HfApi
publish = lambda *arguments: hf_lip2speech_cli.main(["publish", *map(str, arguments)])
codes = [
    publish("{folder}/whole", "anna/whole", "--private", "--evaluation", "{folder}/evaluation"),
    publish("{folder}/lip2speech", "anna/lip2speech"),
    publish("{folder}/vocoder", "anna/vocoder"),
    publish("{folder}/whole/unit_extractor", "anna/units"),
]
HfApi().create_tag("anna/whole", tag="v1")
codes.append(publish("{folder}/changed", "anna/whole", "--facts", "{folder}/whole/card.yaml"))
codes.append(publish("{folder}/changed", "anna/other", "--evaluation", "{folder}/evaluation"))
HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="anna/other")
codes.append(publish("{folder}/vocoder", "anna/other"))
print(codes)
"""


class Published(NamedTuple):
    hub: HubServer
    folder: Path  # of the checkpoints: whole (its default voice is ann), changed (bob), lip2speech, vocoder
    printed: list[str]


def unit_extractor() -> SpeechUnitExtractor:
    extractor = SpeechUnitExtractor(SpeechUnitExtractorConfig(features="mfcc", num_units=20, fitted=True))
    extractor.centroids.copy_(extractor.centroids.new_tensor(np.random.default_rng(0).normal(size=(20, 39))))
    return extractor


def some_results() -> dict:
    """What an evaluation of two clips would have written."""

    def row(words: int, stoi: float) -> dict:
        numbers = {"word_errors": words, "words": 6, "stoi": stoi, "estoi": stoi}
        return {"voice": "ann", "against": "", "text": "", "heard": "", "sound": "", "numbers": numbers}

    clips = [
        {
            "id": name,
            "speaker": "a",
            "seconds": 3.0,
            "rows": {"ground_truth": row(0, 1.0), "end_to_end": row(2, stoi)},
        }
        for name, stoi in (("one", 0.5), ("two", 0.6))
    ]
    listener = {
        "name": "pocketsphinx 5.1.1, GRID grammar",
        "weights": None,
        "text_normalisation": "lower case",
    }
    facts = {"dataset": "Two clips", "corpus": "two", "hub_dataset": None, "split": "test", "clips": 2}
    facts |= {
        "recogniser": listener,
        "versions": {"torch": "2"},
        "vocoders_sha256": None,
        "model": "some/model",
    }
    return summarise(
        clips, ["ground_truth", "end_to_end"], facts | {"command": ["hf-lip2speech", "evaluate"]}, [], 0
    )


def write_checkpoints(folder: Path) -> None:
    model = tiny_model()
    for name, voice in (("whole", "ann"), ("changed", "bob")):
        model.config.default_voice = voice
        save_model(folder / name, model)
        unit_extractor().save_pretrained(folder / name / "unit_extractor")
    (folder / "changed" / "samples").mkdir()
    (folder / "changed" / "samples" / "mine.wav").write_bytes(b"RIFF")  # so that it speaks none
    (folder / "whole" / "card.yaml").write_text(FACTS)
    (folder / "whole" / "optimizer.bin").write_bytes(b"nothing of the public's")
    model.lip2speech.save_pretrained(folder / "lip2speech")
    model.vocoder.save_pretrained(folder / "vocoder")
    write_text(folder / "evaluation" / "results.json", json.dumps(some_results()))
    entries = folder / "evaluation" / "card" / ".eval_results"
    entries.mkdir(parents=True)
    (entries / "two_test.yaml").write_text("- dataset: {id: owner/two, task_id: wer}\n  value: 33.3\n")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoints(folder)
    return folder


@pytest.fixture(scope="session")
def published(checkpoints, tmp_path_factory):
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        printed = server.python(PUBLISH.format(folder=checkpoints)).splitlines()
        assert printed[-1] == str([0] * 7)
        yield Published(server, checkpoints, printed)
