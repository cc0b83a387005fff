"""STOI as an `evaluate.Metric`."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class Stoi(base.ClipMetric):
    function = staticmethod(metrics.stoi)
