"""One small evaluation, run once for the tests that look at its output."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_lip2speech.evaluation import measures, results, run
from hf_lip2speech.evaluation.clips import open_evaluation_set
from hf_lip2speech.evaluation.systems import RowSpeaker
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
def make_systems(prepared_set, untrained) -> Callable[..., RowSpeaker]:
    """The rows of the small set; keyword arguments as of RowSpeaker, and `limit`."""

    def make(limit: int | None = None, **options) -> RowSpeaker:
        return RowSpeaker(untrained, open_evaluation_set(prepared_set, limit=limit), **options)

    return make


def _only(patch: pytest.MonkeyPatch, *keys: str) -> None:
    kept = tuple(measure for measure in measures.MEASURES if measure.key in keys)
    for module in (run, results):
        patch.setattr(module, "MEASURES", kept)


@pytest.fixture
def quick_measures(monkeypatch) -> None:
    """Only measures that cost nothing, for tests of everything but the numbers."""
    _only(monkeypatch, "wer", "estoi", "unit_accuracy", "lse_d", "lse_c", "lse_offset")


@pytest.fixture(scope="package")
def evaluated(make_systems, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of an evaluation with all but the slowest measures, and what it returned."""
    out = tmp_path_factory.mktemp("evaluation") / "out"
    facts = {"model": "some/model", "command": ["hf-lip2speech", "evaluate"], "hub_dataset": "owner/babble"}
    with pytest.MonkeyPatch.context() as patch:
        _only(patch, *({measure.key for measure in measures.MEASURES} - {"dnsmos", "pesq_nb"}))
        results = run.evaluate(make_systems(), out, recogniser=HearsLoudness(), facts=facts, progress=False)
    return out, results
