"""Makes the cards here, and the README.md beside the model that comes with the package.

python model_cards/build.py

NAME.yaml holds the facts: `common`, and what is said of each kind of model. NAME.results*.json, where they
are, are what `hf-lip2speech evaluate` wrote: the figures come from there alone.
"""

import json
from pathlib import Path

from hf_lip2speech.hub.cards import HERE as THIS_FOLDER
from hf_lip2speech.hub.cards import KINDS, model_card, read_facts
from hf_lip2speech.models.modeling_lip2speech_with_vocoder import BUNDLED

HERE = Path(__file__).parent
NAME = "lip2speech_grid_s1"
SUFFIXES = dict(zip(KINDS, ("", "_lip2speech", "_vocoder", "_unit_extractor"), strict=True))


def cards() -> dict[Path, str]:
    """Every card by its file."""
    facts = read_facts(HERE / f"{NAME}.yaml")
    results = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob(f"{NAME}.results*.json"))
    ]

    def card(kind: str, repo_id: str) -> str:
        return str(model_card(kind, facts["common"] | facts[kind], results, repo_id=repo_id))

    made = {
        HERE / f"{NAME}{suffix}.md": card(kind, f"user/{NAME}{suffix}") for kind, suffix in SUFFIXES.items()
    }
    return made | {BUNDLED / "README.md": card(KINDS[0], THIS_FOLDER)}


if __name__ == "__main__":
    for path, text in cards().items():
        if path.parent.is_dir():
            path.write_text(text, encoding="utf-8")
            print(path)
