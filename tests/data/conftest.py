"""A small corpus of made-up clips, prepared without face or voice models, so that hundreds of runs take
seconds."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from hf_lip2speech.data import clip_files
from hf_lip2speech.data.corpora import Clip
from hf_lip2speech.data.layout import Journal
from hf_lip2speech.data.prepare import prepare
from hf_lip2speech.media.audio import read_audio, write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.media.video import iter_frames, write_video
from hf_lip2speech.video.mouth import MouthClip

from ..fake_corpora import FakeCorpus, Talk, made_talks, make_lrs3


def make_clip(folder: Path, clip_id: str, frames: int = 10, samples: int | None = None, **fields) -> Clip:
    """A clip of a drifting pattern and noise; `samples` of sound (0: none at all), by default 640 a frame."""
    seed = sum(map(ord, clip_id))
    random = np.random.default_rng(seed)
    video, audio = folder / f"{clip_id}.mp4", folder / f"{clip_id}.wav"
    video.parent.mkdir(parents=True, exist_ok=True)
    pattern = np.kron(random.integers(0, 256, (12, 12)), np.ones((8, 8))).astype(np.uint8)
    write_video(video, np.stack([np.roll(pattern, 2 * index, axis=1) for index in range(frames)]))
    samples = 640 * frames if samples is None else samples
    if samples:
        write_audio(audio, random.uniform(-0.5, 0.5, samples).astype(np.float32))
    defaults = {"speaker": clip_id.split("/")[0], "split": "train", "text": "a b"}
    return Clip(clip_id, video, audio if samples else None, **(defaults | fields))


def write_talking_video(path: Path, frames: int = 10, *, silent: bool = False) -> None:
    """A clip as a user has it: one file of a drifting pattern, with noise for sound."""
    clip = make_clip(path.parent / ".parts", path.stem, frames)
    if silent:
        shutil.copy(clip.video, path)
    else:
        mux_speech(clip.video, read_audio(clip.audio), path)


class ListCorpus(list):
    name = "made up"


class OneVoice:
    def embed(self, waveform: np.ndarray) -> np.ndarray:
        return np.full(256, 1 / 16, dtype=np.float32)


@pytest.fixture
def cropped(monkeypatch) -> list[Path]:
    """Stand-ins for the models of faces and voices; the list that is returned names the videos worked on."""
    worked_on: list[Path] = []

    def mouth(source: Path, *, detector: object, face: object) -> MouthClip:
        worked_on.append(source)
        crops = np.stack([frame[-96:, :96, 0] for frame in iter_frames(source)])
        return MouthClip(crops, np.ones(len(crops), dtype=bool))

    monkeypatch.setattr(clip_files, "read_mouth", mouth)
    monkeypatch.setattr(clip_files, "MeshLandmarkDetector", lambda: None)
    monkeypatch.setattr(clip_files.SpeakerEncoder, "bundled", OneVoice)
    return worked_on


@pytest.fixture
def before_crops(cropped, monkeypatch) -> Callable[[Callable[[Path], None]], None]:
    """`before_crops(action)`: `action(video)` is called before each clip's crops are made, and may raise."""
    good = clip_files.read_mouth

    def replace(action: Callable[[Path], None]) -> None:
        def mouth(source: Path, *, detector: object, face: object) -> MouthClip:
            action(source)
            return good(source, detector=detector, face=face)

        monkeypatch.setattr(clip_files, "read_mouth", mouth)

    return replace


@pytest.fixture
def clip_maker(tmp_path) -> Callable[..., Clip]:
    return lambda *args, **kwargs: make_clip(tmp_path / "corpus", *args, **kwargs)


@pytest.fixture
def corpus(clip_maker) -> ListCorpus:
    """Three clips of two speakers, 10, 11 and 12 frames."""
    splits = ("train", "val", "train")
    ids = ("anna/one", "anna/two", "ben/one")
    return ListCorpus(
        clip_maker(name, frames=10 + index, split=split)
        for index, (name, split) in enumerate(zip(ids, splits, strict=True))
    )


@pytest.fixture
def larger(corpus, clip_maker) -> ListCorpus:
    """Nine clips, two of them unusable, in no order."""
    corpus += [clip_maker(f"carl/{n}", frames=9 + n, split="train" if n % 2 else "val") for n in (4, 1, 3, 2)]
    corpus += [clip_maker("dora/silent", samples=0), clip_maker("dora/short", frames=20, samples=640 * 3)]
    return corpus


@pytest.fixture
def run(units) -> Callable[..., dict]:
    """`prepare` without progress bars, by default with the units of the fixture."""
    return lambda corpus, out, **arguments: prepare(
        corpus, out, progress=False, **({"unit_extractor": units} | arguments)
    )


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def records(out: Path) -> list[dict]:
    """The lines of a prepared folder's journal."""
    return list(Journal(out / ".prepare" / "journal").read())


def manifest(out: Path) -> list[dict]:
    return pyarrow.parquet.read_table(out / "manifest.parquet").to_pylist()


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a folder but the notes on the work."""
    files = [path for path in out.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="session")
def talks(tmp_path_factory) -> list[Talk]:
    """What the fake corpora of tests/fake_corpora.py are made of."""
    return made_talks(tmp_path_factory.mktemp("talks"))


@pytest.fixture(scope="session")
def lrs3(talks, tmp_path_factory) -> FakeCorpus:
    return make_lrs3(tmp_path_factory.mktemp("fake") / "lrs3", talks)
