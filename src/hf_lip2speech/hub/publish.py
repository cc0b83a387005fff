"""Publishing: a checkpoint becomes a repository of the Hub, in one commit."""

import json
import re
import tempfile
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..errors import PublishError
from ..loading import one_line
from .repository import CARD, is_ours, make_repository

_LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."


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
    """Upload a checkpoint in one commit, to a repository that is made where it does not exist.

    Where the upload breaks off, nothing of it is seen, and another attempt does not send again what arrived.

    Args:
        checkpoint, facts, evaluation, sample: As for `make_repository`.
        repo_id: "owner/name".
        private: Make the repository private. One that exists keeps its visibility; a public one is refused.
        token: Of the Hub; default: that of `hf auth login` or the variable HF_TOKEN.

    Returns:
        The commit's address.

    Raises:
        PublishError: the checkpoint is not whole, the card is not valid, or the Hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo_id):
        raise PublishError(f"A repository is named owner/name, got {repo_id!r}.")
    if (token or get_token()) is None:
        raise PublishError(f"The Hub does not take {repo_id!r}: it does not know who you are. {_LOG_IN}")
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        make_repository(checkpoint, Path(folder), repo_id, facts=facts, evaluation=evaluation, sample=sample)
        try:
            ModelCard.load(Path(folder) / CARD).validate()
            url = api.create_repo(repo_id, private=private or None, exist_ok=True)
            if private and not api.model_info(url.repo_id).private:
                raise PublishError(
                    f"{url} exists and is public; expected a private repository. Make it private on its "
                    "settings page, or give another name."
                )
            commit = api.create_commit(
                url.repo_id,
                _operations(api, url.repo_id, Path(folder)),
                commit_message="Publish with hf-lip2speech",
            )
        except PublishError:
            raise
        except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError, RuntimeError) as error:
            raise PublishError(
                f"The Hub does not take {repo_id!r}: {_advice(error)} ({one_line(error)})"
            ) from error
        except ValueError as error:
            raise PublishError(f"The Hub does not take the card's metadata: {_problems(error)}") from error
    return commit.commit_url


def _operations(api: HfApi, repo_id: str, folder: Path) -> list[CommitOperationAdd | CommitOperationDelete]:
    """Everything in the folder is added; what an earlier version had, and this one has not, is removed.

    `HfApi.upload_folder` would do the same, in several commits when it takes long.
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
        return f"it does not know who you are. {_LOG_IN}"
    if status == 403:
        return (
            "you may not write there. Take a name of your own or of an organisation that you may write to, "
            "and a token that may write."
        )
    if status is not None or isinstance(error, HFValidationError):
        return "see what it says."
    if isinstance(error, RuntimeError):  # the client's, when a large file did not get through
        return (
            "the upload broke off. Nothing of it is to be seen; try again, what has arrived is not sent anew."
        )
    return "it cannot be reached. Check the connection (and HF_HUB_OFFLINE), and try again."


def _problems(error: ValueError) -> str:
    """What the Hub says of a card, which it writes as JSON."""
    try:
        return "; ".join(problem["message"] for problem in json.loads(str(error))["errors"])
    except (ValueError, KeyError, TypeError):
        return one_line(error)
