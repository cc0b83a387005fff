"""Damaged folders of models, by every way in which one is loaded; hostile pickles; published checkpoints."""

import functools
import json
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load, save

from hf_lip2speech.conversion.convert import convert
from hf_lip2speech.feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from hf_lip2speech.pipeline import load_pipeline

from ..hostile import Hostile
from ..media.clips import numbered
from .judging import Case, command
from .material import damaged, model_files, model_folder

VALUES = (
    0,
    -1,
    1,
    3,
    10**6,
    10**9,
    10**30,
    1.5,
    1e30,
    math.nan,
    math.inf,
    None,
    True,
    "x",
    "",
    [],
    [1],
    {},
    {"a": 1},
)
# fields whose values no model is built from, or which any string may fill
IGNORED = (
    "transformers_version",
    "architectures",
    "dtype",
    "model_type",
    "_name_or_path",
    "auto_map",
    "voices",
)


def _with_model(folder: Path) -> Any:
    model = Lip2SpeechWithVocoder.from_pretrained(folder)
    extractor = Lip2SpeechFeatureExtractor.from_pretrained(folder)
    pixels = extractor(numbered(4, 96, 96)[..., 0], return_tensors="pt")
    speech = model.generate_speech(pixels["pixel_values_videos"], voice="ann")
    audio = speech.waveform[0].numpy()
    return {"audio": audio}, 4


def _with_ours(folder: Path) -> Any:
    return load_pipeline(str(folder), "cpu")({"frames": numbered(4, 96, 96), "fps": 25}, cropped=True), 4


def _with_transformers(folder: Path) -> Any:
    speak = transformers.pipeline("lip-to-speech", model=str(folder), device="cpu")
    return speak({"frames": numbered(4, 96, 96), "fps": 25}, cropped=True), 4


def _with_command(folder: Path) -> Any:
    from ..media.clips import encode

    (folder / "clip.mp4").write_bytes(encode(numbered(4, 96, 96)))
    words = (folder / "clip.mp4", "--model", folder, "--cropped", "--device", "cpu", "-o", folder / "out.wav")
    return command("speak", *words, outputs=(folder / "out.wav",))


WAYS = {
    "from_pretrained": _with_model,
    "load_pipeline": _with_ours,
    "pipeline": _with_transformers,
    "command": _with_command,
}


def _cases(kind: str, name: str, change: Callable[[Path], None], ways: Any = WAYS) -> Iterator[Case]:
    def act(folder: Path, way: Callable[[Path], Any]) -> Any:
        change(model_folder(folder / "model"))
        return way(folder / "model")

    for way in ways:
        yield Case(kind, f"{name}, {way}", functools.partial(act, way=WAYS[way]))


