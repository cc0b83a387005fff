"""What every `from_pretrained` of this package shares: the name "bundled", readable errors, strict checks.

transformers passes on a broken connection as the HTTP client raised it and a damaged file as its reader did,
fills missing weights with random ones and a warning, and takes a config of another model type.
"""

import json
import os
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, ClassVar, Self

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import PreTrainedConfig
from transformers.utils import cached_file

from .errors import Lip2SpeechError, NotLoadedError, WrongKindError

ASSETS = Path(__file__).resolve().parent / "assets"
# The model that comes with this package, and the name for it wherever a model is named. It wins over a folder
# of that name, which is "./bundled".
BUNDLED = ASSETS / "lip2speech_grid_s1"
BUNDLED_NAME = "bundled"

DTYPES = ("float16", "bfloat16", "float32", "float64")
MOST_LABELS = 1000  # transformers gives each a name
UNCHECKED = (AttributeError, LookupError, RecursionError, TypeError)
MOST_NEW_WEIGHTS = 2 << 30  # bytes, that a checkpoint may lack: a new head, say

_HUB_ARGUMENTS = (
    *("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token"),
)


def model_source(source: Any, folder: Path = BUNDLED) -> Any:
    """What `from_pretrained` of transformers takes for `source`: itself, or `folder` for "bundled"."""
    return str(folder) if source == BUNDLED_NAME else source


def file_beside(
    source: Any, name: str, arguments: dict[str, Any] | None = None, required: bool = False
) -> Path | None:
    """The file `name` of a model's folder or repository; None where it has none, or none in the cache when
    the Hub is not asked.

    Of `arguments`, those of `from_pretrained`, the ones about the Hub are used. An OSError where the Hub
    could not be reached, or there is no such repository; with `required`, also where this would be None.
    """
    asked = {key: value for key, value in (arguments or {}).items() if key in _HUB_ARGUMENTS}
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=required, **asked)
    return None if found is None else Path(found)


def json_object(path: str | os.PathLike) -> dict[str, Any]:
    """The contents of a JSON file that holds an object; a NotLoadedError where it holds something else, or
    cannot be read."""
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotLoadedError(
            f"{path} is damaged, it is no JSON ({one_line(error)}). Download it again, or ask its publisher."
        ) from error
    if not isinstance(contents, dict):
        kind = type(contents).__name__
        raise NotLoadedError(f"{path} is damaged: expected a JSON object, got {kind}. Download it again.")
    return contents


# What to say of an error that is, or has among its causes, one of these.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (SafetensorError, "its weights are damaged ({error}). Download them again (force_download=True)."),
    (
        UnpicklingError,
        "its weights are a pickle that holds more than tensors; it was not read, which can run code. Ask the "
        "publisher for safetensors.",
    ),
    (HFValidationError, "not a local folder, and not a name of the form owner/name. Check the path."),
    (GatedRepoError, "its owner has to grant you access. Ask on its page, and log in with `hf auth login`."),
    (
        RepositoryNotFoundError,
        "not a local folder, and the Hub has no such repository, or none that you may read. Check the name; "
        "for a private repository log in with `hf auth login` or pass token=.",
    ),
    (RevisionNotFoundError, "the repository has no branch, tag or commit {revision!r}. See its page."),
    (
        LocalEntryNotFoundError,
        "not a local folder, not in the cache, and the Hub was not asked (local_files_only or "
        "HF_HUB_OFFLINE) or could not be reached. Check the name, or go online once to download it.",
    ),
)


@contextmanager
def readable_hub_errors(source: object, revision: str | None = None) -> Generator[None]:
    """Errors of the Hub's client and of file readers, raised inside the block, become a sentence about
    `source`: a NotLoadedError, also an OSError, as transformers reports these failures, or a WrongKindError
    with its source."""
    try:
        yield
    except NotLoadedError:
        raise
    except WrongKindError as error:
        if str(source) in str(error):
            raise
        raise WrongKindError(f"{source}: {error}") from None
    except Exception as error:
        reason = _reason(error, revision)
        if reason is None and not isinstance(error, OSError):
            raise
        if reason is None:
            reason = one_line(error)
            if not os.path.isdir(str(source)):
                reason += " Or the Hub was not asked (local_files_only or HF_HUB_OFFLINE) or not reached."
        raise NotLoadedError(f"Nothing could be loaded from {str(source)!r}: {reason}") from error


