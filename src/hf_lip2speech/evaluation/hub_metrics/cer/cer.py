"""Character error rate as an `evaluate.Metric`, corpus level."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class Cer(base.CorpusMetric):
    function = staticmethod(metrics.cer)
    predictions = references = base.TEXT
