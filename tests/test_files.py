"""files.py: atomic writing."""

import pytest

from hf_lip2speech.files import atomic_file, write_text


def test_a_file_is_replaced_when_the_block_succeeds_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "note.txt"
    write_text(path, "first")
    write_text(path, "second")
    assert path.read_text() == "second" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, folder):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path, tmp_path / "staging") as unfinished:
        assert unfinished.suffix == ".txt" and unfinished.parent == tmp_path / "staging"
        if folder:
            unfinished.mkdir()
            (unfinished / "part").write_text("half")
        else:
            unfinished.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and not list((tmp_path / "staging").iterdir())


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "note.txt"
    with atomic_file(path) as one, atomic_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # left last


def test_a_name_as_long_as_the_file_system_allows_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    write_text(path, "text")
    assert path.read_text() == "text"
