"""What is said where an extra is not installed."""

import pytest

from hf_lip2speech.extras import require_extra


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.figure"])
def test_a_missing_library_is_named_with_the_extra_that_brings_it(module):
    with pytest.raises(ImportError, match=r"^no_such_library is not installed.*hf-lip2speech\[plot\]"):
        require_extra(module, "plot")


def test_what_an_installed_library_lacks_is_said_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="^No module named 'no_such_library'"):
        require_extra("broken_library", "plot")
