"""A card that lies beside the weights already, made ready for a repository."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from ..errors import PublishError
from ..loading import one_line
from .cards import HERE, KINDS, samples_section


def existing_card(
    path: Path, kind: str, results: Sequence[Mapping[str, Any]], repo_id: str, samples: Sequence[str]
) -> ModelCard:
    """The card in `path` under the repository's name; with samples and results where it has none.

    Args:
        path, repo_id: README.md, and "owner/name", which takes the place of `cards.HERE`.
        kind, results, samples: As for `cards.model_card`.

    Raises:
        PublishError: its header is no metadata of a card, or states no licence.
    """
    try:
        card = ModelCard(path.read_text(encoding="utf-8").replace(HERE, repo_id))
    except (ValueError, yaml.YAMLError) as error:  # UnicodeDecodeError is a ValueError
        raise PublishError(f"{path} is no model card: {one_line(error)}") from error
    if not card.data.to_dict().get("license"):
        raise PublishError(
            f"{path} states no license in its header. Add it, or write card.yaml beside it and remove "
            "the card."
        )
    sections = {title.lower() for title in re.findall(r"^## (\w+)", card.text, flags=re.MULTILINE)}
    if samples and "samples" not in sections:
        use, *rest = re.split(r"^(?=## Training)", card.text, maxsplit=1, flags=re.MULTILINE)
        card.text = "\n\n".join([use.rstrip(), samples_section(repo_id, samples).strip(), *rest])
    if not results or "evaluation" in sections:
        return ModelCard(str(card))
    from ..evaluation.card import card_section, eval_results

    card.text = "\n\n".join([card.text.rstrip(), *(card_section(one).strip() for one in results)]) + "\n"
    if kind == KINDS[0]:
        entries = [entry for one in results for entry in eval_results(one)]
        name = repo_id.rsplit("/", 1)[-1]
        card.data = ModelCardData(**card.data.to_dict() | {"model_name": name, "eval_results": entries})
    return ModelCard(str(card))
