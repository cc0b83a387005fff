from pathlib import Path

import pytest

from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.synthetic import RenderedTalker

from ..fake_corpora import RENDERED


@pytest.fixture(scope="session")
def prepared(units, tmp_path_factory) -> Path:
    """The rendered clips of the tests, prepared."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(RenderedTalker(RENDERED), out, unit_extractor=units, progress=False)
    return out
