"""Speech recognisers that score generated speech. Each is described beside every word error rate.

A strong recogniser guesses well from context: it can turn an unintelligible sentence into a correct one, and
invent one from noise. So show its result on ground truth and on noise beside every other row.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from transformers import PreTrainedConfig

from hf_lip2speech_extras import require_extra

from ..constants import SAMPLING_RATE
from ..data.corpora import GRID_SENTENCE
from ..errors import Lip2SpeechError
from .alignment import check_signal
from .error_rates import OWN, Normaliser, choose_normaliser, normalise_text

BEAMS = 5


class Recogniser(ABC):
    """Transcribes one clip at a time and describes itself, so that a word error rate can be reproduced.

    Args:
        about: "model" and "decoding"; where there are any "weights" (a hash or revision), "language" and
            "prompt", the words that it was given.

    Attributes:
        description: All of these (text or None), "recogniser" and "version", and "text_normalisation", which
            is to be applied to the true sentences too.
        normaliser: what the texts go through; set another with `use`.
    """

    normaliser: Normaliser = OWN

    def __init__(self, recogniser: str, package_version: str, **about: str | None):
        self.description: dict[str, str | None] = {
            "recogniser": recogniser,
            "version": package_version,
            **dict.fromkeys(("model", "weights", "language", "prompt", "decoding")),
            **about,
            "text_normalisation": OWN.about,
        }

    def use(self, normaliser: Normaliser) -> None:
        """Pass every text through this normaliser, and say so in the description."""
        self.normaliser = normaliser
        self.description["text_normalisation"] = normaliser.about

    @property
    def spelling(self) -> Mapping[str, str] | None:
        """British words and their American spelling, where the recogniser brings them."""
        return None

    @property
    def name(self) -> str:
        """The description in one line, to be shown beside a word error rate."""
        about = self.description
        prompt = f'prompt "{about["prompt"]}"' if about["prompt"] else None
        parts = [f"{about['recogniser']} {about['version']}", about["model"], about["decoding"], prompt]
        return ", ".join(part for part in parts if part)

    def __call__(self, waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> str:
        """The words of one clip.

        Args:
            waveform: (N,) mono in [-1, 1]; clipped where it leaves that range.
            sampling_rate: Hz; resampled to 16000 where it differs.

        Returns:
            Words as the normaliser writes them, separated by single spaces; "" for none.

        Raises:
            MetricError: the waveform is empty, not mono, not finite, or far beyond [-1, 1].
        """
        waveform = check_signal("the waveform", waveform).astype(np.float32)
        if sampling_rate != SAMPLING_RATE:
            import soxr

            waveform = soxr.resample(waveform, sampling_rate, SAMPLING_RATE)
        return self.normaliser.apply(self._hear(np.clip(waveform, -1, 1)))

    @abstractmethod
    def _hear(self, waveform: np.ndarray) -> str:
        """float32 (N,), 16 kHz in [-1, 1] -> the recogniser's text."""


class PocketsphinxGrid(Recogniser):
    """pocketsphinx with its bundled US English model and a grammar of GRID sentences.

    The grammar makes every hypothesis a sentence of six words, so chance is about 81 % WER, not 100 %. Its
    own errors on ground truth (about 12 % on GRID speaker s1) are part of every row. Deterministic; about
    0.02 x real time. Not thread-safe. It returns six lower-case words, or "" where no path through the
    grammar fits. An ImportError names the extra where pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        sphinx = require_extra("pocketsphinx", "eval")
        super().__init__(
            "pocketsphinx",
            version("pocketsphinx"),
            model="en-us",
            language="en",
            decoding="JSGF grammar of GRID sentences",
        )
        self._decoder = sphinx.Decoder(lm=None, loglevel="FATAL", samprate=SAMPLING_RATE)
        self._decoder.add_jsgf_string("grid", grid_grammar())
        self._decoder.activate_search("grid")

    def _hear(self, waveform: np.ndarray) -> str:
        samples = np.round(waveform * 32767).astype(np.int16)
        # The front end keeps a running mean of the cepstra: without this, earlier clips change the result.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return "" if heard is None else " ".join(word.split("(")[0] for word in heard.hypstr.split())


class TransformersRecogniser(Recogniser):
    """Any model that transformers' automatic-speech-recognition pipeline takes: CTC, encoder-decoder,
    Whisper.

    Args:
        model: Folder, or name on the Hub.
        revision: Branch, tag or commit of the Hub's repository.
        device: "cpu", "cuda:0", ...
        generate_kwargs: For models that generate: language, num_beams, prompt_ids, ... They are named in the
            description. Whisper guesses the language of every clip where none is given.
        language: Of the speech, for a multilingual Whisper; other models take none.

    Errors as of `choose_recogniser`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str = "cpu",
        generate_kwargs: Mapping[str, Any] | None = None,
        language: str | None = None,
    ):
        source = os.fspath(model)
        try:
            self._pipeline = transformers.pipeline(
                "automatic-speech-recognition", model=source, revision=revision, device=device
            )
        except (OSError, ValueError, KeyError) as error:
            raise Lip2SpeechError(
                f"{source!r} cannot be loaded as a speech recogniser: {error} Give the folder or Hub name "
                "of a model that pipeline('automatic-speech-recognition') takes."
            ) from error
        self._options = dict(generate_kwargs or {})
        generation = getattr(self._pipeline.model, "generation_config", None)
        if language and getattr(generation, "is_multilingual", False):
            self._options |= {"language": language, "task": "transcribe"}
        options = ", ".join(f"{name}={value!r}" for name, value in sorted(self._options.items()))
        decoding = f"generate({options})"
        if self._pipeline.type.startswith("ctc"):
            decoding = "CTC, with its language model" if "lm" in self._pipeline.type else "CTC, greedy"
            if self._options:
                raise Lip2SpeechError(f"{source!r} is a CTC model: it takes no generate_kwargs.")
        super().__init__(
            "transformers",
            version("transformers"),
            **origin(source, self._pipeline.model.config),
            language=self._options.get("language"),
            prompt=None if "prompt_ids" not in self._options else str(self._options["prompt_ids"]),
            decoding=decoding,
        )

    @property
    def spelling(self) -> Mapping[str, str] | None:
        return getattr(self._pipeline.tokenizer, "english_spelling_normalizer", None)

    def _hear(self, waveform: np.ndarray) -> str:
        options = {"generate_kwargs": self._options} if self._options else {}
        heard: Any = self._pipeline({"raw": waveform, "sampling_rate": SAMPLING_RATE}, **options)
        return heard["text"]


