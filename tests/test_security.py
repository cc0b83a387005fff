"""No file that somebody else wrote is run: what the code calls, and attacks on what loads files.

Attacks on models, published checkpoints and settings are in tests/bad_inputs and tests/conversion.
"""

import ast
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_lip2speech.data.layout import READERS
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.errors import Lip2SpeechError
from hf_lip2speech.evaluation.lip_sync import SyncNet
from hf_lip2speech.training.predictions import StoredPredictions

from .hostile import Hostile
from .training.prepared_folder import write_prepared_folder

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for name in ("src", "scripts", "examples", "model_cards") for path in (ROOT / name).rglob("*.py")
]
FORBIDDEN = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cPickle.load", "dill.load", "dill.loads"),
    *("joblib.load", "marshal.load", "marshal.loads", "shelve.open", "cloudpickle.load", "cloudpickle.loads"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle"),
    *("os.system", "os.popen", "eval", "exec", "compile", "builtins.eval", "builtins.exec"),
    *("torch.hub.load", "torch.package.PackageImporter", "runpy.run_path"),
}


def unsafe(code: str) -> Iterator[str]:
    """The calls in Python code that could run what they read."""
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {word.arg: getattr(word.value, "value", "?") for word in call.keywords}
        if (
            name in FORBIDDEN
            or (name in ("torch.load", "torch.jit.load") and given.get("weights_only") is not True)
            or given.get("trust_remote_code", False) is not False
            or given.get("allow_pickle", False) is not False
            or given.get("shell", False) is not False
        ):
            yield f"line {call.lineno}: {ast.unparse(call)}"


def test_nothing_that_is_read_can_run():
    assert len(SOURCES) > 150
    assert {str(path): found for path in SOURCES if (found := [*unsafe(path.read_text("utf-8"))])} == {}


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "pickle.load(file)",
        "pickle.Unpickler(file).load()",
        "yaml.load(text, yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=trust)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(code):
    assert [*unsafe(f"def f():\n    return {code}")] and not [
        *unsafe("torch.load(path, weights_only=True)\nm.eval()")
    ]


@pytest.fixture
def made(tmp_path):
    """What a hostile file would make."""
    yield tmp_path / "made"
    assert not (tmp_path / "made").exists(), "foreign code was run"


def hostile_array(made: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Hostile(made)] * 3, dtype=object), allow_pickle=True)
    return file.getvalue()


def test_the_attacks_would_work_on_a_loader_that_trusts(tmp_path):
    np.load(io.BytesIO(hostile_array(tmp_path / "by numpy")), allow_pickle=True)
    torch.save(Hostile(tmp_path / "by torch"), tmp_path / "file")
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "by numpy").is_dir() and (tmp_path / "by torch").is_dir()


@pytest.mark.parametrize("part", ["mel", "units", "speaker"])
def test_an_array_of_a_prepared_folder_that_is_a_pickle_is_refused(part, made, tmp_path):
    folder = write_prepared_folder(tmp_path / "prepared", train=1, val=1)
    (folder / part / "s1/clip0.npy").write_bytes(hostile_array(made))
    with pytest.raises(Lip2SpeechError, match="clip0 in .* is damaged"):
        PreparedDataset(folder, "train")[0]


def test_so_is_one_that_is_streamed_from_the_hub(made):
    for name in ("mel", "unit_ids", "speaker_embeddings"):
        with pytest.raises(ValueError, match="allow_pickle"):
            READERS[name][1](io.BytesIO(hostile_array(made)))


def test_so_is_a_stored_prediction(made, tmp_path):
    np.savez(tmp_path / "0000000.npz", mel=np.array([Hostile(made)], dtype=object), allow_pickle=True)
    with pytest.raises(Lip2SpeechError, match="missing or damaged"):
        StoredPredictions(tmp_path, 1)[0]


def test_so_are_weights_for_lip_sync(made, tmp_path):
    torch.save({"a": torch.zeros(1), "b": Hostile(made)}, tmp_path / "syncnet_v2.model")
    with pytest.raises(Lip2SpeechError, match="does not hold SyncNet's weights"):
        SyncNet.from_file(tmp_path / "syncnet_v2.model")
