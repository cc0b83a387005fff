"""Publishing a checkpoint as a repository on the Hub, in one commit."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError  # its HTTP client's

from ..errors import PublishError
from ..files import new_folder
from ..loading import one_line
from .repository import CARD, is_ours, make_repository

_LOG_IN = "You are not logged in to the Hub. Run `hf auth login` or set HF_TOKEN."


def publish(
    checkpoint: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    facts: str | Path | None = None,
    evaluation: str | Path | None = None,
    sample: str | Path | None = None,
    token: str | None = None,
) -> str:
    """Upload a checkpoint in one commit; the repository is created if it does not exist.

    If the upload is interrupted, nothing of it is visible, and another attempt sends only what is missing.

    Args:
        checkpoint, facts, evaluation, sample: As for `make_repository`.
        repo_id: "owner/name".
        private: Create a private repository. An existing one keeps its visibility; a public one is refused.
        token: Of the Hub; default: that of `hf auth login` or the variable HF_TOKEN.

    Returns:
        The model's address.

    Raises:
        PublishError: the checkpoint is incomplete, the card is not valid, or the Hub refuses.
    """
    _check_name(repo_id)
    if (token or get_token()) is None:
        raise PublishError(_LOG_IN)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        make_repository(checkpoint, Path(folder), repo_id, facts=facts, evaluation=evaluation, sample=sample)
        try:
            ModelCard.load(Path(folder) / CARD).validate()
            url = api.create_repo(repo_id, private=private or None, exist_ok=True)
            if private and not api.model_info(url.repo_id).private:
                raise PublishError(f"{url} exists and is public; expected a private repository: make it so.")
            api.create_commit(
                url.repo_id,
                _operations(api, url.repo_id, Path(folder)),
                commit_message="Publish with hf-lip2speech",
            )
        except PublishError:
            raise
        except (HfHubHTTPError, HFValidationError, HTTPError, OSError, RuntimeError) as error:
            raise PublishError(
                f"{repo_id!r} cannot be published: {_advice(error)} ({one_line(error)})"
            ) from error
        except ValueError as error:
            raise PublishError(f"The Hub rejects the card's metadata: {_problems(error)}") from error
    return str(url)


def preview(checkpoint: str | Path, repo_id: str, out: str | Path, **options: Any) -> list[Path]:
    """Write what `publish` would send to a new folder; returns its files, relative to it. The Hub is not
    asked.

    A PublishError as for `publish`, but for what only the Hub knows; a Lip2SpeechError where the folder
    exists.
    """
    _check_name(repo_id)
    with new_folder(out) as folder:
        make_repository(checkpoint, folder, repo_id, **options)
    return sorted(path.relative_to(out) for path in Path(out).rglob("*") if path.is_file())


def _check_name(repo_id: str) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise PublishError(f"Got the repository name {repo_id!r}; expected owner/name.")


def _operations(api: HfApi, repo_id: str, folder: Path) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Add everything in the folder; remove files of an earlier version that this one does not have.

    `HfApi.upload_folder` would do the same, but in several commits for a long upload.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    gone = [path for path in api.list_repo_files(repo_id) if is_ours(path) and path not in files]
    return [
        *(CommitOperationDelete(path) for path in gone),
        *(CommitOperationAdd(name, path) for name, path in sorted(files.items())),
    ]


def _advice(error: BaseException) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return _LOG_IN[0].lower() + _LOG_IN[1:]
    if status == 403:
        return "you may not write there. Use a name that you may write to, and a token with write access."
    if status is not None or isinstance(error, HFValidationError):
        return "the Hub answers with an error."
    if isinstance(error, RuntimeError):  # the client's, when a large file did not get through
        return "the upload was interrupted. Nothing of it is visible; try again, only the rest is sent."
    return "the Hub cannot be reached. Check the connection (and HF_HUB_OFFLINE), and try again."


def _problems(error: ValueError) -> str:
    """The Hub's messages about a card, which it sends as JSON."""
    try:
        return "; ".join(problem["message"] for problem in json.loads(str(error))["errors"])
    except (ValueError, KeyError, TypeError):
        return one_line(error)
