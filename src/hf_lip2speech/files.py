"""A folder that is written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from .errors import Lip2SpeechError


@contextmanager
def new_folder(path: str | Path) -> Generator[Path]:
    """A folder to write into, which becomes `path` when the block ends well and vanishes when it fails.

    Raises:
        Lip2SpeechError: `path` exists.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():  # a link to nowhere is something, too
        raise Lip2SpeechError(f"{path} exists already: name a folder that does not, or remove it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp's folders and safetensors' files are for their maker alone
        for file in unfinished.rglob("*.safetensors"):
            file.chmod(0o644)
        os.replace(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
