"""`evaluate.load` of every metric as a configuration of one module, offline, against the pure function."""

import sys
from dataclasses import asdict

import numpy as np
import pytest

pytest.importorskip("evaluate")

import evaluate

from hf_lip2speech.errors import Lip2SpeechError, MetricError
from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.metrics import EVALUATE_METRICS, EVALUATE_MODULE

from ..media.voices import babble
from .material import add_noise


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """One for all tests: Python finds a package of modules only where it first was, even in another test."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(str(folder / "modules"))
        patch.setattr("evaluate.config.HF_METRICS_CACHE", str(folder / "metrics"))
        patch.setattr("evaluate.config.HF_MODULES_CACHE", str(folder / "modules"))
        yield


@pytest.fixture(scope="module")
def clips() -> tuple[list[np.ndarray], list[np.ndarray]]:
    truths = [babble(1.2, seed=seed) for seed in range(2)]
    return truths, [add_noise(truths[0], 10), add_noise(truths[1], 0)]


def compute(name: str, predictions, references=None, **options) -> dict:
    given = {"predictions": predictions} | ({} if references is None else {"references": references})
    return evaluate.load(EVALUATE_MODULE, name).compute(**given, **options)


def test_every_metric_loads_under_its_name_with_its_docstring():
    functions = {name for name in metrics.__all__ if name.islower()}
    assert set(EVALUATE_METRICS) == functions - {
        "delay",
        "embedding_similarity",
        "word_errors",
        "character_errors",
    }
    for name in EVALUATE_METRICS:
        assert evaluate.load(EVALUATE_MODULE, name).config_name == name
    assert "Taal" in evaluate.load(EVALUATE_MODULE, "stoi").description


@pytest.mark.parametrize(
    "name", ["stoi", "estoi", "pesq_wb", "pesq_nb", "log_spectral_distance", "mel_cepstral_distortion"]
)
def test_a_metric_of_signals_is_the_mean_of_the_pure_function(name, clips):
    truths, given = clips
    expected = [getattr(metrics, name)(truth, speech) for truth, speech in zip(truths, given, strict=True)]
    result = compute(name, given, truths)
    assert result["per_clip"] == pytest.approx(expected)
    assert result[name] == pytest.approx(np.mean(expected)) and result["undefined"] == 0


def test_clips_that_a_metric_is_not_defined_on_are_counted(clips):
    truths, given = clips
    result = compute("pesq_wb", [given[0], np.zeros(16_000, np.float32)], truths)
    assert result["undefined"] == 1 and result["per_clip"][1] is None
    assert result["pesq_wb"] == result["per_clip"][0]


def test_further_arguments_go_to_the_function(clips):
    truths, given = clips
    result = compute("mel_cepstral_distortion", given[:1], truths[:1], dtw=True)
    expected = metrics.mel_cepstral_distortion(truths[0], given[0], dtw=True)
    assert result["per_clip"] == pytest.approx([expected])


def test_a_metric_of_several_numbers_gives_the_mean_of_each(clips):
    pytest.importorskip("parselmouth")
    truths, given = clips
    expected = [asdict(metrics.f0_errors(truth, speech)) for truth, speech in zip(truths, given, strict=True)]
    result = compute("f0_errors", given, truths)
    assert result["frame"] == pytest.approx(np.mean([errors["frame"] for errors in expected]))
    assert [clip["voicing"] for clip in result["per_clip"]] == [errors["voicing"] for errors in expected]


@pytest.mark.parametrize("name", ["wer", "cer", "unit_accuracy", "unit_error_rate"])
def test_an_error_rate_is_the_pure_function_over_all_clips(name):
    sentences = ["bin blue", "a b c d"], ["bin glue", "a b c d"]
    references, predictions = ([[1, 1, 2], [3, 4]], [[1, 2, 2], [3, 5]]) if "unit" in name else sentences
    assert compute(name, predictions, references) == {name: getattr(metrics, name)(references, predictions)}


def test_speaker_similarity_uses_the_bundled_encoder(clips):
    truths, _ = clips
    result = compute("speaker_similarity", truths, truths)
    assert result["undefined"] + round(sum(score for score in result["per_clip"] if score)) == 2


def test_dnsmos_takes_no_reference():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos")
    speech = babble(2.5)
    assert compute("dnsmos", [speech])["overall"] == metrics.dnsmos(speech).overall


def test_lip_sync_says_that_it_needs_syncnets_weights():
    with pytest.raises(Lip2SpeechError, match="syncnet_v2.model"):
        compute("lip_sync", [babble(1.0)], ["clip.mp4"], syncnet="nowhere")


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(MetricError, match="'mos'.*stoi"):
        evaluate.load(EVALUATE_MODULE, "mos")
