"""Unit error rate as an `evaluate.Metric`, corpus level."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class UnitErrorRate(base.CorpusMetric):
    function = staticmethod(metrics.unit_error_rate)
    predictions = references = base.UNITS
