"""DNSMOS P.835 as an `evaluate.Metric`: predictions only, there is no reference."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class Dnsmos(base.ClipMetric):
    function = staticmethod(metrics.dnsmos)
    references = None