def _reason(error: BaseException, revision: str | None) -> str | None:
    """What went wrong and what to do; None where `error` is not one of the known ones."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, reason in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason.format(error=one_line(error), revision=revision)
    if any("_weights_only_unpickler.py" in _places(cause) for cause in causes):
        return "its weights are a damaged pickle. Ask the publisher for safetensors."
    if not isinstance(error, OSError) and "get_checkpoint_shard_files" in _places(error):
        return "its model.safetensors.index.json is damaged. Download it again (force_download=True)."
    if isinstance(error, ValueError) and "load_state_dict" in _places(error):
        return f"its weights cannot be read ({one_line(error)}). Ask the publisher for others."
    if _is_foreign(error):
        failure = f"{type(error).__name__}: {one_line(error)}"
        return f"its config.json states what transformers fails on ({failure}). Ask its publisher."
    # huggingface_hub lets its HTTP client's errors through, and the client is not the same in all versions.
    broken = [cause for cause in causes if any(k.__name__ == "TransportError" for k in type(cause).__mro__)]
    return f"the connection to the Hub broke off repeatedly. Try later. ({broken[0]})" if broken else None


def _is_foreign(error: BaseException) -> bool:
    """Whether transformers or torch fails on a value that it does not check; else it may be a bug of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = {"transformers", "torch"}
    return isinstance(error, UNCHECKED) and bool(frames and libraries & {*Path(frames[-1].filename).parts})


def _places(error: BaseException) -> set[str]:
    """The files and functions that an error came through, for readers that meet damage with any error."""
    frames = traceback.extract_tb(error.__traceback__)
    return {name for frame in frames for name in (os.path.basename(frame.filename), frame.name)}


class ReadableLoadingMixin:
    """Mixin, listed before the class of transformers, for everything that has `from_pretrained`."""

    bundled_folder: ClassVar[Path] = BUNDLED  # what `from_pretrained("bundled")` loads

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As transformers', from a folder, a repository on the Hub, or "bundled".

        Raises:
            NotLoadedError: no such repository or revision, no access, no connection and not in the cache, or
                a damaged file. Also an OSError.
            WrongKindError: the source holds another model type.
        """
        folder = BUNDLED if kwargs.get("subfolder") else cls.bundled_folder
        source = model_source(pretrained_model_name_or_path, folder)
        if isinstance(source, str | os.PathLike) and os.path.isfile(source):
            if Path(source).suffix != ".json":
                raise NotLoadedError(f"{source} is a file: name its folder.")
        with readable_hub_errors(source, kwargs.get("revision")):
            return super().from_pretrained(source, *args, **kwargs)  # ty: ignore[missing-attribute]

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """Does nothing. transformers calls it on classes that a repository's code imported, and would from
        then on copy this package's modules beside every saved model; a published model names the package."""


class StrictLoadingMixin(ReadableLoadingMixin):
    """The mixin for a model: no weight may be missing or have another shape."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As transformers', from a folder, the Hub or "bundled", but missing weights are an error.

        To fine-tune from a partial checkpoint, pass ignore_mismatched_sizes=True (new weights where none fit)
        or output_loading_info=True (and look at what is missing).

        Raises:
            NotLoadedError: see `ReadableLoadingMixin.from_pretrained`; or weights are missing or do not fit.
            WrongKindError: the source holds another model type.
        """
        source = pretrained_model_name_or_path
        with_report = kwargs.pop("output_loading_info", False)
        lenient = kwargs.pop("ignore_mismatched_sizes", False)
        loaded: Any = super().from_pretrained(
            source, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs
        )
        model, report = loaded
        if report["mismatched_keys"] and not lenient:
            raise NotLoadedError(
                f"The weights in {source} do not fit its configuration: they have other shapes. They belong "
                "to another model, or config.json was changed."
            )
        missing = sorted(report["missing_keys"])
        if missing and source is not None and not (with_report or lenient):
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise NotLoadedError(f"The weights in {source} are incomplete: {missing[0]} is missing{more}.")
        for name, value in model.state_dict().items() if source is not None else ():
            if value.is_floating_point() and not value.is_meta and not torch.isfinite(value).all():
                raise NotLoadedError(
                    f"The weights in {source} are damaged: {name} holds numbers that are not finite. "
                    "Download them again (force_download=True)."
                )
        return loaded if with_report else model

    def _move_missing_keys_from_meta_to_device(self, missing: Any, *args: Any, **kwargs: Any) -> None:
        """As transformers', which would fill the memory where config.json claims other sizes."""
        state = self.state_dict()  # ty: ignore[missing-attribute]
        if sum(state[name].nbytes for name in missing if name in state) > MOST_NEW_WEIGHTS:
            raise NotLoadedError(
                "the weights do not fit the configuration, which claims much larger ones: they belong to "
                "another model, or config.json was changed."
            )
        super()._move_missing_keys_from_meta_to_device(missing, *args, **kwargs)  # ty: ignore[missing-attribute]


