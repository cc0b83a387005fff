"""Log-spectral distance as an `evaluate.Metric`."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class LogSpectralDistance(base.ClipMetric):
    function = staticmethod(metrics.log_spectral_distance)
