"""The metrics for 🤗 Evaluate: `evaluate.load(metrics.EVALUATE_MODULE, NAME)`, see `metrics`.

Evaluate copies this file into its cache and imports it from there, hence the absolute imports.
"""

import inspect
from dataclasses import asdict, is_dataclass
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_lip2speech.errors import MetricError, NoSpeechError, UndefinedMetricError
from hf_lip2speech.evaluation import lip_sync, metrics
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder

SIGNAL = datasets.Sequence(datasets.Value("float32"))
UNITS = datasets.Sequence(datasets.Value("int64"))
TEXT = datasets.Value("string")
# Predictions and references; all others are (SIGNAL, SIGNAL).
TYPES: dict[str, tuple[Any, Any]] = {
    **dict.fromkeys(("wer", "cer"), (TEXT, TEXT)),
    **dict.fromkeys(("unit_accuracy", "unit_error_rate"), (UNITS, UNITS)),
    **dict.fromkeys(("dnsmos", "distill_mos"), (SIGNAL, None)),
    "lip_sync": (SIGNAL, TEXT),
}


def score_lip_sync(video: str, speech: np.ndarray, syncnet: lip_sync.SyncNet) -> lip_sync.LipSync:
    """LSE-D, LSE-C and offset of speech (N,) at 16 kHz for the path of a video that shows the face.

    `compute(..., syncnet=PATH)` takes the path of syncnet_v2.model, which this package does not contain.
    Chung, Zisserman, "Out of time: automated lip sync in the wild", 2016; Prajwal et al., ACM MM 2020.
    """
    return lip_sync.lip_sync(lip_sync.face_crops(video), speech, syncnet)


class Lip2SpeechMetric(evaluate.Metric):
    """One metric, chosen by the configuration's name; its description is the function's docstring.

    Error rates and unit accuracy are of all clips together: {NAME: value}. The others are computed per clip;
    `compute` gives their mean, "per_clip", and the number of "undefined" clips (None in "per_clip").
    Further arguments of `compute` are passed to the function.
    """

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in metrics.EVALUATE_METRICS:
            known = ", ".join(metrics.EVALUATE_METRICS)
            raise MetricError(f"There is no metric {self.config_name!r}; expected one of {known}.")
        own = {"lip_sync": score_lip_sync}
        self.function: Any = own.get(self.config_name) or getattr(metrics, self.config_name)
        predictions, references = TYPES.get(self.config_name, (SIGNAL, SIGNAL))
        features = {"predictions": predictions} | ({} if references is None else {"references": references})
        about = inspect.getdoc(self.function) or ""
        return evaluate.MetricInfo(
            description=about,
            citation="",  # the description names the source
            inputs_description=about,
            features=datasets.Features(features),
        )

    def _compute(self, *, predictions=None, references=None, **options) -> dict[str, Any]:
        name = self.config_name
        if name in ("wer", "cer", "unit_accuracy", "unit_error_rate"):
            return {name: self.function(references, predictions, **options)}
        if name == "speaker_similarity":
            options.setdefault("encoder", SpeakerEncoder.bundled())
        if name == "lip_sync":
            options["syncnet"] = lip_sync.SyncNet.from_file(options.get("syncnet", "syncnet_v2.model"))
        columns: list[Any] = [predictions] if references is None else [references, predictions]
        per_clip: list[Any] = []
        for arguments in zip(*columns, strict=True):
            try:
                arrays = [np.float32(one) if isinstance(one, list) else one for one in arguments]
                score = self.function(*arrays, **options)
            except (UndefinedMetricError, NoSpeechError):  # counted, not hidden in the mean
                score = None
            per_clip.append(asdict(score) if is_dataclass(score) else score)
        defined = [score for score in per_clip if score is not None]
        if defined and isinstance(defined[0], dict):
            means = {key: _mean([score[key] for score in defined]) for key in defined[0]}
        else:
            means = {name: _mean(defined)}
        return means | {"per_clip": per_clip, "undefined": len(per_clip) - len(defined)}


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else None
