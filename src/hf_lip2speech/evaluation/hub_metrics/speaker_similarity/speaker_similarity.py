"""Speaker similarity as an `evaluate.Metric`, with the bundled encoder unless `compute` is given another."""

from typing import Any

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base
from hf_lip2speech.models.modeling_speaker_encoder import SpeakerEncoder


class SpeakerSimilarity(base.ClipMetric):
    function = staticmethod(metrics.speaker_similarity)

    def _compute(self, *, predictions=None, references=None, **options) -> dict[str, Any]:
        options.setdefault("encoder", SpeakerEncoder.bundled())
        return super()._compute(predictions=predictions, references=references, **options)
