"""ESTOI as an `evaluate.Metric`."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class Estoi(base.ClipMetric):
    function = staticmethod(metrics.estoi)
