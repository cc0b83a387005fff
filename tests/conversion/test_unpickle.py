"""Reading checkpoints: tensors as they are, foreign objects as stand-ins, and nothing that runs."""

import builtins
import collections
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_lip2speech.conversion.unpickle import StandIn, read_checkpoint, setting
from hf_lip2speech.errors import CheckpointError, UnsafeCheckpointError

from .published_files import FOREIGN, foreign_classes, write_fairseq

both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip format", "format before torch 1.6"])


def save(value: object, path: Path, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


class Calls:
    """Pickled, it asks whoever reads it to call `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@both_formats
def test_tensors_of_every_type_and_shape_are_read_as_they_are(tmp_path, legacy):
    base = torch.arange(24, dtype=torch.float32)
    tensors = {
        **{str(dtype): base.to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)},
        **{str(dtype): base.to(dtype) for dtype in (torch.int64, torch.int32, torch.int16, torch.int8)},
        "uint8": base.to(torch.uint8),
        "bool": base % 2 == 0,
        "view": base[3:15].view(3, 4).T,
        "expanded": torch.ones(1).expand(4, 5),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(base.view(4, 6)),
    }
    read = read_checkpoint(save(collections.OrderedDict(tensors), tmp_path / "x.pt", legacy))
    assert list(read) == list(tensors)
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype and read[name].shape == value.shape, name
        assert torch.equal(read[name], value.detach()), name


@both_formats
def test_a_fairseq_file_is_read_without_fairseq_or_omegaconf(tmp_path, legacy, monkeypatch):
    weight = torch.rand(2, 3)
    settings = {"model": {"_name": "x", "layers": 12, "inner": {"model": {"heads": 4}}, "latent": [2.0, 0.5]}}
    extra = {"best": np.float64(0.5), "bytes": b"\x00\xff", "rate": np.ones(3)}
    path = write_fairseq(tmp_path / "x.pt", {"weight": weight}, settings, legacy=legacy, extra=extra)
    for name in [name for name in sys.modules if name.startswith("omegaconf")]:  # which the trainings use
        monkeypatch.delitem(sys.modules, name)
    read = read_checkpoint(path)
    assert not [name for name in sys.modules if name.startswith(("fairseq", "omegaconf"))]
    assert torch.equal(read["model"]["weight"], weight)
    assert setting(read, "cfg", "model", "layers") == 12
    assert setting(read, "cfg", "model", "inner", "model", "heads") == 4
    assert setting(read, "cfg", "model", "no", "such") is None
    assert setting(read, "args", "arch") == "multi_target"
    dictionary = read["task_state"]["target_dictionary"]
    assert isinstance(dictionary, StandIn) and type(dictionary).__name__ == "Dictionary"
    assert setting(dictionary, "nspecial") == 4
    assert read["extra"]["bytes"] == b"\x00\xff"


@pytest.mark.parametrize(
    ("function", "arguments", "named"),
    [
        (os.system, ("touch {canary}",), r"(posix|nt)\.system"),
        (subprocess.Popen, (["touch", "{canary}"],), r"subprocess\.Popen"),
        (subprocess.check_output, (["touch", "{canary}"],), r"subprocess\.check_output"),
        (eval, ("open('{canary}', 'w')",), r"builtins\.eval"),
        (exec, ("open('{canary}', 'w')",), r"builtins\.exec"),
        (open, ("{canary}", "w"), r"_?io\.open"),
        (getattr, (os, "system"), r"builtins\.getattr"),
        (builtins.__import__, ("antigravity",), r"builtins\.__import__"),
        (np.save, ("{canary}", 1), r"numpy\.save"),
        (torch.save, (1, "{canary}"), r"torch\.serialization\.save"),
        (torch.hub.load, ("{canary}", "x"), r"torch\.hub\.load"),
    ],
    ids=lambda value: getattr(value, "__name__", "" if isinstance(value, str) else None),
)
@pytest.mark.parametrize("wrap", ["zip", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path, function, arguments, named, wrap):
    canary = tmp_path / "canary"
    if arguments[0] is os:
        arguments = ("os", "system")
    filled = [
        [part.format(canary=canary) for part in value]
        if isinstance(value, list)
        else value.format(canary=canary)
        if isinstance(value, str)
        else value
        for value in arguments
    ]
    checkpoint = {"model": {"weight": torch.ones(2)}, "extra_state": [Calls(function, *filled)]}
    path = tmp_path / "evil.pt"
    if wrap == "pickle":
        path.write_bytes(pickle.dumps(checkpoint["extra_state"], protocol=4))
    else:
        save(checkpoint, path, legacy=wrap == "legacy")
    with pytest.raises(UnsafeCheckpointError, match=named) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value) and "Nothing in the file was run" in str(caught.value)
    assert not canary.exists() and "antigravity" not in sys.modules


def test_a_function_of_a_library_that_is_not_installed_may_stand_but_not_be_called(tmp_path):
    with foreign_classes("fairseq.modules.gelu", "fairseq.modules.Layer") as classes:
        gelu, layer = classes.values()
        standing = save({"activation": gelu, "layer": Calls(layer, 1)}, tmp_path / "standing.pt")
        calling = save({"activation": Calls(gelu, "x")}, tmp_path / "calling.pt")
    assert issubclass(read_checkpoint(standing)["activation"], StandIn)
    with pytest.raises(UnsafeCheckpointError, match=r"asks for fairseq\.modules\.gelu"):
        read_checkpoint(calling)


def test_no_module_is_imported_for_what_a_file_names(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    opcodes = b"\x80\x02ctrap\nThing\n)\x81}X\x01\x00\x00\x00aK\x01sb."  # Thing() with the state {"a": 1}
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", opcodes)
    read = read_checkpoint(tmp_path / "x.pt")
    assert setting(read, "a") == 1 and "trap" not in sys.modules


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__Nst\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x04\x00\x00\x00workNst\x86b.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x04\x00\x00\x00keysNsb.",
        b"\x80\x02cx.y\nThing\n}X\x04\x00\x00\x00keysNsb.",
        b"\x80\x02c__builtin__\neval\n(X\x01\x00\x00\x001tR.",
        b"\x80\x02cbuiltins\nobject.__subclasses__\n)R.",
    ],
    ids=[
        "a function's defaults",
        "what a function does",
        "a class of the library",
        "a stand-in's class",
        "the old name",
        "an attribute",
    ],
)
def test_a_pickle_can_change_nothing_outside_itself(tmp_path, opcodes):
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/data.pkl", opcodes)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "x.pt")
    assert collections.OrderedDict.keys is not None


def test_a_tensor_cannot_reach_outside_its_storage(tmp_path):
    checkpoint = save({"x": torch.ones(4)}, tmp_path / "x.pt")
    with zipfile.ZipFile(checkpoint) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    assert members[pickled].count(b"K\x00K\x04\x85") == 1  # offset 0, size (4,)
    members[pickled] = members[pickled].replace(b"K\x00K\x04\x85", b"K\x00K\xff\x85")
    with zipfile.ZipFile(checkpoint, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="out of bounds"):
        read_checkpoint(checkpoint)


def replace_members(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Rewrite an archive with the contents of some of its members, named by their ends, changed."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, members.get(name.partition("/")[2], content))


def test_a_small_file_cannot_fill_the_memory(tmp_path):
    path = save({"x": torch.ones(4)}, tmp_path / "x.pt")
    replace_members(path, {"data/0": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(CheckpointError, match="torch.save compresses nothing"):
        read_checkpoint(path)


def test_numbers_in_another_byte_order_are_not_taken_for_ours(tmp_path):
    path = save({"x": torch.ones(4)}, tmp_path / "x.pt")
    replace_members(path, {"byteorder": b"big"})
    with pytest.raises(CheckpointError, match="big-endian"):
        read_checkpoint(path)
    legacy = save({"x": torch.ones(4)}, tmp_path / "legacy.pt", legacy=True)
    content, changed = re.subn(rb"(little_endianq.)\x88", b"\\1\x89", legacy.read_bytes())
    assert changed == 1
    legacy.write_bytes(content)
    with pytest.raises(CheckpointError, match="big-endian"):
        read_checkpoint(legacy)


def test_a_storage_whose_numbers_are_not_there_is_found_out(tmp_path):
    path = save({"x": torch.ones(4)}, tmp_path / "x.pt", legacy=True)
    content = path.read_bytes()
    keys = content.rindex(b"\x80\x02]")  # the list of the storages whose numbers follow
    path.write_bytes(content[:keys] + b"\x80\x02].")
    with pytest.raises(CheckpointError, match="numbers of 1 storages are asked for, but those of 0 follow"):
        read_checkpoint(path)


def test_an_object_that_holds_itself_is_no_endless_loop(tmp_path):
    with foreign_classes(*FOREIGN) as classes:
        node = classes["omegaconf.nodes.AnyNode"]()
        node._val = node
        path = save({"cfg": node}, tmp_path / "x.pt")
    assert setting(read_checkpoint(path), "cfg", "model") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"<html>not found</html>",
        lambda content: content[: len(content) // 2],
        lambda content: pickle.dumps({"model": 1}),
    ],
    ids=["empty", "a web page", "cut off", "another pickle"],
)
@both_formats
def test_damaged_files_are_refused_with_the_reason(tmp_path, damage, legacy):
    path = save({"model": {"weight": torch.rand(1000)}}, tmp_path / "x.pt", legacy)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="cannot be read as a PyTorch checkpoint"):
        read_checkpoint(path)
