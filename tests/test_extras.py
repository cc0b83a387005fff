"""What is said where an extra is not installed."""

import json
from pathlib import Path

import pytest

from hf_lip2speech import extras
from hf_lip2speech.errors import MissingExtraError
from hf_lip2speech.extras import require_extra, requirement


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.figure"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(module):
    with pytest.raises(
        MissingExtraError, match=r'^no_such_library is not installed.*pip install ".*\[plot\]"'
    ):
        require_extra(module, "plot")


def test_what_an_installed_library_lacks_is_said_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="^No module named 'no_such_library'"):
        require_extra("broken_library", "plot")


def test_in_a_clone_the_advice_is_to_install_the_clone(monkeypatch, tmp_path):
    clone = Path(__file__).parents[1]
    monkeypatch.chdir(clone)
    assert requirement("train") == ".[train]"
    monkeypatch.chdir(tmp_path)
    assert requirement("train") == f"{clone}[train]"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "hf-lip2speech[train]"),
        ({"url": "file:///nowhere/clone", "dir_info": {}}, ".[train]"),
        ({"url": "file://{here}", "dir_info": {}}, "{here}[train]"),
        (
            {"url": "https://host/x.git", "vcs_info": {"vcs": "git"}},
            "hf-lip2speech[train] @ git+https://host/x.git",
        ),
    ],
    ids=["an index", "a clone that is gone", "a clone", "a repository"],
)
def test_elsewhere_the_advice_is_what_the_package_was_installed_from(monkeypatch, tmp_path, origin, expected):
    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return origin and json.dumps(origin).replace("{here}", str(tmp_path))

    monkeypatch.setattr(extras, "__file__", str(tmp_path / "site" / "hf_lip2speech" / "extras.py"))
    monkeypatch.setattr(extras, "distribution", lambda name: Distribution())
    assert requirement("train") == expected.format(here=tmp_path)
