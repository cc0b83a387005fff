"""Cards for the Hub, rendered from templates/: of models, converted checkpoints, evaluations, prepared data.

What a publisher states about a model is a mapping (in files: YAML) with the keys

    title           the model's name
    about           what it is, in a paragraph or two
    install         the pip requirement, by default "." in a clone of hf-lip2speech
    license         an identifier of the Hub, such as apache-2.0 or cc-by-nc-4.0; or "other", with
    license_name, license_link
    license_reason  why the weights are under this licence: which data or weights they inherit it from
    language        of the speech, as ISO 639-1 codes, such as [en]
    datasets, base_model    names on the Hub, where there are any
    data, recipe, limits    lists of sentences
    intended_use    a list of sentences; there is a default
    citation        BibTeX

Only `title` is required: the card says what was not stated.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData, eval_result_entries_to_yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .errors import Lip2SpeechError, PublishError
from .files import write_text
from .results_text import END_TO_END, caption, end_to_end, model_name, name_of, shown_facts, split_note, table

KINDS = ("lip2speech_with_vocoder", "lip2speech", "lip2speech_unit_vocoder", "lip2speech_unit_extractor")
TAGS = ["lip-to-speech", "video-to-speech"]
HERE = "THIS FOLDER"  # in place of a repository's name where there is none yet

_TEXTS = (
    *("title", "about", "install", "license", "license_name", "license_link"),
    *("license_reason", "citation"),
)
_LISTS = ("data", "recipe", "limits", "intended_use", "language", "datasets", "base_model")
_SHORT_ROWS = ("ground_truth", END_TO_END)
_INDEXED = ("wer", "stoi", "estoi", "pesq_wb")  # the measures of `model-index`


def model_card(
    kind: str,
    facts: Mapping[str, Any],
    results: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    *,
    repo_id: str = HERE,
    samples: Sequence[str] = (),
) -> ModelCard:
    """The card of a model: use, limits, evaluation, training data, training, licence.

    Args:
        kind: One of `KINDS`.
        facts: What is stated, see this module's docstring.
        results: One or several evaluations, as `evaluation.results.read_results` returns them. The
            composite's card has them in its metadata (`model-index`) too.
        repo_id: The repository's name, in the commands that load the model.
        samples: Sound files of the repository, which the card plays.

    Raises:
        Lip2SpeechError: no such kind, an unknown fact, a fact of another type, or no title.
    """
    if kind not in KINDS:
        raise Lip2SpeechError(f"There is no card for the kind {kind!r}: expected one of {KINDS}.")
    facts = _checked(facts)
    evaluations = [results] if isinstance(results, Mapping) else list(results or ())
    eval_results = _model_index(evaluations) if kind == KINDS[0] else []
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
    places = {"facts": facts, "repo_id": repo_id, "samples": samples, **_evaluation_places(evaluations)}
    return ModelCard(render(f"{kind}.md", card_data=data.to_yaml(), **places))


def existing_card(
    path: Path, kind: str, results: Sequence[Mapping[str, Any]], repo_id: str, samples: Sequence[str]
) -> ModelCard:
    """The card in `path`, with `repo_id` in place of `HERE`, and with samples and results if it has none.

    Other arguments are as for `model_card`. A PublishError where its header is not the metadata of a card, or
    states no licence.
    """
    try:
        card = ModelCard(path.read_text(encoding="utf-8").replace(HERE, repo_id))
    except (RecursionError, ValueError, yaml.YAMLError) as error:  # UnicodeDecodeError is a ValueError
        raise PublishError(f"{path} is no model card: {' '.join(str(error).split())}") from error
    if not card.data.to_dict().get("license"):
        raise PublishError(
            f"{path} states no license in its header. Add it, or replace the card by card.yaml beside it."
        )
    sections = {title.lower() for title in re.findall(r"^## (\w+)", card.text, flags=re.MULTILINE)}
    if samples and "samples" not in sections:
        before = r"^(?=## (?:Evaluation|How to use it|Limits|Training))"
        use, *rest = re.split(before, card.text, maxsplit=1, flags=re.MULTILINE)
        section = render("samples.md", repo_id=repo_id, samples=samples).strip()
        card.text = "\n\n".join([use.rstrip(), section, *rest])
    if results and "evaluation" not in sections:
        card.text = f"{card.text.rstrip()}\n\n{evaluation_section(results)}"
        if kind == KINDS[0]:
            metadata = {"model_name": repo_id.rsplit("/", 1)[-1], "eval_results": _model_index(results)}
            card.data = ModelCardData(**card.data.to_dict() | metadata)
    return ModelCard(str(card))


def converted_card(
    title: str,
    papers: Sequence[tuple[str, str]],
    parts: Sequence[Any],
    *,
    model_class: str | None = None,
    has_voice: bool = False,
) -> str:
    """The card of a converted checkpoint.

    Args:
        title: What was converted.
        papers: (citation, address of code and weights) of each source.
        parts: Of each file, the lines "file" and "tensors".
        model_class: The class that loads it; None: the pipeline does.
        has_voice: The pipeline needs no recording of a voice.
    """
    data = ModelCardData(
        library_name="transformers",
        license="other",
        license_name="non-commercial",
        license_link=papers[0][1],
        tags=TAGS,
    )
    places = {"title": title, "papers": papers, "parts": parts, "model_class": model_class}
    return render("converted.md", card_data=data.to_yaml(), has_voice=has_voice, here=HERE, **places)


def prepared_card(corpus: str, clips: int, hours: float, repo_id: str) -> str:
    """The card of a prepared folder on the Hub."""
    return render("prepared.md", corpus=corpus, clips=clips, hours=hours, repo_id=repo_id, tags=TAGS)


def read_facts(path: str | Path) -> dict[str, Any]:
    """The stated facts in a YAML file; a Lip2SpeechError where it is none, or holds no mapping."""
    try:
        facts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise Lip2SpeechError(f"The facts in {path} cannot be read as YAML: {error}.") from error
    if not isinstance(facts, dict):
        raise Lip2SpeechError(f"{path} holds a {type(facts).__name__}; expected `name: value` lines in YAML.")
    return facts


def evaluation_section(results: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """The Markdown section "Evaluation" of a card: two rows of four measures, and all else folded."""
    evaluations = [results] if isinstance(results, Mapping) else list(results)
    return render("evaluation.md", **_evaluation_places(evaluations))


def write_evaluation_card(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `folder`/README.md and, where the data set has a name on the Hub, `folder`/.eval_results."""
    facts = results["facts"]
    data = ModelCardData(
        library_name="transformers",
        tags=TAGS,
        model_name=model_name(results),
        eval_results=_model_index([results]),
    )
    write_text(folder / "README.md", f"---\n{data.to_yaml()}\n---\n\n{evaluation_section(results)}")
    if dataset := facts.get("hub_dataset"):
        text = yaml.safe_dump(_eval_results(results, dataset), sort_keys=False, allow_unicode=True)
        name = f"{dataset.rsplit('/', 1)[-1]}_{facts['split']}.yaml"
        write_text(folder / ".eval_results" / name, text)


