"""What the `evaluate.Metric`s of this folder have in common."""

import inspect
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import datasets
import evaluate
import numpy as np

from ...errors import NoSpeechError, UndefinedMetricError

SIGNAL = datasets.Sequence(datasets.Value("float32"))
UNITS = datasets.Sequence(datasets.Value("int64"))
TEXT = datasets.Value("string")


class FunctionMetric(evaluate.Metric):
    """An `evaluate.Metric` over a pure function, whose docstring is its description.

    A subclass names the function and the types of predictions and references.
    """

    function: Callable[..., Any]
    predictions: Any = SIGNAL
    references: Any = SIGNAL

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": self.predictions, "references": self.references}
        about = inspect.getdoc(self.function) or ""
        return evaluate.MetricInfo(
            description=about,
            citation="",  # the description names the source
            inputs_description=about,
            features=datasets.Features({name: kind for name, kind in features.items() if kind is not None}),
        )


class ClipMetric(FunctionMetric):
    """A metric of single clips. `compute` gives their mean, "per_clip", and the number "undefined" (None
    there).

    Further arguments of `compute` go to the function.
    """

    def _compute(self, *, predictions=None, references=None, **options) -> dict[str, Any]:
        columns: list[Any] = [predictions] if references is None else [references, predictions]
        per_clip: list[Any] = []
        for pair in zip(*columns, strict=True):
            try:
                score = type(self).function(*map(_as_array, pair), **options)
            except (UndefinedMetricError, NoSpeechError):  # counted, not hidden in the mean
                score = None
            per_clip.append(asdict(score) if is_dataclass(score) and not isinstance(score, type) else score)
        defined = [score for score in per_clip if score is not None]
        undefined = len(per_clip) - len(defined)
        if defined and isinstance(defined[0], dict):
            means = {key: _mean([score[key] for score in defined]) for key in defined[0]}
        else:
            means = {self.name: _mean(defined)}
        return means | {"per_clip": per_clip, "undefined": undefined}


class CorpusMetric(FunctionMetric):
    """A metric of all clips together: one number under the metric's name."""

    def _compute(self, *, predictions=None, references=None, **options) -> dict[str, Any]:
        return {self.name: type(self).function(references, predictions, **options)}


def _as_array(value: Any) -> Any:
    return np.asarray(value, dtype=np.float32) if isinstance(value, list) else value


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