class StrictConfigMixin(ReadableLoadingMixin):
    """The mixin for a configuration or a feature extractor, whose file states its type."""

    model_type: ClassVar[str]
    former_model_types: ClassVar[tuple[str, ...]] = ()  # that older versions wrote

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As `ReadableLoadingMixin.from_pretrained`.

        Raises:
            NotLoadedError: also where a value in the file is not allowed.
        """
        source = pretrained_model_name_or_path
        try:
            return super().from_pretrained(source, *args, **kwargs)
        except (OSError, WrongKindError):
            raise
        except (StrictDataclassError, ValueError) as error:
            raise NotLoadedError(f"{source} holds no valid {cls.__name__}: {one_line(error)}") from error

    def __post_init__(self, **kwargs: Any) -> None:
        kwargs.pop("model_type", None)  # the class says it; the file may state a former one
        super().__post_init__(**kwargs)  # ty: ignore[missing-attribute]

    def to_dict(self) -> dict[str, Any]:
        """As transformers', without the folders that parts were loaded from."""
        contents = super().to_dict()  # ty: ignore[missing-attribute]
        for part in getattr(self, "sub_configs_defaults", ()):
            if contents[part] is not None:
                contents[part].pop("_name_or_path", None)
        return contents

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """As transformers', with the present name where the file, or a part of it, states a former type."""
        contents, kwargs = super().get_config_dict(*args, **kwargs)  # ty: ignore[missing-attribute]
        for part in (contents, *contents.values()) if isinstance(contents, dict) else ():
            if isinstance(part, dict) and part.get("model_type") in cls.former_model_types:
                part["model_type"] = cls.model_type
        return contents, kwargs

    @classmethod
    def from_dict(cls, contents: dict[str, Any], **kwargs: Any) -> Self:
        """As transformers', which takes a file of any type and at most warns.

        Raises:
            WrongKindError: the file states another type, or none.
        """
        kind = getattr(cls, "model_type", None)
        expected, key, file = (kind, "model_type", "config.json")
        if kind is None:
            expected, key, file = (cls.__name__, "feature_extractor_type", "preprocessor_config.json")
        found = contents.get(key) if isinstance(contents, dict) else None
        if found not in (expected, *cls.former_model_types):
            said = f"it is a {found!r}" if found else f"it has no {file} with a {key}"
            raise WrongKindError(f"{said}; {cls.__name__} loads {expected!r}. Use the class of that type.")
        try:
            _check_common_fields(contents)
            return super().from_dict(contents, **kwargs)  # ty: ignore[missing-attribute]
        except (*UNCHECKED, StrictDataclassError, ValueError) as error:
            bug = isinstance(error, UNCHECKED) and not _is_foreign(error)
            if bug or isinstance(error, Lip2SpeechError):
                raise
            # `from_pretrained` names the source itself; an Auto class does not, and says here which it is.
            if "name_or_path" not in kwargs:
                raise ValueError(one_line(error)) from error
            raise NotLoadedError(
                f"{kwargs['name_or_path']} holds no valid {cls.__name__}: {one_line(error)}"
            ) from error

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike) -> dict[str, Any]:
        return json_object(json_file)


def _check_common_fields(contents: Mapping[str, Any]) -> None:
    """Refuse what no model here has, in the fields that transformers itself would fail on, at any depth."""
    for name, value in contents.items():
        if name in ("dtype", "torch_dtype") and value is not None and value not in DTYPES:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(DTYPES)}.")
        if name in ("_attn_implementation", "attn_implementation") and value not in (None, "eager", "sdpa"):
            raise ValueError(f"{name} is {value!r}; expected eager or sdpa.")
        if name == "num_labels" and not (isinstance(value, int) and 0 <= value <= MOST_LABELS):
            raise ValueError(f"num_labels is {value!r}, but no model here has labels.")
        if name == "quantization_config" and value is not None:
            raise ValueError("it has a quantization_config, but quantised models are not supported.")
        if isinstance(value, dict):
            _check_common_fields(value)


def states_type(contents: Mapping[str, Any], config_class: type[PreTrainedConfig]) -> bool:
    """Whether the contents of a config.json are of a type, by its present name or a former one."""
    known = (config_class.model_type, *getattr(config_class, "former_model_types", ()))
    return contents.get("model_type") in known


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
