"""Fixtures shared by all tests: where real data lies, if it does."""

import importlib.util
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

from hf_lip2speech.models.configuration_speech_units import SpeechUnitExtractorConfig
from hf_lip2speech.models.modeling_speech_units import SpeechUnitExtractor

from .hub_server import HubServer
from .small_disk import SmallDisk

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def load_script(path: str) -> ModuleType:
    """A file of this repository as a module."""
    name = f"script_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(
            f"{path.name} is not beside this checkout: the test needs real data that may not be committed"
        )
    return path


@pytest.fixture(scope="session")
def grid_dir() -> Path:
    """GRID speaker s1 (s1/*.mp4, audio_16k, alignments, splits, original)."""
    return _folder(SHARED / "data" / "grid")


@pytest.fixture(scope="session")
def lrs3_sample_dir() -> Path:
    """Ten LRS3 clips in the published layout (label, video, audio, mel, spk_emb)."""
    return _folder(SHARED / "data" / "lrs3_official_sample")


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Outputs of the published code for deterministic weights."""
    return _folder(SHARED / "reference")


@pytest.fixture
def hub(tmp_path: Path) -> Generator[HubServer]:
    """A Hub of its own for each test, without repositories."""
    with HubServer(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def disk(tmp_path: Path) -> Generator[SmallDisk]:
    """A file system of 16 MB, to be filled or made read-only."""
    small = SmallDisk(tmp_path / "disk")
    yield small
    small.end()


@pytest.fixture(scope="session")
def units() -> SpeechUnitExtractor:
    """An extractor of ten units, fitted on noise."""
    random = np.random.default_rng(0)
    extractor = SpeechUnitExtractor(SpeechUnitExtractorConfig(features="mfcc", num_units=10)).eval()
    return extractor.fit([random.uniform(-0.5, 0.5, 16_000).astype(np.float32)], seed=0)
