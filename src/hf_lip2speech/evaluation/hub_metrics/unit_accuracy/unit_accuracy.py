"""Unit accuracy as an `evaluate.Metric`, corpus level."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class UnitAccuracy(base.CorpusMetric):
    function = staticmethod(metrics.unit_accuracy)
    predictions = references = base.UNITS
