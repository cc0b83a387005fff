"""Whose voice it is, and its melody: speaker similarity, pitch and voicing."""

import math
import os
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from ..audio.speech import f0
from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError, MetricError, NoSpeechError, UndefinedMetricError
from ..models.modeling_speaker_encoder import SpeakerEncoder
from .alignment import check_signal, match_length
from .recognisers import origin

GROSS = 0.2  # of the true pitch: a larger error is of its own kind, most often an octave
SHORTEST = 0.5  # seconds; of less, nobody can be told
FAINTEST = 1e-4  # root mean square, of [-1, 1]


def speaker_similarity(
    reference: np.ndarray, speech: np.ndarray, encoder: "SpeakerEncoder | XVectorEncoder"
) -> float:
    """Cosine similarity of the speaker embeddings of two recordings, by GE2E unless another encoder is named.

    0 to 1 with GE2E (Wan, Wang, Papir, Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification",
    ICASSP 2018), -1 to 1 with others. Silence is left out by GE2E; what is said and when does not count. Name
    the encoder beside the number: with the bundled one, two clips of one GRID speaker and clips of two
    speakers are close, so show a row of ground truth. The score favours a system whose input is an embedding
    of this same encoder, such as SpeakerEncoder.bundled() or `XVectorEncoder`. Signals have 16 kHz.

    Raises:
        NoSpeechError: no speech was detected in one of them (noise, silence): count such clips separately.
    """
    reference, speech = check_signal("reference", reference), check_signal("speech", speech)
    return embedding_similarity(encoder.embed(reference), encoder.embed(speech))


def embedding_similarity(reference: np.ndarray, embedding: np.ndarray) -> float:
    """Cosine of the angle between two speaker embeddings (D,): 1 for the same direction.

    Raises:
        MetricError: not two vectors of the same length, or one of them is zero.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(embedding, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.any() or not b.any():
        raise MetricError(
            f"Got embeddings of shapes {a.shape} and {b.shape}; expected two (D,), neither zero."
        )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@dataclass(frozen=True)
class F0Errors:
    """Errors of the fundamental frequency of one clip.

    Attributes:
        rmse_cents: Root mean square over the frames that are voiced in both, 1200 cents per octave; NaN if
            there is none.
        gross: Share of the frames voiced in both that are off by over 20 % (gross pitch error); NaN if there
            is none.
        voicing: Share of all frames that are voiced in one only (voicing decision error).
        frame: Share of all frames with either of the last two errors (F0 frame error).
    """

    rmse_cents: float
    gross: float
    voicing: float
    frame: float


def f0_errors(reference: np.ndarray, speech: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> F0Errors:
    """Errors of pitch and voicing, frame by frame; speech is cut or padded to the reference's length, never
    shifted.

    Chu, Alwan, "Reducing F0 Frame Error of F0 tracking algorithms under noisy conditions with an
    unvoiced/voiced classification frontend", ICASSP 2009 (its GPE, VDE, FFE). Arguments as in `stoi`.

    Raises:
        UndefinedMetricError: the reference is shorter than 0.1 s.
    """
    reference, speech = match_length(reference, speech)
    if len(reference) < sampling_rate / 10:
        seconds = len(reference) / sampling_rate
        raise UndefinedMetricError(f"The reference lasts {seconds:.3f} s; its pitch needs 0.1. Leave it out.")
    true, given = f0(reference, sampling_rate), f0(speech, sampling_rate)
    voiced = (true > 0) & (given > 0)
    voicing = (true > 0) != (given > 0)
    gross = voiced & (np.abs(given - true) > GROSS * true)
    cents = 1200 * np.log2(given[voiced] / true[voiced])
    return F0Errors(
        rmse_cents=float(np.sqrt(np.mean(cents**2))) if len(cents) else math.nan,
        gross=float(gross.sum() / voiced.sum()) if len(cents) else math.nan,
        voicing=float(voicing.mean()),
        frame=float((voicing | gross).mean()),
    )


class XVectorEncoder:
    """A speaker verification network of transformers, a folder or a name on the Hub, such as
    "microsoft/wavlm-base-plus-sv" (WavLM, Chen et al. 2022, with an x-vector head). A Lip2SpeechError where
    it cannot be loaded, or embeds no speakers."""

    def __init__(self, model: str | os.PathLike[str], *, device: str = "cpu"):
        source = os.fspath(model)
        try:
            self._extractor = AutoFeatureExtractor.from_pretrained(source)
            self._model = AutoModelForAudioXVector.from_pretrained(source).to(device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise Lip2SpeechError(
                f"{source!r} cannot be loaded as a speaker encoder: {error} Give the folder or Hub name of a "
                "model that AutoModelForAudioXVector takes, such as microsoft/wavlm-base-plus-sv."
            ) from error
        self.description = {"encoder": type(self._model).__name__} | origin(source, self._model.config)

    @torch.inference_mode()
    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """The speaker of one recording (N,), 16 kHz mono in [-1, 1]: float32 (D,).

        Raises:
            UndefinedMetricError: it is shorter than half a second.
            NoSpeechError: it is silent.
        """
        waveform = check_signal("the waveform", waveform).astype(np.float32)
        if (seconds := len(waveform) / SAMPLING_RATE) < SHORTEST:
            raise UndefinedMetricError(f"{seconds:.2f} s do not show who speaks; {SHORTEST} s are needed.")
        if np.sqrt(np.mean(np.square(waveform))) < FAINTEST:
            raise NoSpeechError("A silent recording has no speaker: count such clips apart.")
        inputs = self._extractor(waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return self._model(**inputs.to(self._model.device)).embeddings[0].float().cpu().numpy()
