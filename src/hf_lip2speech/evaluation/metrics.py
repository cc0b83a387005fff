"""All metrics in one namespace. Each is a pure function; what it does about time stands in ALIGNMENT.

Signals are laid start upon start and have the reference's length: longer speech loses its end, shorter speech
is filled with silence. Nothing is shifted, save where ALIGNMENT says so.
"""

from ..errors import MetricError, PesqUndefinedError, UndefinedMetricError
from .alignment import ALIGNMENT, delay
from .lip_sync import LipSync, lip_sync
from .naturalness import Dnsmos, dnsmos
from .perceptual import estoi, pesq_nb, pesq_wb, stoi
from .pitch import F0Errors, f0_errors
from .speaker_similarity import embedding_similarity, speaker_similarity
from .spectral import log_spectral_distance, mel_cepstral_distortion
from .transcripts import CharacterErrors, WordErrors, cer, character_errors, wer, word_errors
from .unit_errors import unit_accuracy, unit_error_rate

__all__ = [
    "ALIGNMENT",
    "CharacterErrors",
    "Dnsmos",
    "F0Errors",
    "LipSync",
    "MetricError",
    "PesqUndefinedError",
    "UndefinedMetricError",
    "WordErrors",
    "cer",
    "character_errors",
    "delay",
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
