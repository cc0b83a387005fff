"""Whether two recordings sound like the same person."""

import numpy as np

from ..errors import MetricError
from ..models.modeling_speaker_encoder import SpeakerEncoder
from .alignment import check_signal


def embedding_similarity(reference: np.ndarray, embedding: np.ndarray) -> float:
    """Cosine of the angle between two speaker embeddings (D,): 1 for the same direction.

    Raises:
        MetricError: not two vectors of the same length, or one of them is zero.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(embedding, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.any() or not b.any():
        raise MetricError(
            f"embeddings of shapes {a.shape} and {b.shape} were given; two of (D,), not 0, were expected."
        )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def speaker_similarity(reference: np.ndarray, speech: np.ndarray, encoder: SpeakerEncoder) -> float:
    """Cosine similarity of the speakers of two recordings, 0 to 1 (the embeddings are non-negative).

    Wan, Wang, Papir, Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018.
    Silence is left out, and what is said and when does not count. Name the encoder beside the number: with
    the bundled one, two clips of one GRID speaker and clips of two lie close together, so show a row of true
    speech. A system that is given the embedding of this same encoder is judged by its own teacher.

    Args:
        reference: (N,) a recording of the speaker, 16 kHz mono in [-1, 1].
        speech: (M,) speech to score, 16 kHz mono in [-1, 1].
        encoder: such as SpeakerEncoder.bundled().

    Raises:
        NoSpeechError: no speech was detected in one of them (noise, silence): count such clips apart.
        MetricError: a signal is empty, not mono or not finite.
    """
    reference, speech = check_signal("reference", reference), check_signal("speech", speech)
    return embedding_similarity(encoder.embed(reference), encoder.embed(speech))
