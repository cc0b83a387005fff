"""One small evaluation, run once for the tests that look at what it left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_lip2speech.evaluation import measures, results, run
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.systems import Systems
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.pipeline import LipToSpeechPipeline

from ..tiny_model import tiny_model
from .small_set import HearsLoudness, write_prepared


@pytest.fixture(scope="session")
def prepared_set(tmp_path_factory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def untrained() -> LipToSpeechPipeline:
    return LipToSpeechPipeline(tiny_model(), Lip2SpeechFeatureExtractor())


@pytest.fixture(scope="session")
def make_systems(prepared_set, untrained) -> Callable[..., Systems]:
    """Systems over the small set; keyword arguments as theirs, and `limit`."""

    def make(limit: int | None = None, **options) -> Systems:
        return Systems(untrained, open_evaluation_set(prepared_set, limit=limit), **options)

    return make


@pytest.fixture(scope="package")
def few_measures():
    """Without those that take longer than all the rest together."""
    with pytest.MonkeyPatch.context() as patch:
        kept = tuple(measure for measure in measures.MEASURES if measure.key not in ("dnsmos", "pesq_nb"))
        for module in (run, results):
            patch.setattr(module, "MEASURES", kept)
        yield kept


@pytest.fixture(scope="package")
def evaluated(make_systems, few_measures, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of an evaluation, and what it returned."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    facts = {"model": "some/model", "command": ["hf-lip2speech", "evaluate"], "hub_dataset": "owner/babble"}
    return out, run.evaluate(make_systems(), out, recogniser=HearsLoudness(), facts=facts, progress=False)
