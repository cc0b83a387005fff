"""Settings from YAML files and `key=value` overrides, and the command line of both training scripts."""

import argparse
import dataclasses
import difflib
import inspect
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from accelerate import Accelerator
from huggingface_hub.dataclasses import type_validator
from huggingface_hub.errors import StrictDataclassError
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from transformers import TrainingArguments
from transformers.utils.logging import disable_progress_bar

from ..errors import ConfigError, message_for_user
from ..files import write_text
from .arguments import RunArguments

SAVED_AS = "config.yaml"  # in output_dir: what a run was started with
RENAMED = {  # settings of earlier versions, and what they are called now
    "optimizer": "learning_rate, weight_decay, max_grad_norm, adam_beta1, adam_beta2 or adam_epsilon",
    "batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "gradient_accumulation": "gradient_accumulation_steps",
    "mixed_precision": "bf16 or fp16",
    "num_workers": "dataloader_num_workers",
    "log_every": "logging_steps",
    "eval_every": "eval_steps",
    "save_every": "save_steps",
    "keep_checkpoints": "save_total_limit",
    "best_metric": "metric_for_best_model",
    "tracker": "report_to",
}
# what classes raise for values that they cannot have
IMPOSSIBLE = (
    *(StrictDataclassError, ArithmeticError, AttributeError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)
Arguments = TypeVar("Arguments", bound=RunArguments)
Part = TypeVar("Part")


def read_settings(path: str | os.PathLike, overrides: Iterable[str] = ()) -> DictConfig:
    """The settings in a YAML file, merged onto those of the file that its key `base` names, and overrides.

    Args:
        path: The file; `base` is relative to it, all other paths to the working directory.
        overrides: Such as "max_steps=100" or "model.hidden_dropout=0.2".

    Raises:
        ConfigError: a file cannot be read, or an override has no "=".
    """
    values, read = _load(path), {os.path.abspath(path)}
    while (base := values.pop("base", None)) is not None:
        path = Path(path).parent / str(base)
        if os.path.abspath(path) in read:
            raise ConfigError(f"{path} names itself as its base, directly or through others.")
        read.add(os.path.abspath(path))
        values = typing.cast(DictConfig, OmegaConf.merge(_load(path), values))
    return override(values, overrides)


def _load(path: str | os.PathLike) -> DictConfig:
    try:
        values = OmegaConf.load(path)
    except OSError as error:
        raise ConfigError(f"The configuration {path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply: write `key: value` lines.") from error
    if not isinstance(values, DictConfig):
        raise ConfigError(f"{path} must hold `key: value` lines: got a list.")
    return values


def override(values: DictConfig, overrides: Iterable[str]) -> DictConfig:
    """Settings changed by "key=value" strings."""
    overrides = list(overrides)
    for text in overrides:
        if not re.match(r"\s*[^=\s][^=]*=", text):
            raise ConfigError(f"{text!r} is not an override: write key=value, for example max_steps=1000.")
    try:
        return typing.cast(DictConfig, OmegaConf.merge(values, OmegaConf.from_dotlist(overrides)))
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, RecursionError) as error:
        raise ConfigError(f"{' '.join(overrides)[:200]} cannot be read: {error}") from error


def build_arguments(kind: type[Arguments], settings: DictConfig) -> Arguments:
    """The settings as arguments of a training, defaults filled in.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, or one that cannot work.
    """
    try:
        values = OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The settings cannot be resolved: {error}") from error
    hints = typing.get_type_hints(kind)
    check_keys(values, [f.name for f in dataclasses.fields(kind) if f.init])
    values = {name: _typed(name, value, hints[name]) for name, value in values.items()}
    for name in ("data", "output_dir"):
        if not values.get(name):
            raise ConfigError(f"The configuration lacks {name}: add it, or give {name}=FOLDER.")
    try:
        return kind(**values)
    except ConfigError:
        raise
    except (OverflowError, ValueError) as error:  # of TrainingArguments
        raise ConfigError(f"The settings cannot be used: {error}") from error


def load_arguments(
    kind: type[Arguments], path: str | os.PathLike, overrides: Iterable[str] = ()
) -> Arguments:
    """`build_arguments` of `read_settings`."""
    return build_arguments(kind, read_settings(path, overrides))


def check_keys(given: Mapping[str, Any], known: Iterable[str], prefix: str = "") -> None:
    """Raise ConfigError for the first key that is not known, with the nearest of those that are."""
    known = sorted(known)
    for key in given:
        if key not in known:
            renamed = {} if prefix else RENAMED
            names = difflib.get_close_matches(str(key), [*known, *renamed], n=3, cutoff=0.5)
            names = [key] if key in renamed else names
            near = list(dict.fromkeys(renamed.get(name, name) for name in names))
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known keys: {', '.join(known)}."
            raise ConfigError(f"Unknown key {prefix}{key}. {hint}")


