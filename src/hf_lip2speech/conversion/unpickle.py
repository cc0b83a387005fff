"""Reading a PyTorch checkpoint without running anything in it.

A pickle is a program: it can name any function of any module and call it. This reader imports nothing that a
file names. Tensors, dictionaries, lists, strings and numbers become themselves; every class becomes an inert
stand-in that keeps its state and does nothing; what only a program would need is refused by name.
"""

import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from ..errors import CheckpointError, UnsafeCheckpointError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first of the pickles in a file of torch before 1.6

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_NESTING = 8  # stand-ins around a value; a hostile file can hold one inside itself
# torch writes pickles with the names of Python 2, where these modules were called otherwise. Others that were
# renamed since are not in the standard library's list and become inert stand-ins like any foreign one.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg", "commands": "subprocess"}
# Of the standard library, what describes data; all else in it can only be meant to be run.
_DATA_MODULES = {
    *("argparse", "collections", "datetime", "decimal", "enum", "fractions", "pathlib", "typing", "uuid")
}
_DATA_NAMES = {
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "long"),
        *("object", "range", "set", "slice", "str", "tuple", "type", "unicode", "xrange"),
    },
    "copyreg": {"_reconstructor"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "torch": {"device"},
}


class _NamedLikeAFunction(type):
    """The type of stand-ins for possible functions: a file may name them, but not call them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise UnsafeCheckpointError(f"{cls.__module__}.{cls.__qualname__}")


class StandIn:
    """An object of a class that is not imported: its pickled state, without its behaviour.

    Attributes:
        state: the argument for the class's `__setstate__`; None where there is none.
    """

    __slots__ = ("state",)
    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> "StandIn":
        self = super().__new__(cls)
        self.state = None
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # What pickle calls to fill subclasses of list and dict.
    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class _Function(NamedTuple):
    """What may be called. No function itself: a pickle's BUILD can change nothing on a tuple."""

    work: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.work(*args)


def _tensor(storage: torch.Tensor, offset: int, size: tuple, stride: tuple, *rest: Any) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset)  # refuses to reach outside the storage


_REBUILT: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
    ("_codecs", "encode"): lambda text, *rest: text.encode("latin1"),  # how Python 2's pickles spell bytes
}


class _Unpickler(pickle.Unpickler):
    """`pickle.Unpickler` that never imports. `storage(key, dtype, numel)` gives a storage's 1-D tensor."""

    def __init__(self, file: IO[bytes], storage: Callable[[str, torch.dtype, int], torch.Tensor]):
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._stand_ins: dict[tuple[str, str], type] = {}

    def find_class(self, module: str, name: str) -> Any:
        module = _RENAMED.get(module, module)
        if (module, name) in _REBUILT:
            return _Function(_REBUILT[module, name])
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module in ("torch", "torch.cuda") and name in _DTYPES:
            return _DTYPES[name]
        is_data = module in _DATA_MODULES or name in _DATA_NAMES.get(module, ())
        if module.split(".")[0] in sys.stdlib_module_names and not is_data:
            raise UnsafeCheckpointError(f"{module}.{name}")
        if (module, name) not in self._stand_ins:
            last = name.rpartition(".")[2].lstrip("_")
            kind = type if is_data or last[:1].isupper() else _NamedLikeAFunction
            namespace = {"__slots__": (), "__module__": module, "__qualname__": name}
            self._stand_ins[module, name] = kind(name, (StandIn,), namespace)
        return self._stand_ins[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        kind, dtype, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"unknown kind of stored object {pid!r:.80}")
        storage = self._storage(key, dtype, numel)
        if view and view[0] is not None:  # the oldest files: a part of another storage
            _, offset, length = view[0]
            return storage[offset : offset + length]
        return storage


