"""Settings of a training, damaged prepared folders, and outputs that cannot be written."""

import contextlib
import functools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from hf_lip2speech.cards import read_facts
from hf_lip2speech.data.layout import Journal
from hf_lip2speech.data.prepared import PreparedDataset
from hf_lip2speech.evaluation.results import read_results
from hf_lip2speech.media.audio import write_audio
from hf_lip2speech.media.mux import mux_speech
from hf_lip2speech.models.modeling_lip2speech import Lip2SpeechModel
from hf_lip2speech.models.modeling_unit_vocoder import UnitVocoderModel
from hf_lip2speech.synthetic.scanned_head import MOUTH_SHAPES, read_head
from hf_lip2speech.training.arguments import (
    Lip2SpeechTrainingArguments,
    MelFlowTrainingArguments,
    VocoderTrainingArguments,
)
from hf_lip2speech.training.config import load_arguments
from hf_lip2speech.training.stages import build_model

from ..training.prepared_folder import write_prepared_folder
from .judging import Case, Wrong
from .material import clip, damaged
from .media_cases import speak

BASE = "data: d\noutput_dir: o\nreport_to: none\n"
STAGES = {1: Lip2SpeechTrainingArguments, 2: VocoderTrainingArguments, 3: MelFlowTrainingArguments}
NUMBERS = (
    "learning_rate",
    "weight_decay",
    "max_grad_norm",
    "warmup_steps",
    "max_steps",
    "logging_steps",
    "seed",
)
COUNTS = ("seed", "eval_steps", "save_steps", "save_total_limit", "num_threads", "max_minutes", "num_samples")
MORE = ("dataloader_num_workers", "adam_beta1", "adam_beta2", "ema_decay", "per_device_train_batch_size")
WRONG_VALUES = (-1, -5, ".nan", ".inf", "text", "[1]", "{a: 1}", "1e40")
YAMLS = {
    "binary": bytes(range(256)),
    "not UTF-8": b"seed: \xff",
    "deep": b"a: " + b"[" * 5000,
    "aliases": b"a: &a [1, 1]\nb: &b [*a, *a]\nc: &c [*b, *b]\nseed: *c",
    "python object": b"seed: !!python/object/apply:os.mkdir [made]",
    "python name": b"seed: !!python/name:os.system",
    "interpolation": b"seed: ${oc.env:HOME}",
    "unknown resolver": b"seed: ${run:ls}",
    "list": b"- a",
    "text": b"text",
    "number": b"7",
    "empty key": b"? \n: 1",
    "two documents": b"seed: 1\n---\nseed: 2",
    "tab": b"seed:\t\t1\n\tx: 2",
    "base is itself": b"base: config.yaml",
    "base is missing": b"base: nowhere.yaml",
    "base is a number": b"base: 3",
    "base is a list": b"base: [a]",
    "number as a key": b"1: 2",
    "null": b"seed: null",
}


def _settings(content: bytes, stage: int, folder: Path) -> Any:
    (folder / "config.yaml").write_bytes(content)
    here = os.getcwd()
    os.chdir(folder)
    try:
        return load_arguments(STAGES[stage], "config.yaml").seed
    finally:
        os.chdir(here)
        if (folder / "made").exists():
            raise Wrong("foreign code was run")


def _refused(content: bytes, stage: int, folder: Path) -> Any:
    raise Wrong(f"was taken: {_settings(content, stage, folder)}")


def settings() -> Iterator[Case]:
    for stage in STAGES:
        base = BASE + ("lip2speech: bundled\n" if stage == 3 else "")
        for name in (*NUMBERS, *COUNTS, *MORE):
            for value in WRONG_VALUES:
                if (name, value) == ("max_minutes", "1e40"):
                    continue
                act = functools.partial(_refused, f"{base}{name}: {value}\n".encode(), stage)
                yield Case("setting", f"stage {stage}, {name}: {value}", act)
        for name, content in YAMLS.items():
            act = functools.partial(_settings, base.encode() + content, stage)
            yield Case("YAML", f"stage {stage}, {name}", act)
    fields = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "hidden_dropout",
        "frontend_channels",
    )
    for kind, names in (
        (Lip2SpeechModel, fields),
        (UnitVocoderModel, ("num_units", "upsample_rates", "inputs")),
    ):
        for name in (*names, "nonsense"):
            for value in (0, -1, 10**9, 1.5, float("nan"), "x", None, [], [0], {"a": 1}):
                act = functools.partial(_model, kind, {name: value})
                yield Case("model.*", f"{kind.__name__}, {name}={value!r}", act)


