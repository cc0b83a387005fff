"""All metrics in one namespace. Each is a pure function; ALIGNMENT says what each does about time.

Signals start together and have the reference's length: longer speech loses its end, shorter speech is padded
with silence. Nothing is shifted, except where ALIGNMENT says so. Every metric of signals raises a MetricError
for a signal that is empty, not mono, not finite or far beyond [-1, 1], an UndefinedMetricError where it is
not defined (count such clips separately), and an ImportError that names the extra of a missing package.

For 🤗 Evaluate, EVALUATE_METRICS names those that load offline, as configurations of one module:

    stoi = evaluate.load(EVALUATE_MODULE, "stoi")
    stoi.compute(predictions=[speech], references=[truth])  # {"stoi": 0.55, "per_clip": ...}
"""

from pathlib import Path

from ..errors import MetricError, PesqUndefinedError, UndefinedMetricError
from .alignment import ALIGNMENT, delay
from .error_rates import EditErrors, cer, character_errors, unit_accuracy, unit_error_rate, wer, word_errors
from .lip_sync import LipSync, lip_sync
from .quality import (
    Dnsmos,
    distill_mos,
    dnsmos,
    estoi,
    log_spectral_distance,
    mel_cepstral_distortion,
    pesq_nb,
    pesq_wb,
    stoi,
)
from .voice import F0Errors, embedding_similarity, f0_errors, speaker_similarity

EVALUATE_MODULE = str(Path(__file__).with_name("evaluate_metric.py"))
EVALUATE_METRICS = tuple(sorted({name.split(",")[0] for name in ALIGNMENT} - {"delay"}))

__all__ = [
    "ALIGNMENT",
    "EVALUATE_METRICS",
    "EVALUATE_MODULE",
    "Dnsmos",
    "EditErrors",
    "F0Errors",
    "LipSync",
    "MetricError",
    "PesqUndefinedError",
    "UndefinedMetricError",
    "cer",
    "character_errors",
    "delay",
    "distill_mos",
    "dnsmos",
    "embedding_similarity",
    "estoi",
    "f0_errors",
    "lip_sync",
    "log_spectral_distance",
    "mel_cepstral_distortion",
    "pesq_nb",
    "pesq_wb",
    "speaker_similarity",
    "stoi",
    "unit_accuracy",
    "unit_error_rate",
    "wer",
    "word_errors",
]
