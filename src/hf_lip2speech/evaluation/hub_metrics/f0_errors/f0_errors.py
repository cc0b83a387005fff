"""Errors of pitch and voicing as an `evaluate.Metric`."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class F0Errors(base.ClipMetric):
    function = staticmethod(metrics.f0_errors)
