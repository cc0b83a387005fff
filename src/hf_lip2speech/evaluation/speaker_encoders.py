"""Speaker encoders besides the bundled one, for speaker similarity as other papers report it."""

import os
from pathlib import Path

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError, NoSpeechError, UndefinedMetricError
from .alignment import check_signal
from .recognisers import weights_digest

SHORTEST = 0.5  # seconds; of less, nobody can be told
FAINTEST = 1e-4  # root mean square, of [-1, 1]


class XVectorEncoder:
    """A speaker verification network of transformers, such as "microsoft/wavlm-base-plus-sv" (WavLM, Chen et
    al. 2022, with an x-vector head).

    Args:
        model: Folder, or name on the Hub.
        device: "cpu", "cuda:0", ...

    Raises:
        Lip2SpeechError: the model cannot be loaded, or embeds no speakers.
    """

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
        local = os.path.isdir(source)
        weights = weights_digest(Path(source)) if local else self._model.config._commit_hash
        self.description = {
            "encoder": type(self._model).__name__,
            "model": Path(source).name if local else source,
            "weights": weights,
        }

    @torch.inference_mode()
    def embed(self, waveform: np.ndarray) -> np.ndarray:
        """Embed the speaker of one recording.

        Args:
            waveform: (N,), 16 kHz mono in [-1, 1].

        Returns:
            float32 (D,).

        Raises:
            UndefinedMetricError: it is shorter than half a second.
            NoSpeechError: it is silent.
        """
        waveform = check_signal("the waveform", waveform).astype(np.float32)
        if len(waveform) < SHORTEST * SAMPLING_RATE:
            raise UndefinedMetricError(
                f"{len(waveform) / SAMPLING_RATE:.2f} s do not show who speaks; {SHORTEST} s are needed."
            )
        if np.sqrt(np.mean(np.square(waveform))) < FAINTEST:
            raise NoSpeechError("A silent recording has no speaker: count such clips apart.")
        inputs = self._extractor(waveform, sampling_rate=SAMPLING_RATE, return_tensors="pt")
        return self._model(**inputs.to(self._model.device)).embeddings[0].float().cpu().numpy()
