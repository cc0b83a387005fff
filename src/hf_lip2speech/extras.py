"""Imports of what the extras hold, with an error that names the extra."""

import importlib
from types import ModuleType


def require_extra(module: str, extra: str) -> ModuleType:
    """The module, imported; where it is not installed, an ImportError that says which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if not f"{module}.".startswith(f"{missing}."):
            raise  # the module is there, something that it needs is not: say that, not this
        raise ImportError(
            f"{missing} is not installed. It comes with an extra: pip install 'hf-lip2speech[{extra}]'"
        ) from error