def _model(kind: Any, fields: dict, _: Path) -> Any:
    return build_model(kind, fields, None).config.model_type


def _read_all(folder: Path) -> int:
    data = PreparedDataset(folder, "train")
    for index in range(len(data)):
        item = data[index]
        frames = len(item["frames"])
        lengths = {"mel": 4 * frames, "unit_ids": 2 * frames, "waveform": 640 * frames}
        if any(len(item[name]) != length for name, length in lengths.items()):
            raise Wrong(f"lengths {[len(item[name]) for name in lengths]} for {frames} frames")
        if not isinstance(item["id"], str) or item["unit_ids"].ndim != 1:
            raise Wrong(f"{item['id']!r} with units of shape {item['unit_ids'].shape}")
        if item["unit_ids"].min() < 0 or not np.isfinite(item["mel"]).all():
            raise Wrong("targets that are none")
    return len(data)


def prepared(amount: int = 2, seed: int = 0) -> Iterator[Case]:
    names = {
        "video": "video/s1/clip0.mp4",
        "audio": "audio/s1/clip0.flac",
        "mel": "mel/s1/clip0.npy",
        "units": "units/s1/clip0.npy",
        "speaker": "speaker/s1/clip0.npy",
        "manifest": "manifest.parquet",
    }

    def act(change: Callable[[Path], Any], folder: Path) -> int:
        change(write_prepared_folder(folder / "prepared", train=2, val=1))
        return _read_all(folder / "prepared")

    def replaced(file: str, number: int, folder: Path) -> None:
        path = folder / file
        path.write_bytes([data for _, data in damaged(path.read_bytes(), amount, seed)][number])

    titles = [name for name, _ in damaged(bytes(1000), amount, seed)]
    for part, file in names.items():
        changes = {title: functools.partial(replaced, file, number) for number, title in enumerate(titles)}
        changes["missing"] = functools.partial(_gone, file)
        changes["of another kind"] = functools.partial(_subtitles, file)
        changes["is a folder"] = functools.partial(_into_folder, file)
        for title, change in changes.items():
            yield Case("prepared file", f"{part} {title}", functools.partial(act, change))
    arrays = {
        "empty": np.zeros(0),
        "NaN": np.full((40, 80), np.nan, np.float32),
        "negative": np.full(20, -1, np.int16),
        "floats": np.full(20, 1.5),
        "object": np.array([{"a": 1}] * 20, dtype=object),
        "text": np.array(["a"] * 20),
        "3-D": np.zeros((40, 80, 2), np.float32),
        "scalar": np.float32(1),
        "two columns": np.zeros((20, 2), np.int16),
        "beyond int64": np.full(20, 2**63, np.uint64),
        "complex": np.zeros((40, 80), complex),
        "short": np.zeros((3, 80), np.float32),
    }
    for part in ("mel", "units", "speaker"):
        for name, array in arrays.items():
            change = functools.partial(_array, names[part], array)
            yield Case("prepared array", f"{part} {name}", functools.partial(act, change))
    for column in ("id", "speaker", "split", "words", "frames", "mel", "units", "speaker_embedding"):
        for name, values in {"gone": None, "null": [None] * 3, "text": ["x"] * 3, "-1": [-1] * 3}.items():
            change = functools.partial(_column, column, values)
            yield Case("manifest", f"{column} {name}", functools.partial(act, change))


def _gone(file: str, folder: Path) -> None:
    (folder / file).unlink()


def _subtitles(file: str, folder: Path) -> None:
    """What FFmpeg opens, and which has neither sound nor pictures."""
    (folder / file).write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")


def _into_folder(file: str, folder: Path) -> None:
    (folder / file).unlink()
    (folder / file).mkdir()


def _array(file: str, array: Any, folder: Path) -> None:
    np.save(folder / file, array, allow_pickle=True)


def _column(name: str, values: list | None, folder: Path) -> None:
    table = pyarrow.parquet.read_table(folder / "manifest.parquet")
    index = table.column_names.index(name)
    table = table.remove_column(index)
    if values is not None:
        table = table.append_column(name, pyarrow.array(values))
    pyarrow.parquet.write_table(table, folder / "manifest.parquet")


