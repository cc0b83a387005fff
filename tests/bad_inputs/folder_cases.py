"""Damaged folders through the commands that read them as a whole: compose, convert, evaluate, publish."""

import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..evaluation.small_set import write_prepared
from .judging import Case, command
from .material import damaged, model_files, model_folder
from .model_cases import WAYS

Change = Callable[[Path, Path], Any]  # of the folder of a model and of a prepared folder
NO_JSON = {
    "list": b"[]",
    "null": b"null",
    "object": b"{}",
    "binary": bytes(range(256)),
    "deep": b"[" * 99_999,
}
# fields of every config of transformers, and values that it does not check
COMMON_FIELDS: dict[str, tuple] = {
    "dtype": ("x", "complex64", "int8", "float8_e4m3fn", "nn", "load", [], 0, 1.5),
    "quantization_config": ({}, "x", 3, {"quant_method": "x"}, {"quant_method": "gptq", "bits": 4}),
    "_attn_implementation": ("x", 3),
    "id2label": ("x", 3, [1]),
    "num_labels": ("x", -1, 10**9),
    "base_model_tp_plan": (3,),
    "architectures": (3, ["x"]),
    "auto_map": (3, {"AutoModel": 3}, {"AutoConfig": "evil--x.y"}),
    "voices": (3, "x", {}, {"ann": "x"}, {"ann": [1]}, ["zed"]),
}
INDEXES = {
    "text": b"x",
    "list": b"[]",
    "no map": b"{}",
    "a number": b'{"metadata": {}, "weight_map": 3}',
    "no such file": b'{"metadata": {}, "weight_map": {"a": "x.safetensors"}}',
    "a file elsewhere": b'{"metadata": {}, "weight_map": {"a": "../../../../etc/hostname"}}',
}
CARDS = {
    "list": b"- a",
    "python": b"a: !!python/object/apply:os.mkdir [made]",
    "deep": b"a: " + b"[" * 5000,
    "not UTF-8": b"title: \xff",
    "number": b"title: 7",
    "aliases": b"a: &a [1,1]\nb: &b [*a,*a]\ntitle: *b",
    "code": b"title: '{{ 7 * 7 }}{% for x in y %}'",
}


@functools.cache
def _prepared_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        root = write_prepared(Path(name), clips=2)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _prepared_folder(folder: Path) -> Path:
    for name, content in _prepared_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _compose(model: Path, prepared: Path, source: str = "--units") -> Any:
    out = model.with_name("out")
    return command("compose", model, model, out, source, prepared, outputs=(out / "config.json",))


def _convert(model: Path, prepared: Path) -> Any:
    out = model.with_name("out")
    words = ("convert", "--composite", model, model, out, "--voices", prepared)
    return command(*words, outputs=(out / "config.json",))


def _publish(model: Path, _: Path) -> Any:
    out = model.with_name("out")
    return command("publish", model, "user/name", "--dry-run", out, outputs=(out / "README.md",))


def _evaluate(model: Path, prepared: Path) -> Any:
    out = model.with_name("out")
    words = ("evaluate", model, prepared, "--split", "val", "--out", out, "--recogniser", "none")
    more = ("--limit", 1, "--device", "cpu")
    return command(*words, *more, "--units", prepared, outputs=(out / "index.html",))


COMMANDS: dict[str, Callable[[Path, Path], Any]] = {
    "compose": _compose,
    "compose --voices": functools.partial(_compose, source="--voices"),
    "convert": _convert,
    "publish": _publish,
    "evaluate": _evaluate,
}


def _case(kind: str, name: str, change: Change, act: Callable[[Path, Path], Any]) -> Case:
    def run(folder: Path) -> Any:
        model, prepared = model_folder(folder / "model"), _prepared_folder(folder / "prepared")
        change(model, prepared)
        return act(model, prepared)

    return Case(kind, name, run)


def _model_file(name: str, content: bytes, model: Path, _: Path) -> None:
    (model / name).write_bytes(content)


def _prepared_file(name: str, content: bytes, _: Path, prepared: Path) -> None:
    (prepared / name).write_bytes(content)


def _index(content: bytes, model: Path, _: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors.index.json").write_bytes(content)


def folders(seed: int = 1) -> Iterator[Case]:
    models = {"compose": ("model.safetensors", "config.json", "preprocessor_config.json")}
    models |= {"publish": (*models["compose"], "voices.safetensors")}
    for way, files in models.items():
        for file in files:
            for name, data in [*damaged(model_files()[file], 1, seed), *NO_JSON.items()]:
                change = functools.partial(_model_file, file, data)
                yield _case("model folder", f"{file} {name}, {way}", change, COMMANDS[way])
    parts = {
        "unit_extractor/config.json": ("compose", "compose --voices", "evaluate"),
        "unit_extractor/model.safetensors": ("compose", "compose --voices", "evaluate"),
        "manifest.parquet": ("compose --voices", "convert", "evaluate"),
        "speaker/ann/clip 0.npy": ("compose --voices", "convert"),
        "report.json": ("evaluate",),
    }
    for file, ways in parts.items():
        contents = [*damaged(_prepared_files().get(file, b'{"corpus": 7}'), 1, seed), *NO_JSON.items()]
        for number, (name, data) in enumerate(contents):
            way = ways[number % len(ways)]
            change = functools.partial(_prepared_file, file, data)
            yield _case("prepared folder", f"{file} {name}, {way}", change, COMMANDS[way])
    for name, content in INDEXES.items():
        change = functools.partial(_index, content)
        for way, act in WAYS.items():
            yield _case("index", f"{name}, {way}", change, lambda model, _, act=act: act(model))
        yield _case("index", f"{name}, publish", change, _publish)
    for name, content in CARDS.items():
        for file, data in {"card.yaml": content, "README.md": b"---\n" + content + b"\n---\nhello"}.items():
            yield _case("card", f"{file} {name}", functools.partial(_model_file, file, data), _publish)


def common_fields() -> Iterator[Case]:
    ways = [*WAYS.items()][:3]
    config = json.loads(model_files()["config.json"])
    for number, (field, value) in enumerate((f, v) for f, values in COMMON_FIELDS.items() for v in values):
        inner = config["lip2speech"] | {field: value}
        changed = {"": config | {field: value}, "lip2speech.": config | {"lip2speech": inner}}
        for part, contents in changed.items():
            way, act = ways[(number + bool(part)) % 3]
            change = functools.partial(_model_file, "config.json", json.dumps(contents).encode())
            name = f"{part}{field} = {value!r}, {way}"
            yield _case("common field", name, change, lambda model, _, act=act: act(model))
