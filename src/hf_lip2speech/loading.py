"""`from_pretrained` that says in a sentence what went wrong, and refuses what is of another kind.

transformers lets a broken connection through as the HTTP client raised it and a damaged file as its reader
did, fills what is missing in a model (all of it, in one of another kind) with random weights and a warning,
and names what it could not find in one of a dozen ways.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError

from .errors import NotLoadedError, WrongKindError


@contextmanager
def readable_hub_errors(source: object, revision: str | None = None) -> Generator[None]:
    """Failures of the Hub's client and of the readers of files, inside the block, become a sentence about
    `source`.

    Raises:
        NotLoadedError: an OSError as well, as which transformers reports these failures.
        WrongKindError: raised inside, now with its source.
    """
    try:
        yield
    except NotLoadedError:
        raise
    except WrongKindError as error:
        if str(source) in str(error):
            raise
        raise WrongKindError(f"{source}: {error}") from None
    except (OSError, SafetensorError, UnpicklingError, httpx2.HTTPError) as error:
        reason = _reason(error, revision)
        if reason is None:
            raise
        raise NotLoadedError(f"Nothing could be loaded from {str(source)!r}: {reason}") from error


def _reason(error: BaseException, revision: str | None) -> str | None:
    """What went wrong and what to do; None where `error` says so itself."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if isinstance(error, SafetensorError):
        return (
            f"its weights are damaged ({one_line(error)}). Load them anew (force_download=True), or ask "
            "whoever published them."
        )
    if isinstance(error, UnpicklingError):
        return (
            "its weights are a pickle that holds more than tensors, and was not read: reading it may run "
            "what it names. Ask whoever published them for safetensors."
        )
    if has(HFValidationError):
        return "it is neither a folder here nor a name of the form owner/name. Check the path."
    if has(GatedRepoError):
        return "its owner has to grant you access. Ask on its page, and log in with `hf auth login`."
    if has(RepositoryNotFoundError):
        return (
            "it is no folder here, and the Hub has no such repository, or none that you may read. Check the "
            "name; for a private one log in with `hf auth login` or pass token=."
        )
    if has(RevisionNotFoundError):
        return f"the repository has no branch, tag or commit {revision!r}. See its page for those it has."
    if has(LocalEntryNotFoundError):
        return (
            "it is no folder here, the Hub was not asked (local_files_only or HF_HUB_OFFLINE) or could not "
            "be reached, and the cache does not hold it. Check the name; connect and load it once."
        )
    if "does not appear to have a file named" in str(error):  # of weights, whatever the reason was
        return (
            "there are no weights (model.safetensors) in it; or the Hub was not asked for them "
            "(local_files_only or HF_HUB_OFFLINE), or could not be reached."
        )
    if has(httpx2.TransportError):
        return (
            "the connection to the Hub broke off, again and again. Try later. "
            f"({next(str(one) for one in causes if isinstance(one, httpx2.TransportError))})"
        )
    return None


class ReadableLoadingMixin:
    """Mixin, before the class of transformers, for what is loaded by `from_pretrained`."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As transformers', from a folder or a repository of the Hub.

        Raises:
            NotLoadedError: no such repository or revision, no access, no connection and not in the cache;
                what is there is damaged.
            WrongKindError: what is there is of another kind.
            OSError: a file is missing or unreadable.
        """
        source = pretrained_model_name_or_path
        if (
            isinstance(source, str | os.PathLike)
            and os.path.isfile(source)
            and Path(source).suffix != ".json"
        ):
            raise NotLoadedError(f"{source} is a file: name the folder that it lies in.")
        with readable_hub_errors(source, kwargs.get("revision")):
            return super().from_pretrained(source, *args, **kwargs)  # ty: ignore[missing-attribute]

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """Does nothing. transformers calls it on what a repository's own code brought, and would from then on
        copy this package's modules beside whatever is saved; a published model names the package instead."""


class StrictLoadingMixin(ReadableLoadingMixin):
    """The mixin for a model, none of whose weights may be missing or misshapen."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As transformers', from a folder or a repository of the Hub; a model with random weights is none.

        Who starts a training from what is there passes ignore_mismatched_sizes=True, which puts new weights
        where there are none that fit, or output_loading_info=True, and looks at what is missing.

        Raises:
            NotLoadedError: no such repository or revision, no access, no connection and not in the cache;
                what is there is damaged, or lacks weights that the configuration asks for.
            WrongKindError: what is there is of another kind.
            OSError: a file is missing or unreadable.
        """
        source = pretrained_model_name_or_path
        with_report = kwargs.pop("output_loading_info", False)
        try:
            loaded: Any = super().from_pretrained(source, *args, output_loading_info=True, **kwargs)
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise NotLoadedError(
                f"The weights in {source} do not fit its configuration: they have other shapes. They are "
                "another model's, or config.json was changed."
            ) from error
        model, report = loaded
        missing = sorted(report["missing_keys"])
        if missing and source is not None and not (with_report or kwargs.get("ignore_mismatched_sizes")):
            more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise NotLoadedError(f"The weights in {source} are not whole: {missing[0]} is missing{more}.")
        return loaded if with_report else model


class StrictConfigMixin(ReadableLoadingMixin):
    """The mixin for a configuration or a feature extractor, whose file says what kind it is."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> Self:
        """As `ReadableLoadingMixin.from_pretrained`.

        Raises:
            NotLoadedError: also where the file holds what cannot be.
        """
        source = pretrained_model_name_or_path
        try:
            return super().from_pretrained(source, *args, **kwargs)
        except (OSError, WrongKindError):
            raise
        except (StrictDataclassError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise NotLoadedError(f"{source} holds no valid {cls.__name__}: {one_line(error)}") from error

    @classmethod
    def from_dict(cls, contents: dict[str, Any], **kwargs: Any) -> Self:
        """As transformers', which takes the file of any kind and at most warns.

        Raises:
            WrongKindError: the file is that of another kind, or says none.
        """
        kind = getattr(cls, "model_type", None)
        expected, key = (cls.__name__, "feature_extractor_type") if kind is None else (kind, "model_type")
        found = contents.get(key)
        if found != expected:
            said = f"what is there is of the kind {found!r}" if found else f"its {key} is stated nowhere"
            raise WrongKindError(
                f"{said}; {cls.__name__} loads {expected!r}. Take the class that belongs to "
                "it, or another folder or repository."
            )
        return super().from_dict(contents, **kwargs)  # ty: ignore[missing-attribute]


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