def render(template: str, **places: Any) -> str:
    """A template of templates/, filled in; in one of HTML, what is filled in is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=template.endswith(".html"),
    )
    text = environment.get_template(template).render(places)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _evaluation_places(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the template "evaluation.md" shows."""
    shown = []
    for results in evaluations:
        rows = [row["row"] for row in results["rows"]]
        tables = [table(results, rows, main=main) for main in (True, False)]
        about = {"name": name_of(results), "caption": caption(results), "rows": results["rows"]}
        about |= {"short": table(results, _SHORT_ROWS, keys=_INDEXED), "facts": shown_facts(results)}
        scores = [entry for entry in end_to_end(results) if entry[0]["key"] in _INDEXED]
        about["split_note"] = split_note(results)
        about["scores"] = ", ".join(
            f"{measure['label']} {value:g} ({ends})" for measure, value, ends in scores
        )
        shown.append(about | {"tables": [table for table in tables if table]})
    measures = {entry["key"]: entry for results in evaluations for entry in results["measures"]}
    alignments: dict[str, list[str]] = {}
    for entry in measures.values():
        alignments.setdefault(entry["alignment"], []).append(entry["label"])
    return {"evaluations": shown, "alignments": alignments}


def _model_index(evaluations: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """The main scores of the end-to-end speech for a card's `model-index`."""
    return [
        EvalResult(
            task_type="lip-to-speech",
            task_name="Lip-to-speech synthesis",
            dataset_type=results["facts"].get("hub_dataset") or results["facts"]["corpus"],
            dataset_name=results["facts"]["dataset"],
            dataset_split=results["facts"]["split"],
            metric_type=measure["key"],
            metric_name=measure["label"],
            metric_value=value,
        )
        for results in evaluations
        for measure, value, _ in end_to_end(results)
        if measure["key"] in _INDEXED
    ]


def _eval_results(results: Mapping[str, Any], dataset_id: str) -> list[dict[str, Any]]:
    """All scores of the end-to-end speech for the Hub's `.eval_results/*.yaml`, which the leaderboard of the
    data set DATASET_ID (OWNER/NAME) collects."""
    voice = next(row["voice"] for row in results["rows"] if row["row"] == END_TO_END)
    listener = results["facts"]["recogniser"]
    entries = []
    for measure, value, ends in end_to_end(results):
        by = f" by {listener['name']}" if measure["key"] in ("wer", "cer") else ""
        notes = f"{measure['label']}{by} (95 % interval {ends}); {name_of(results)}; voice: {voice}"
        entries.append(
            EvalResultEntry(dataset_id=dataset_id, task_id=measure["key"], value=value, notes=notes)
        )
    return eval_result_entries_to_yaml(entries)


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    """All facts; those not stated are None or empty; a single sentence becomes a list of one."""
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
            raise Lip2SpeechError(f"The fact {name} is {value!r}; expected a sentence or a list of them.")
        checked[name] = [one.strip() for one in value]
    return checked
