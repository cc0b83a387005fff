"""Speech recognisers that score generated speech: a listener, named beside every word error rate.

`PocketsphinxGrid` here; `TransformersRecogniser` and `FasterWhisper` in `neural_recognisers`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.metadata import version

import numpy as np

from ..constants import SAMPLING_RATE
from ..data.corpora import GRID_SENTENCE
from ..errors import Lip2SpeechError
from ..extras import require_extra
from .alignment import check_signal
from .normalisation import NORMALISATION, normalise_text


class Recogniser(ABC):
    """Hears one clip at a time and says what it is, so that a word error rate can be repeated.

    Attributes:
        description: what belongs beside every result, text or None: "recogniser" and its "version"; "model"
            and its "weights" (a hash or revision); "language"; "prompt", the words that it was given
            beforehand; "decoding"; "text_normalisation", which also has to be applied to the true sentences.
    """

    def __init__(
        self,
        recogniser: str,
        package_version: str,
        *,
        model: str,
        weights: str | None = None,
        language: str | None = None,
        prompt: str | None = None,
        decoding: str,
    ):
        self.description: dict[str, str | None] = {
            "recogniser": recogniser,
            "version": package_version,
            "model": model,
            "weights": weights,
            "language": language,
            "prompt": prompt,
            "decoding": decoding,
            "text_normalisation": NORMALISATION,
        }

    @property
    def name(self) -> str:
        """The description in one line, as it stands beside a word error rate."""
        about = self.description
        prompt = f'prompt "{about["prompt"]}"' if about["prompt"] else None
        parts = [f"{about['recogniser']} {about['version']}", about["model"], about["decoding"], prompt]
        return ", ".join(part for part in parts if part)

    def __call__(self, waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> str:
        """What is heard in one clip.

        Args:
            waveform: (N,) mono in [-1, 1]; clipped where it leaves that range.
            sampling_rate: Hz; resampled to 16000 where it differs.

        Returns:
            Words as `normalise_text` writes them, parted by single spaces; "" for none.

        Raises:
            MetricError: the waveform is empty, not mono, not finite, or far beyond [-1, 1].
        """
        waveform = check_signal("the waveform", waveform).astype(np.float32)
        if sampling_rate != SAMPLING_RATE:
            import soxr

            waveform = soxr.resample(waveform, sampling_rate, SAMPLING_RATE)
        return normalise_text(self._hear(np.clip(waveform, -1, 1)))

    @abstractmethod
    def _hear(self, waveform: np.ndarray) -> str:
        """float32 (N,), 16 kHz in [-1, 1] -> what the recogniser writes."""


def grid_grammar() -> str:
    """The JSGF grammar of GRID sentences: command colour preposition letter digit adverb."""
    slots = " ".join("(" + " | ".join(words.values()) + ")" for words in GRID_SENTENCE)
    return f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {slots};\n"


class PocketsphinxGrid(Recogniser):
    """pocketsphinx with its bundled US English model, allowed to hear nothing but GRID sentences.

    The grammar makes every hypothesis a sentence of six words, so chance is about 81 % WER, not 100 %; and it
    is the same listener for every row of a table: its errors on true speech (about 12 % on GRID speaker s1)
    stand beside the others. Deterministic; about 0.02 x real time. Not safe for use by several threads at
    once. It hears six lower-case words, or "" where no path through the grammar fits.

    Raises:
        ImportError: pocketsphinx is missing; names the extra that holds it.
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
        # The front end keeps a running mean of the cepstra; without this, what is heard depends on the clips
        # before it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return "" if heard is None else " ".join(word.split("(")[0] for word in heard.hypstr.split())


def choose_recogniser(
    name: str | None, prompt: str | None, texts: Iterable[str], device: str
) -> Recogniser | None:
    """The listener that --recogniser names; by default pocketsphinx where every sentence is one of GRID's.

    Args:
        name: "grid", "none", "whisper:MODEL" (faster-whisper), or the folder or Hub name of a transformers
            model.
        prompt: What Whisper is told beforehand.
        texts: The true sentences.
        device: Of the neural recognisers.

    Raises:
        Lip2SpeechError: no such model, or a prompt for a recogniser that takes none.
        ImportError: the recogniser's package is not installed.
    """
    if name is None:
        name = "grid" if all(is_grid_sentence(text) for text in texts) else "none"
    kind, _, model = name.partition(":")
    if prompt is not None and kind != "whisper":
        raise Lip2SpeechError(
            f"The recogniser {name} takes no prompt: leave --prompt out, or take whisper:MODEL."
        )
    if name == "none":
        return None
    if name == "grid":
        return PocketsphinxGrid()
    from .neural_recognisers import FasterWhisper, TransformersRecogniser

    if kind == "whisper":
        return FasterWhisper(model, prompt=prompt, device=device.split(":")[0])
    return TransformersRecogniser(name, device=device)


def is_grid_sentence(text: str) -> bool:
    """Whether the grammar of GRID sentences holds this one."""
    words = normalise_text(text).split()
    return len(words) == len(GRID_SENTENCE) and all(
        word in slot.values() for word, slot in zip(words, GRID_SENTENCE, strict=True)
    )