def _replaced(file: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(content) and None


def _set(file: str, path: tuple, value: Any) -> bytes:
    contents = json.loads(model_files()[file])
    place = contents
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return json.dumps(contents).encode()


def fields() -> Iterator[tuple[str, tuple]]:
    config = json.loads(model_files()["config.json"])
    for key, value in config.items():
        if key not in IGNORED:
            yield "config.json", (key,)
        if isinstance(value, dict):
            yield from (("config.json", (key, inner)) for inner in value if inner not in IGNORED)
    for key in json.loads(model_files()["preprocessor_config.json"]):
        yield "preprocessor_config.json", (key,)


def configs(step: int = 1) -> Iterator[Case]:
    """Every field with every value, each by one of the ways in turn; `step` leaves some out."""
    ways = list(WAYS)
    for number, (file, path) in enumerate(fields()):
        for index, value in enumerate(VALUES):
            if (number * len(VALUES) + index) % step:
                continue
            way = ways[(number + 2 * index + index // 3) % 3]  # the command is slower
            content = _set(file, path, value)
            name = f"{'.'.join(path)} = {value!r}"
            yield from _cases("config field", name, _replaced(file, content), [way])


def files(amount: int = 2, seed: int = 0) -> Iterator[Case]:
    whole = ["from_pretrained", "pipeline", "command"]
    for file in ("config.json", "preprocessor_config.json", "voices.safetensors", "model.safetensors"):
        for index, (name, data) in enumerate(damaged(model_files()[file], amount, seed)):
            yield from _cases("model file", f"{file} {name}", _replaced(file, data), [whole[index % 3]])
        for name, data in {
            "list": b"[]",
            "null": b"null",
            "number": b"7",
            "text": b'"text"',
            "binary": bytes(range(256)),
            "empty": b"",
            "deep": b"[" * 100_000,
            "not UTF-8": b'{"a": "\xff"}',
            "NaN": b'{"a": NaN}',
        }.items():
            yield from _cases("model file", f"{file} {name}", _replaced(file, data))
        yield from _cases("model file", f"{file} is a folder", functools.partial(_folder, file))
        yield from _cases("model file", f"no {file}", lambda folder, f=file: (folder / f).unlink())
    for file in ("config.json", "model.safetensors"):
        yield from _cases("model file", f"{file} unreadable", functools.partial(_loop, file), whole)


def _folder(file: str, folder: Path) -> None:
    (folder / file).unlink()
    (folder / file).mkdir()


def _loop(file: str, folder: Path) -> None:
    (folder / file).unlink()
    (folder / file).symlink_to(file)


def weights() -> Iterator[Case]:
    tensors = load(model_files()["model.safetensors"])
    names = sorted(tensors)
    floats = [name for name in names if tensors[name].is_floating_point()]
    for value in (math.nan, math.inf, -math.inf, 1e30, -1e30):
        for name in (floats[0], floats[len(floats) // 2], floats[-1]):
            changed = tensors | {name: torch.full_like(tensors[name], value)}
            yield from _cases("weights", f"{name} = {value}", _replaced("model.safetensors", save(changed)))
    for name, changed in {
        "none": {},
        "one missing": {key: tensors[key] for key in names[1:]},
        "unknown": {"a": torch.zeros(3)},
        "other shape": tensors | {floats[0]: torch.zeros(3)},
        "integers": {key: value.to(torch.int32) for key, value in tensors.items()},
        "bool": {key: value.bool() for key, value in tensors.items()},
        "float8": {key: value.to(torch.float8_e4m3fn) for key, value in tensors.items()},
        "complex": {key: value.to(torch.complex64) for key, value in tensors.items()},
        "no element": {key: value.flatten()[:0] for key, value in tensors.items()},
    }.items():
        yield from _cases("weights", name, _replaced("model.safetensors", save(changed)))
    voices = load(model_files()["voices.safetensors"])
    for name, changed in {
        "none": {},
        "one": {"ann": voices["ann"]},
        "NaN": voices | {"ann": voices["ann"] * math.nan},
        "zero": voices | {"ann": voices["ann"] * 0},
        "short": voices | {"ann": voices["ann"][:3].clone()},
        "2-D": voices | {"ann": voices["ann"].reshape(16, 16)},
        "integers": {key: value.to(torch.int8) for key, value in voices.items()},
        "complex": {key: value.to(torch.complex64) for key, value in voices.items()},
        "odd name": {"\n\0": voices["ann"]},
    }.items():
        yield from _cases("voices", name, _replaced("voices.safetensors", save(changed)))


def _pickles() -> Iterator[tuple[str, Callable[[Path], bytes]]]:
    """Contents that would make the folder `made` if they were run."""
    yield "pickle", lambda made: pickle.dumps(Hostile(made))
    yield "pickle protocol 0", lambda made: pickle.dumps(Hostile(made), 0)
    yield "torch", _torch_file
    yield "torch, old format", functools.partial(_torch_file, new=False)
    yield "in a state", lambda made: _torch_file({"model": {"a": torch.zeros(3)}, "args": Hostile(made)})
    yield "endless", lambda made: b"\x80\x04" + b"(" * 10_000 + b"."
    yield "memo bomb", lambda made: b"\x80\x04]" + b"\x94h\x00h\x00\x86" * 1000 + b"."
    yield "huge bytes", lambda made: b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x."


def _torch_file(content: Any, new: bool = True) -> bytes:
    import io

    buffer = io.BytesIO()
    content = Hostile(content) if isinstance(content, Path) else content
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


class Ran(Exception):
    """Foreign code was run."""


def pickles() -> Iterator[Case]:
    def guarded(act: Callable[[Path, bytes], Any], make: Callable[[Path], bytes], folder: Path) -> Any:
        made = folder / "made"
        try:
            return act(folder, make(made))
        finally:
            if made.exists():
                raise Ran

    def as_weights(folder: Path, data: bytes, way: str) -> Any:
        model_folder(folder / "model")
        (folder / "model/model.safetensors").unlink()
        (folder / "model/pytorch_model.bin").write_bytes(data)
        return WAYS[way](folder / "model")

    def as_safetensors(folder: Path, data: bytes) -> Any:
        model_folder(folder / "model")
        (folder / "model/model.safetensors").write_bytes(data)
        return _with_ours(folder / "model")

    def as_checkpoint(folder: Path, data: bytes) -> Any:
        (folder / "in.pt").write_bytes(data)
        return convert(folder / "in.pt", folder / "out")

    def by_command(folder: Path, data: bytes) -> Any:
        (folder / "in.pt").write_bytes(data)
        return command("convert", folder / "in.pt", folder / "out", outputs=(folder / "out/config.json",))

    for name, make in _pickles():
        for way in WAYS:
            act = functools.partial(as_weights, way=way)
            yield Case("pickle", f"{name} as weights, {way}", functools.partial(guarded, act, make))
        for title, act in {
            "safetensors": as_safetensors,
            "convert": as_checkpoint,
            "convert (command)": by_command,
        }.items():
            yield Case("pickle", f"{name}, {title}", functools.partial(guarded, act, make))


def checkpoints(amount: int = 3, seed: int = 0) -> Iterator[Case]:
    """Published checkpoints that `convert` reads."""
    good = _torch_file({"generator": {"conv_pre.weight": torch.zeros(3)}})
    vocoder = _torch_file({"generator": {"a": torch.full((3,), math.nan)}, "steps": 1})
    contents = {
        "empty": b"",
        "text": b"hello",
        "npy": np.zeros(3).tobytes(),
        "no state": _torch_file({}),
        "a list": _torch_file([1, 2]),
        "a tensor": _torch_file(torch.zeros(3)),
        "fairseq without a model": _torch_file({"cfg": {}, "args": None}),
        "fairseq, model a list": _torch_file({"cfg": {"model": []}, "model": [1]}),
        "fairseq, no cfg": _torch_file({"model": {"a": torch.zeros(3)}}),
        "fairseq, cfg text": _torch_file({"cfg": "text", "model": {"a": torch.zeros(3)}}),
        "fairseq, cfg deep": _torch_file({"cfg": {"model": {"_name": 7}}, "model": {"a": 1}}),
        "vocoder NaN": vocoder,
        "generator text": _torch_file({"generator": "text"}),
        "generator of numbers": _torch_file({"generator": {"a": 1}}),
    }
    for name, data in (*contents.items(), *damaged(good, amount, seed)):

        def act(folder: Path, data: bytes = data) -> Any:
            (folder / "in.pt").write_bytes(data)
            return convert(folder / "in.pt", folder / "out")

        yield Case("published checkpoint", name, act)
    for line in (("bundled", "out"), ("/", "out"), ("/dev/zero", "out"), ("in.pt", "/dev/null/out")):
        yield Case(
            "published checkpoint", " ".join(line), lambda folder, line=line: command("convert", *line)
        )