def results() -> Iterator[Case]:
    """What else is read from files of its own: results of an evaluation, facts of a card, a scanned head."""
    texts = {"text": b"x", "list": b"[]", "deep": b"[" * 1000, "binary": bytes(range(256))}
    whole = b'{"facts": {}, "measures": [], "rows": [7], "skipped": []}'
    for name, content in (texts | {"a number for a row": whole}).items():
        yield Case("results.json", name, functools.partial(_read, read_results, "results.json", content))
        yield Case("facts", name, functools.partial(_read, read_facts, "facts.yaml", content))
    objects = {
        "empty": b"",
        "text": b"v a b c",
        "binary": bytes(range(256)),
        "faces of nothing": b"v 0 0 0\nf 1 2 99\n",
        "short": b"v 1 2\nf 1 1 1\n",
    }
    for name, content in objects.items():
        yield Case("head", name, functools.partial(_head_of, content))


def _read(reader: Callable[[Path], Any], file: str, content: bytes, folder: Path) -> Any:
    (folder / file).write_bytes(content)
    return reader(folder / file)


def _head_of(content: bytes, folder: Path) -> Any:
    for name in ("generic_neutral_mesh", "identity000", *MOUTH_SHAPES):
        (folder / f"{name}.obj").write_bytes(content)
    return read_head(folder)


def journals() -> Iterator[Case]:
    typed = (b'{"id": 1}', b'{"id": "a", "time": "x"}')
    for line in (b"text", b"{}", b"[]", b"null", b"7", *typed, bytes(range(256)), b"[" * 9999):

        def act(folder: Path, line: bytes = line) -> Any:
            (folder / "a.jsonl").write_bytes(line + b"\n" + line)
            return list(Journal(folder).read())

        yield Case("journal", ascii(line[:30]), act)


@contextlib.contextmanager
def _full_disk(size: int) -> Iterator[None]:
    """As on a full disk, no file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def outputs() -> Iterator[Case]:
    speech = np.zeros(8000, np.float32)
    bad = {
        "missing folder": "no/out",
        "below a file": "file/out",
        "long name": "n" * 300,
        "a folder": "dir",
        "a loop": "loop/out",
        "below /proc": "/proc/out",
        "odd name": "a\udcff\nb",
    }

    def make(folder: Path) -> None:
        (folder / "file").touch()
        for suffix in (".wav", ".mp4"):
            (folder / f"dir{suffix}").mkdir()
        (folder / "loop").symlink_to("loop")
        (folder / "clip.mp4").write_bytes(clip("mp4"))

    def sound(name: str, folder: Path) -> Any:
        make(folder)
        return write_audio(folder / f"{name}.wav", speech)

    def video(name: str, folder: Path) -> Any:
        make(folder)
        return mux_speech(folder / "clip.mp4", speech, folder / f"{name}.mp4")

    def by_command(name: str, folder: Path) -> Any:
        make(folder)
        return speak(folder, folder / "clip.mp4", output=folder / f"{name}.wav")

    def both(name: str, folder: Path) -> Any:
        make(folder)
        return speak(folder, folder / "clip.mp4", "--video", folder / f"{name}.mp4")

    for name, path in bad.items():
        for way in (sound, video, by_command, both):
            yield Case("output", f"{name}, {way.__name__}", functools.partial(way, path))

    def full(way: Callable[[Path], Any], size: int, folder: Path) -> Any:
        make(folder)
        (folder / "out.wav").write_bytes(b"earlier")
        with _full_disk(size):
            try:
                return way(folder)
            finally:
                if (folder / "out.wav").read_bytes() != b"earlier" and way is not _sound:
                    raise Wrong("the earlier file is gone")

    def _sound(folder: Path) -> Any:
        return write_audio(folder / "out.wav", speech)

    def _video(folder: Path) -> Any:
        return mux_speech(folder / "clip.mp4", speech, folder / "out.mp4")

    for size in (0, 10, 100, 1000, 5000):
        yield Case("full disk", f"sound, {size} bytes", functools.partial(full, _sound, size))
        yield Case("full disk", f"video, {size} bytes", functools.partial(full, _video, size))