def read_checkpoint(path: str | Path) -> Any:
    """The object that `torch.save` wrote to a file, read without importing or calling anything it names.

    Both formats are read: the zip archive of torch 1.6 and later, and the one before it. Tensors are on the
    CPU, in the containers that the file has; objects of unknown classes are `StandIn`s.

    Raises:
        UnsafeCheckpointError: the file names something that only a program would call.
        CheckpointError: it is damaged or not such a file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise CheckpointError(f"{path} is no file: expected one that torch.save wrote.")
    with path.open("rb") as file:
        try:
            return _read_archive(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        except UnsafeCheckpointError as error:
            raise UnsafeCheckpointError(
                f"{path} is refused: it asks for {error}, which runs code. Nothing in the file was run; do "
                "not open it with torch.load or pickle, and get the checkpoint from its authors."
            ) from None
        except Exception as error:  # a damaged pickle can raise whatever its parts raise
            raise CheckpointError(
                f"{path} cannot be read as a PyTorch checkpoint ({type(error).__name__}: {error}); expected "
                "a whole file that torch.save wrote. Copy or download it again."
            ) from error


def _read_archive(file: IO[bytes]) -> Any:
    """The zip format: one pickle, and one member for each storage."""
    room = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        # Members that neither shrink nor overlap: a small file cannot fill the memory.
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > room:
            raise EOFError(f"{unpacked} bytes in an archive of {room}, and torch.save compresses nothing")
        (pickled,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            _check_byte_order(archive.read(f"{root}byteorder") == b"little")
        storages: dict[str, torch.Tensor] = {}

        def storage(key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
            if key not in storages:
                storages[key] = _numbers(archive.read(f"{root}data/{key}"), dtype)
            return storages[key]

        with archive.open(pickled) as stream:
            return _Unpickler(stream, storage).load()


def _read_legacy(file: IO[bytes]) -> Any:
    """The older format: pickles one after the other, the object among them, then the storages' numbers."""
    file.seek(0, 2)
    room = file.tell()  # no storage can be larger than the file
    file.seek(0)
    storages: dict[str, torch.Tensor] = {}

    def storage(key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
        if key not in storages:
            if not 0 <= numel * dtype.itemsize <= room:
                raise EOFError(f"storage {key} of {numel} numbers is larger than the file")
            storages[key] = torch.empty(numel, dtype=dtype)
        return storages[key]

    def load() -> Any:
        return _Unpickler(file, storage).load()

    if load() != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("no checkpoint of torch starts like this")
    load()  # version of the format
    machine = load()  # its byte order and integer sizes
    _check_byte_order(machine["little_endian"])
    checkpoint = load()
    keys = load()
    if storages.keys() != set(keys):
        raise EOFError(
            f"the numbers of {len(storages)} storages are asked for, but those of {len(keys)} follow"
        )
    for key in keys:
        numel = int.from_bytes(file.read(8), "little")
        numbers = storages[key]
        numbers.copy_(_numbers(file.read(numel * numbers.dtype.itemsize), numbers.dtype))
    return checkpoint


def _check_byte_order(little: bool) -> None:
    if not little:
        raise pickle.UnpicklingError("its numbers are big-endian; expected the order of today's machines")


def _numbers(content: bytes, dtype: torch.dtype) -> torch.Tensor:
    """Bytes as a 1-D tensor; torch refuses to make one of none."""
    return torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)


def setting(settings: Any, *names: str) -> Any:
    """A value in nested settings, however they were stored: dictionaries, argparse's or omegaconf's objects.

    `setting(cfg, "model", "encoder_layers")`; None where any step of the way is missing or set to nothing.
    """
    value = _plain(settings)
    for name in names:
        value = _plain(value.get(name)) if isinstance(value, Mapping) else None
    return value


def _plain(value: Any) -> Any:
    """A stand-in's contents, one level deep: omegaconf keeps them in `_content`, its leaves in `_val`."""
    for _ in range(_NESTING):
        if not isinstance(value, StandIn):
            break
        value = value.state
        if isinstance(value, tuple) and len(value) == 2:  # (dictionary, slots)
            value = value[0]
        if isinstance(value, Mapping):
            value = value.get("_content", value.get("_val", value))
    return value
