"""A training that ends by an error ends at once, whatever its loading processes are doing."""

import subprocess
import sys

import pytest

from .conftest import launch

PROGRAM = """
import sys, time
from hf_lip2speech.training.common import loader

class Clips:
    def __len__(self):
        return 100
    def __getitem__(self, index):
        if index > 2:
            time.sleep({seconds})
        return index

batches = iter(loader(Clips(), list, 2, batch_size=1, persistent_workers=True))
next(batches)
print("first batch", flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "seconds"),
    [("raise RuntimeError('a bug')", 3600), ("sys.exit(1)", 0)],
    ids=["an error, beside reads that never return", "an exit, beside workers at work"],
)
def test_an_error_beside_living_workers_ends_the_process(end, seconds, tmp_path):
    path, log = tmp_path / "program.py", tmp_path / "log"
    path.write_text(PROGRAM.format(end=end, seconds=seconds))
    process = launch([sys.executable, str(path)], log)
    try:
        assert process.wait(timeout=240) == 1, log.read_text()
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"It hangs: {log.read_text()}")
    assert "first batch" in log.read_text() and ("a bug" in log.read_text()) == ("bug" in end)
