"""Optional dependencies: where one is missing, an error that names the extra which installs it.

Beside the package hf_lip2speech, whose import takes seconds, so that a command tells at once what it lacks.
"""

import importlib
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.request import url2pathname

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
Modules = dict[str, tuple[str, ...]]  # by the extra that brings them
# What a command needs whatever its options are, asked before the long work.
PAGE: Modules = {"demo": ("gradio", "matplotlib")}
DRAWING: Modules = {"render": ("cv2",)}
NEEDED: dict[str, Modules] = {
    "demo": PAGE,
    "evaluate": {"eval": ("accelerate", "jiwer", "matplotlib", "pesq", "pyarrow", "pystoi")},
    "export": {"onnx": ("onnx", "onnxscript", "onnxruntime")},
    "personalise": {
        "train": ("accelerate", "omegaconf", "pyarrow", "tensorboard"),
        "eval": ("jiwer", "matplotlib", "pesq", "pystoi"),
        "pitch": ("parselmouth",),
    },
    "prepare": {"train": ("PIL", "pyarrow")},
    "record": PAGE,
    "reface": DRAWING | {"train": ("pyarrow",)},
    "render": DRAWING,
}


class MissingExtraError(ImportError):
    """A package is not installed that comes with one of this package's extras."""


def require_installed(*modules: str) -> None:
    """Raise a MissingExtraError where one of the modules is not installed; none is imported."""
    _refuse({EXTRAS[module]: module for module in modules if find_spec(module) is None})


def require_needed(command: str) -> None:
    """Raise a MissingExtraError where a command lacks what it needs whatever its options are."""
    needed = NEEDED.get(command, {}).items()
    _refuse({extra: module for extra, modules in needed for module in modules if find_spec(module) is None})


def _refuse(missing: dict[str, str]) -> None:
    """Raise the error for the extras that are missing, each with one of its modules."""
    if missing:
        raise MissingExtraError(advice(" and ".join(missing.values()), ",".join(missing)))


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
    return advice(module, extra or EXTRAS[module])


def advice(modules: str, extras: str) -> str:
    """What to install for a module that an extra brings, or for several; extras are parted by commas."""
    one, several = "is not installed. It comes with the extra", "are not installed. They come with the extras"
    said = several if "," in extras else one
    return f'{modules} {said} "{extras}": pip install "{requirement(extras)}"'


def requirement(extra: str) -> str:
    """What `pip install` takes for this package with an extra, or several parted by commas: from its clone,
    from where it was installed from, or by its name."""
    clone = Path(__file__).resolve().parents[1]
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