def checked(kind: Callable[..., Part], fields: dict, prefix: str) -> Part:
    """kind(**fields); ConfigError names `prefix` + field where `kind` takes no such argument."""
    check_keys(fields, inspect.signature(kind).parameters, prefix)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    with readable_values(prefix):
        return kind(**values)


@contextmanager
def readable_values(prefix: str) -> Generator[None]:
    """What a class says of impossible values becomes a ConfigError about the settings under `prefix`."""
    try:
        yield
    except ConfigError:
        raise
    except IMPOSSIBLE as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"The settings under {prefix}* cannot be used: {text}") from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` if it has the annotated type; whole floats such as 1e5 are accepted as ints, ints as floats."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    options = typing.get_args(hint) if union else (hint,)
    if type(value) is int and float in options and int not in options:
        value = float(value)
    if type(value) is float and value.is_integer() and int in options and float not in options:
        value = int(value)
    if value is False and str in options and bool not in options:
        value = "no"  # of a strategy: in YAML 1.1 that is false
    try:
        type_validator(name, value, hint)
    except TypeError as error:
        expected = " or ".join("null" if o is type(None) else getattr(o, "__name__", str(o)) for o in options)
        raise ConfigError(f"{name} must be {expected}: got {value!r}.") from error
    return value


def parse_command_line(
    kind: type[Arguments], description: str, argv: Sequence[str] | None = None
) -> tuple[Arguments, DictConfig, bool]:
    """[CONFIG.yaml] [--init-from MODEL] [--resume] [key=value ...] -> (arguments, settings, resume).

    A run that is resumed takes the settings that it was started with, changed by the overrides alone.
    """
    parser = argparse.ArgumentParser(
        description=f"{description}\nSettings, with their defaults:\n\n{describe(kind)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "settings", nargs="*", metavar="CONFIG.yaml|key=value", help="a YAML file, and what differs from it"
    )
    parser.add_argument("--init-from", metavar="MODEL", help="the same as init_from=MODEL")
    parser.add_argument(
        "--resume", action="store_true", help="resume from the latest checkpoint in output_dir"
    )
    given = parser.parse_intermixed_args(argv)
    files = [text for text in given.settings if "=" not in text]
    overrides = [text for text in given.settings if "=" in text]
    if given.init_from is not None:
        overrides.append(f"init_from={given.init_from}")
    if len(files) > 1 or not given.settings:
        parser.error(f"give one CONFIG.yaml and key=value: got {' '.join(given.settings) or 'nothing'}")
    settings = read_settings(files[0], overrides) if files else override(OmegaConf.create(), overrides)
    resume = given.resume or settings.get("resume_from_checkpoint") is not None
    saved = Path(settings.get("output_dir") or "") / SAVED_AS
    if resume and settings.get("output_dir") and saved.is_file():
        own = read_settings(saved, overrides)
        changed = [key for key in {**settings, **own} if settings.get(key) != own.get(key)]
        if changed and files and os.environ.get("RANK", "0") == "0":
            print(
                f"Resuming with the settings in {saved}; {files[0]} differs in {', '.join(changed)}: give "
                "key=value to change them."
            )
        settings = own
    return build_arguments(kind, settings), settings, resume


def save_settings(settings: DictConfig, accelerator: Accelerator) -> None:
    """Write what a run is started with into its output_dir."""
    if accelerator.is_main_process:
        write_text(Path(settings.output_dir) / SAVED_AS, OmegaConf.to_yaml(settings))


def describe(kind: type) -> str:
    """Every setting with its default and what it means, one after another."""
    texts = {f.name: f.metadata.get("help", "") for f in dataclasses.fields(TrainingArguments)}
    for parent in reversed(kind.__mro__):
        if dataclasses.is_dataclass(parent):
            entries = re.split(r"\n {4}(?=\w[\w, ]*: )", (inspect.getdoc(parent) or "").partition("Args:")[2])
            for names, _, text in (entry.partition(": ") for entry in entries):
                texts |= dict.fromkeys(names.strip().split(", "), " ".join(text.split()))
    lines = []
    for f in dataclasses.fields(kind):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        lines.append(f"{f.name}={default}\n    {' '.join(texts.get(f.name, '').split())}")
    return "\n".join(lines)


def run_command(main: Callable[[], Any]) -> None:
    """Run a script's main; errors that a user can meet are one line and exit code 1, or 2 in the settings."""
    disable_progress_bar()  # one for every model that is loaded
    try:
        main()
    except Exception as error:
        message = message_for_user(error)
        if message is None:  # a bug: show where
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"{Path(sys.argv[0]).name}: error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
