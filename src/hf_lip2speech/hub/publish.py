"""Publishing: a checkpoint becomes a repository of the Hub, in one commit."""

import re
import tempfile
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ..errors import PublishError
from .repository import CARD, make_repository, one_line


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
            commit = api.upload_folder(
                repo_id=url.repo_id,
                folder_path=folder,
                commit_message="Publish with hf-lip2speech",
                delete_patterns=["*.safetensors", "*.safetensors.index.json", "samples/*", ".eval_results/*"],
            )
        except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError) as error:
            raise PublishError(
                f"The Hub does not take {repo_id!r}: {_advice(error)} ({one_line(error)})"
            ) from error
        except PublishError:
            raise
        except ValueError as error:
            raise PublishError(f"The Hub does not take the card's metadata: {one_line(error)}") from error
    return commit.commit_url


def _advice(error: BaseException) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return "it does not know who you are. Log in with `hf auth login`, or set HF_TOKEN."
    if status == 403:
        return (
            "you may not write there. Take a name of your own or of an organisation that you may write to, "
            "and a token that may write."
        )
    if status is not None or isinstance(error, HFValidationError):
        return "see what it says."
    return "it cannot be reached. Check the connection (and HF_HUB_OFFLINE), and try again."
