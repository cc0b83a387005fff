"""`from_pretrained` that says in a sentence what went wrong, and refuses what is of another kind.

transformers lets a broken connection through as the HTTP client raised it, fills a model of another kind with
random weights and a warning, and names what it could not find in one of a dozen ways.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Self

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from .errors import NotLoadedError, WrongKindError


@contextmanager
def said_plainly(source: object, revision: str | None = None) -> Generator[None]:
    """Failures of the Hub's client inside the block become a sentence about `source`.

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
    except (OSError, httpx2.HTTPError) as error:
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
    if has(httpx2.TransportError):
        return (
            "the connection to the Hub broke off, again and again. Try later. "
            f"({next(str(one) for one in causes if isinstance(one, httpx2.TransportError))})"
        )
    return None


class FromHub:
    """Mixin, before the class of transformers, for what is loaded by `from_pretrained`."""

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **kwargs: Any) -> Self:
        """As transformers', from a folder or a repository of the Hub.

        Raises:
            NotLoadedError: no such repository or revision, no access, no connection and not in the cache.
            WrongKindError: what is there is of another kind.
            OSError: a file is missing or unreadable.
        """
        with said_plainly(source, kwargs.get("revision")):
            return super().from_pretrained(source, *args, **kwargs)  # ty: ignore[missing-attribute]

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """Does nothing. transformers calls it on what a repository's own code brought, and would from then on
        copy this package's modules beside whatever is saved; a published model names the package instead."""


class OneKindFromHub(FromHub):
    """The mixin for a configuration or a feature extractor, whose file says what kind it is."""

    @classmethod
    def from_dict(cls, contents: dict[str, Any], **kwargs: Any) -> Self:
        """As transformers', which takes the file of any kind and at most warns.

        Raises:
            WrongKindError: the file is that of another kind.
        """
        kind = getattr(cls, "model_type", None)
        expected, key = (cls.__name__, "feature_extractor_type") if kind is None else (kind, "model_type")
        found = contents.get(key, expected)
        if found != expected:
            raise WrongKindError(
                f"what is there is of the kind {found!r}; {cls.__name__} loads {expected!r}. Take the class "
                "that belongs to it, or another folder or repository."
            )
        return super().from_dict(contents, **kwargs)  # ty: ignore[missing-attribute]
