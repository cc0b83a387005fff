"""Recognisers with trained networks: any ASR model of transformers, and Whisper through faster-whisper.

A strong recogniser guesses well from context: it may put a sentence right that nobody would understand, and
invent one on noise. So show what it makes of true speech and of noise beside every other row.
"""

import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError
from ..extras import require_extra
from .recognisers import Recogniser

BEAMS = 5


class TransformersRecogniser(Recogniser):
    """Any model that transformers' automatic-speech-recognition pipeline takes: CTC, encoder-decoder,
    Whisper.

    Args:
        model: folder, or name on the Hub.
        revision: branch, tag or commit of the Hub's repository.
        device: "cpu", "cuda:0", ...
        generate_kwargs: for models that generate: language, num_beams, prompt_ids, ... They are named in the
            description. Whisper guesses the language of every clip where none is given.

    Raises:
        Lip2SpeechError: the model cannot be had, or is none for speech recognition.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str = "cpu",
        generate_kwargs: Mapping[str, Any] | None = None,
    ):
        source = os.fspath(model)
        try:
            self._pipeline = transformers.pipeline(
                "automatic-speech-recognition", model=source, revision=revision, device=device
            )
        except (OSError, ValueError, KeyError) as error:
            raise Lip2SpeechError(
                f"{source!r} cannot be loaded as a speech recogniser: {error} Give the folder or Hub name of "
                "a model that pipeline('automatic-speech-recognition') takes."
            ) from error
        self._options = dict(generate_kwargs or {})
        if self._pipeline.type.startswith("ctc"):
            if self._options:
                raise Lip2SpeechError(
                    f"{source!r} is a CTC model and does not generate: drop generate_kwargs."
                )
            decoding = "CTC, with its language model" if "lm" in self._pipeline.type else "CTC, greedy"
        else:
            options = ", ".join(f"{name}={value!r}" for name, value in sorted(self._options.items()))
            decoding = f"generate({options})"
        folder = Path(source)
        super().__init__(
            "transformers",
            version("transformers"),
            model=folder.name if folder.is_dir() else source,
            weights=_digest(folder, "*.safetensors", "*.bin")
            if folder.is_dir()
            else self._pipeline.model.config._commit_hash,
            language=self._options.get("language"),
            prompt=None if "prompt_ids" not in self._options else str(self._options["prompt_ids"]),
            decoding=decoding,
        )

    def _hear(self, waveform: np.ndarray) -> str:
        options = {"generate_kwargs": self._options} if self._options else {}
        heard: Any = self._pipeline({"raw": waveform, "sampling_rate": SAMPLING_RATE}, **options)
        return heard["text"]


class FasterWhisper(Recogniser):
    """Whisper (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022) on
    CTranslate2.

    Beam search at temperature 0 with no falling back to sampling, so that it hears the same each time.

    Args:
        model: folder of a CTranslate2 model, or a name that faster-whisper fetches from the Hub ("small.en").
        prompt: words that Whisper takes for what was said before. They steer it: naming a corpus's words
            lowers the errors on it and can make Whisper hear them in noise, so compare only rows with one
            prompt.
        language: of the speech.
        device: "cpu" or "cuda".

    Raises:
        Lip2SpeechError: the model cannot be had.
        ImportError: faster_whisper is missing; names the extra that holds it.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        prompt: str | None = None,
        language: str = "en",
        device: str = "cpu",
    ):
        whisper = require_extra("faster_whisper", "whisper")
        source = os.fspath(model)
        try:
            folder = Path(source if os.path.isdir(source) else whisper.download_model(source))
            compute_type = "float32" if device == "cpu" else "float16"
            self._model = whisper.WhisperModel(str(folder), device=device, compute_type=compute_type)
        except (OSError, ValueError, RuntimeError) as error:
            raise Lip2SpeechError(
                f"{source!r} cannot be loaded as a Whisper model: {error} Give the folder of a model "
                "converted for CTranslate2 (model.bin, config.json, tokenizer.json, vocabulary), or a name "
                "such as 'small.en'."
            ) from error
        self._prompt, self._language = prompt, language
        super().__init__(
            "faster-whisper",
            f"{version('faster-whisper')} (CTranslate2 {version('ctranslate2')})",
            model=Path(source).name,
            weights=_digest(folder, "model.bin"),
            language=language,
            prompt=prompt,
            decoding=f"beam {BEAMS}, temperature 0, {compute_type}",
        )

    def _hear(self, waveform: np.ndarray) -> str:
        segments, _ = self._model.transcribe(
            waveform,
            language=self._language,
            beam_size=BEAMS,
            temperature=0.0,
            initial_prompt=self._prompt,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        return " ".join(segment.text for segment in segments)


def _digest(folder: Path, *patterns: str) -> str:
    """SHA-256 of the weight files, 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:16]}"
