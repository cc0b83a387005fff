"""What the Hub says of a card's metadata: https://github.com/huggingface/hub-docs/blob/main/modelcard.md"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"---[\n\r]+([\S\s]*?)[\n\r]+---[\n\r]")  # as huggingface_hub looks for it
NAME = re.compile(r"([\w.-]+/)?[\w.-]+")
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "other", "unknown"}  # of some seventy


def problems(content: str) -> list[str]:
    """What is wrong with a README.md; nothing where it is right."""
    match = FRONT_MATTER.match(content)
    if match is None:
        return []  # the Hub warns
    try:
        metadata = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {' '.join(str(error).split())}"]
    return list(_problems(metadata)) if isinstance(metadata, dict) else ["The metadata must be an object"]


def _problems(metadata: dict[str, Any]) -> Iterator[str]:
    if metadata.get("license", "mit") not in LICENCES:
        yield f'"license" must be one of {sorted(LICENCES)}'
    for key in ("tags", "language", "datasets", "base_model"):
        values = metadata.get(key, [])
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            yield f'"{key}" must be an array of strings'
        elif key == "language" and not all(re.fullmatch("[a-z]{2,3}", value) for value in values):
            yield '"language" must only contain ISO 639 codes'
        elif key in ("datasets", "base_model") and not all(map(NAME.fullmatch, values)):
            yield f'"{key}" with value {values} is not valid: it should be names of the Hub'
    for model in metadata.get("model-index", []):
        yield from _missing("model-index", model, {"name": str, "results": list})
        for result in model.get("results") or []:
            yield from _missing("results", result, {"task": dict, "dataset": dict, "metrics": list})
            yield from _missing("task", result.get("task") or {}, {"type": str})
            yield from _missing("dataset", result.get("dataset") or {}, {"type": str, "name": str})
            for metric in result.get("metrics") or []:
                yield from _missing("metrics", metric, {"type": str, "value": (int, float, str)})


def _missing(where: str, entry: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for key, kind in expected.items():
        if not isinstance(entry.get(key), kind) or entry[key] in ("", [], {}):
            yield f'"{where}.{key}" is required'