class FasterWhisper(Recogniser):
    """Whisper (Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022) on
    CTranslate2.

    Beam search at temperature 0 without fallback to sampling, so that results are deterministic.

    Args:
        model: Folder of a CTranslate2 model, or a name that faster-whisper fetches from the Hub ("small.en").
        prompt: Words that Whisper takes for what was said before. They steer it: naming a corpus's words
            lowers the errors on it and can make Whisper hear them in noise, so compare only rows with the
            same prompt.
        language: Of the speech.
        device: "cpu" or "cuda".

    Errors as of `choose_recogniser`.
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
                "converted for CTranslate2, or a name such as 'small.en'."
            ) from error
        self._prompt, self._language = prompt, language
        super().__init__(
            "faster-whisper",
            f"{version('faster-whisper')} (CTranslate2 {version('ctranslate2')})",
            model=Path(source).name,
            weights=weights_digest(folder, "model.bin"),
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


def choose_recogniser(
    name: str | None,
    texts: Iterable[str],
    *,
    prompt: str | None = None,
    device: str = "cpu",
    normaliser: str | None = None,
    language: str | None = None,
) -> Recogniser | None:
    """The recogniser of a name; by default pocketsphinx where every sentence is one of GRID's, else none.

    Args:
        name: "grid", "none", "whisper:MODEL" (faster-whisper), or the folder or Hub name of a transformers
            model.
        texts: The true sentences.
        prompt: For Whisper, see `FasterWhisper`.
        device: Of the neural recognisers.
        normaliser: "own" (default) or "whisper", see `choose_normaliser`.
        language: That a multilingual Whisper of transformers is told.

    Raises:
        Lip2SpeechError: a model that cannot be loaded or is none, or a prompt for one that takes none.
        ImportError: the recogniser's package is not installed; names the extra.
    """
    if name is None:
        name = "grid" if all(is_grid_sentence(text) for text in texts) else "none"
    kind, _, model = name.partition(":")
    if prompt is not None and kind != "whisper":
        raise Lip2SpeechError(f"The recogniser {name} takes no prompt: drop it, or use whisper:MODEL.")
    if name == "none":
        return None
    recogniser: Recogniser
    if name == "grid":
        recogniser = PocketsphinxGrid()
    elif kind == "whisper":
        recogniser = FasterWhisper(model, prompt=prompt, device=device.split(":")[0])
    else:
        recogniser = TransformersRecogniser(name, device=device, language=language)
    recogniser.use(choose_normaliser(normaliser, recogniser.spelling))
    return recogniser


def is_grid_sentence(text: str) -> bool:
    """Whether a sentence follows the grammar of GRID."""
    words = normalise_text(text).split()
    return len(words) == len(GRID_SENTENCE) and all(
        word in slot.values() for word, slot in zip(words, GRID_SENTENCE, strict=True)
    )


def grid_grammar() -> str:
    """The JSGF grammar of GRID sentences: command colour preposition letter digit adverb."""
    slots = " ".join("(" + " | ".join(words.values()) + ")" for words in GRID_SENTENCE)
    return f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {slots};\n"


def origin(source: str, config: PreTrainedConfig) -> dict[str, str | None]:
    """What a description says of a model of transformers, from a folder or the Hub: "model" and "weights"."""
    if not os.path.isdir(source):
        return {"model": source, "weights": config._commit_hash}
    return {"model": Path(source).name, "weights": weights_digest(Path(source))}


def weights_digest(folder: Path, *patterns: str) -> str:
    """SHA-256 of the weight files, 16 hexadecimal digits."""
    patterns = patterns or ("*.safetensors", "*.bin")
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:16]}"
