"""Mel cepstral distortion as an `evaluate.Metric`; `compute(..., dtw=True)` for MCD-DTW."""

from hf_lip2speech.evaluation import metrics
from hf_lip2speech.evaluation.hub_metrics import base


class MelCepstralDistortion(base.ClipMetric):
    function = staticmethod(metrics.mel_cepstral_distortion)
