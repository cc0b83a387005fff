"""Model cards: a template for each kind of model, filled with stated facts and measured results.

The facts are a mapping (in files: YAML) with the keys

    title           what the model is called
    about           what it is, in a paragraph or two
    license         an identifier of the Hub, such as apache-2.0 or cc-by-nc-4.0; or "other", with
    license_name, license_link
    license_reason  why the weights are under this licence: which data or weights they inherit it from
    language        of the speech, as ISO 639-1 codes, such as [en]
    datasets, base_model    names on the Hub, where there are any
    data, recipe, limits    lists of sentences
    intended_use    a list of sentences; the template has its own where it is missing
    citation        BibTeX

of which only `title` has to be there: what is not stated is said to be not stated.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..errors import Lip2SpeechError

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("lip2speech_with_vocoder", "lip2speech", "lip2speech_unit_vocoder", "lip2speech_unit_extractor")
TAGS = ["lip-to-speech", "video-to-speech"]
HERE = "THIS FOLDER"  # stands for a repository's name where there is none yet

_TEXTS = ("title", "about", "license", "license_name", "license_link", "license_reason", "citation")
_LISTS = ("data", "recipe", "limits", "intended_use", "language", "datasets", "base_model")


def model_card(
    kind: str,
    facts: Mapping[str, Any],
    results: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    repo_id: str = HERE,
    samples: Sequence[str] = (),
) -> ModelCard:
    """A card: metadata, use, data, recipe, evaluation, licence, intended use, limits and misuse.

    Args:
        kind: One of `KINDS`: a configuration's `model_type`.
        facts: As this module's page says.
        results: What `hf-lip2speech evaluate` wrote as results.json, one or several. The composite's card
            has them in its metadata (`model-index`) too; the cards of its parts show them as the whole's.
        repo_id: The repository's name, in the commands that load the model.
        samples: Sound files of the repository, which the card plays.

    Raises:
        Lip2SpeechError: no such kind, a fact without a place in the card, of another type, or no title.
    """
    if kind not in KINDS:
        raise Lip2SpeechError(f"There is no card for a model of the kind {kind!r}: expected one of {KINDS}.")
    facts = _checked(facts)
    evaluations = [results] if isinstance(results, Mapping) else list(results or ())
    eval_results, sections = [], []
    if evaluations:
        from ..evaluation.card import card_section
        from ..evaluation.card import eval_results as entries_of

        sections = [card_section(one).strip() for one in evaluations]
        if kind == KINDS[0]:
            eval_results = [entry for one in evaluations for entry in entries_of(one)]
    data = ModelCardData(
        library_name="transformers",
        tags=TAGS,
        language=facts["language"] or None,
        datasets=facts["datasets"] or None,
        base_model=facts["base_model"] or None,
        model_name=facts["title"] if eval_results else None,
        eval_results=eval_results or None,
        **{name: facts[name] for name in ("license", "license_name", "license_link")},
    )
    places = {"facts": facts, "card_data": data.to_yaml(), "evaluations": sections}
    return ModelCard(_render(f"{kind}.md", repo_id=repo_id, samples=samples, **places))


def samples_section(repo_id: str, samples: Sequence[str]) -> str:
    """The section "Samples" of a card, as in `model_card`."""
    return _render("samples.md", repo_id=repo_id, samples=samples)


def read_facts(path: str | Path) -> dict[str, Any]:
    """The facts in a YAML file.

    Raises:
        Lip2SpeechError: the file is not there, is no YAML, or holds no mapping.
    """
    try:
        facts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Lip2SpeechError(
            f"The facts in {path} cannot be read: {error}. Expected a file in YAML."
        ) from error
    if not isinstance(facts, dict):
        raise Lip2SpeechError(f"{path} holds a {type(facts).__name__}; expected `name: value` lines in YAML.")
    return facts


def _render(template: str, **places: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template).render(places)


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """All facts, of which what is not stated is None or empty; a single sentence becomes a list of one."""
    if unknown := sorted(set(facts) - {*_TEXTS, *_LISTS}):
        raise Lip2SpeechError(
            f"A card has no place for {', '.join(map(repr, unknown))}; it takes {', '.join(_TEXTS + _LISTS)}."
        )
    if not facts.get("title"):
        raise Lip2SpeechError("The facts have no title: a card needs at least `title:`.")
    checked: dict[str, Any] = {}
    for name in _TEXTS:
        value = facts.get(name)
        if value is not None and not isinstance(value, str):
            raise Lip2SpeechError(f"The fact {name} is a {type(value).__name__}; expected text.")
        checked[name] = value.strip() if value else None
    for name in _LISTS:
        value = facts.get(name) or []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise Lip2SpeechError(
                f"The fact {name} is {value!r}; expected a sentence or a list of sentences."
            )
        checked[name] = [one.strip() for one in value]
    return checked
