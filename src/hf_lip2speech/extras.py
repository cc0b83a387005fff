"""Optional dependencies: where one is missing, an error that names the extra which installs it."""

import importlib
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from urllib.request import url2pathname

from .errors import Lip2SpeechError, MissingExtraError

PACKAGE = "hf-lip2speech"
# The extra to name for a module, where the caller of `require_extra` names none.
EXTRAS = {
    "PIL": "train",
    "accelerate": "train",
    "cv2": "render",
    "datasets": "train",
    "distillmos": "distillmos",
    "evaluate": "eval",
    "faster_whisper": "whisper",
    "gradio": "demo",
    "jiwer": "eval",
    "matplotlib": "plot",
    "onnx": "onnx",
    "onnxruntime": "naturalness",
    "onnxscript": "onnx",
    "parselmouth": "pitch",
    "pesq": "eval",
    "pocketsphinx": "eval",
    "pyarrow": "train",
    "pystoi": "eval",
    "rapidfuzz": "train",
    "ray": "ray",
    "scipy": "eval",
    "sklearn": "train",
    "sounddevice": "live",
    "speechmos": "naturalness",
    "tensorboard": "train",
}


def require_extra(module: str, extra: str | None = None) -> ModuleType:
    """Import a module, whose name may have dots; a MissingExtraError where it is not installed, which names
    the extra (default: the one in EXTRAS)."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = missing_extra(error, extra)
        if message is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, something that it needs is not
        raise MissingExtraError(message, name=error.name) from error


@contextmanager
def needs_extra(extra: str) -> Generator[None]:
    """Around a script's imports: where one is missing, the script ends with one line that names the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        message = missing_extra(error, extra)
        if message is None:
            raise
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: {message}") from error


def missing_extra(error: ModuleNotFoundError, extra: str | None = None) -> str | None:
    """What to install for a module that is missing; None where no extra brings it."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS and extra is None or module.startswith("hf_lip2speech"):
        return None
    extra = extra or EXTRAS[module]
    return f'{module} is not installed. It comes with the extra "{extra}": pip install "{requirement(extra)}"'


def message_for_user(error: Exception) -> str | None:
    """What a program tells its user in one line; None where the error is a bug, whose traceback is needed."""
    if isinstance(error, (Lip2SpeechError, MissingExtraError)):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return missing_extra(error)
    if isinstance(error, OSError) and error.errno is not None:  # the system's: no space, no permission, ...
        return str(error)
    return None


def requirement(extra: str) -> str:
    """What `pip install` takes for this package with an extra: from its clone, from where it was installed
    from, or by its name."""
    clone = Path(__file__).resolve().parents[2]
    if (clone / "pyproject.toml").is_file():
        return f"{'.' if clone == Path.cwd() else clone}[{extra}]"
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        origin = {}
    url = origin.get("url", "")
    if url.startswith("file://"):
        path = url2pathname(url.removeprefix("file://"))
        return f"{path if os.path.exists(path) else '.'}[{extra}]"  # the clone is gone: "." in another one
    if "vcs_info" in origin:
        return f"{PACKAGE}[{extra}] @ {origin['vcs_info']['vcs']}+{url}"
    return f"{PACKAGE}[{extra}]"
