"""Wide-band PESQ as an `evaluate.Metric`."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class PesqWb(base.ClipMetric):
    function = staticmethod(metrics.pesq_wb)
