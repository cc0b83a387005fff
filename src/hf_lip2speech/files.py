"""Atomic writing: a file or folder appears under its name only when it is complete."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from .errors import Lip2SpeechError, OutputError

UNWRITABLE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EIO),
}


@contextmanager
def named_output(path: str | os.PathLike[str]) -> Generator[None]:
    """Errors of writing, raised inside the block, name `path` and not a temporary file.

    Raises:
        OutputError: the disk is full, the folder is read-only, or the name is not allowed.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, Lip2SpeechError | OutputError):
            raise
        number = getattr(error, "errno", None) or _number_in(error)
        if number not in UNWRITABLE and ".partial" not in str(getattr(error, "filename", "")):
            raise
        reason = os.strerror(number or 0)
        message = (
            f"{os.fspath(path)!r} cannot be written: {reason}. Make room, or choose another folder or name."
        )
        raise OutputError(number, message) from error


def _number_in(error: BaseException) -> int | None:
    """The system's error number, which safetensors tells in words. torch and NumPy only say that not all was
    written: there was no room."""
    if isinstance(error, SafetensorError) and (match := re.search(r"os error (\d+)", str(error))):
        return int(match[1])
    cut = "PytorchStreamWriter failed|inline_container|iostream error|\\d+ requested and \\d+ written"
    return errno.ENOSPC if re.search(cut, str(error)) else None


@contextmanager
def atomic_file(
    path: str | os.PathLike[str], staging: str | os.PathLike[str] | None = None
) -> Generator[Path]:
    """A path to write to, which becomes `path` when the block succeeds and is removed when it fails.

    An older file of that name is replaced; missing parent folders are created. The unfinished file (or
    folder) has the suffix of `path` and a name that nobody else uses, in the folder `staging`, on the same
    file system; default: beside `path`.

    Raises:
        OutputError: the disk is full, the folder is read-only, or the name is not allowed.
    """
    path = Path(path)
    folder = path.parent if staging is None else Path(staging)
    with named_output(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / f".{uuid4().hex[:16]}.partial{path.suffix}"
        try:
            yield unfinished
            os.replace(unfinished, path)
        finally:
            if unfinished.is_dir():
                shutil.rmtree(unfinished, ignore_errors=True)
            else:
                unfinished.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file (UTF-8) atomically."""
    with atomic_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any, indent: int = 2) -> None:
    """Write a JSON file (UTF-8, numbers finite) atomically."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


@contextmanager
def new_folder(path: str | Path) -> Generator[Path]:
    """A folder to write into, which becomes `path` when the block ends well and vanishes when it fails.

    Raises:
        Lip2SpeechError: `path` exists.
    """
    path = Path(path)
    if path.exists() or path.is_symlink():  # a link to nowhere is something, too
        raise Lip2SpeechError(f"{path} exists already: name a folder that does not, or remove it.")
    with named_output(path):
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
