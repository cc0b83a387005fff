"""Speech recognisers that score generated speech: a listener, named beside every word error rate."""

from importlib.metadata import version
from typing import Protocol

import numpy as np

from ..constants import SAMPLING_RATE
from ..data.corpora import GRID_SENTENCE
from ..errors import Lip2SpeechError
from ._extra import require_extra

_SPHINX_RATE = 16_000  # of pocketsphinx's bundled en-us model


class Recogniser(Protocol):
    """What the evaluation asks of a recogniser."""

    name: str  # with version and grammar, as it stands beside a word error rate

    def __call__(self, waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> str:
        """One clip, (N,) mono in [-1, 1] -> lower-case words parted by single spaces, "" for none."""
        ...


def grid_grammar() -> str:
    """The JSGF grammar of GRID sentences: command colour preposition letter digit adverb."""
    slots = " ".join("(" + " | ".join(words.values()) + ")" for words in GRID_SENTENCE)
    return f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {slots};\n"


class PocketsphinxGrid:
    """pocketsphinx with its bundled US English model, allowed to hear nothing but GRID sentences.

    The grammar makes every hypothesis a sentence of six words, so chance is about 81 % WER, not 100 %; and it
    is the same listener for every row of a table: its errors on true speech (about 12 % on GRID speaker s1)
    stand beside the others. Deterministic; about 0.02 x real time. Not safe for use by several threads at
    once.

    Raises:
        ImportError: pocketsphinx is missing; names the extra that holds it.
    """

    def __init__(self) -> None:
        sphinx = require_extra("pocketsphinx", "eval")
        self.name = f"pocketsphinx {version('pocketsphinx')}, en-us, JSGF grammar of GRID sentences"
        self._decoder = sphinx.Decoder(lm=None, loglevel="FATAL", samprate=_SPHINX_RATE)
        self._decoder.add_jsgf_string("grid", grid_grammar())
        self._decoder.activate_search("grid")

    def __call__(self, waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> str:
        """The sentence that is heard.

        Args:
            waveform: (N,) mono in [-1, 1]; clipped where it leaves that range.
            sampling_rate: Hz; resampled to 16000 where it differs.

        Returns:
            Six lower-case words parted by single spaces, or "" where no path through the grammar fits.

        Raises:
            Lip2SpeechError: the waveform is not mono, empty or not finite.
        """
        waveform = np.asarray(waveform, dtype=np.float32)
        if waveform.ndim != 1 or waveform.size == 0 or not np.isfinite(waveform).all():
            raise Lip2SpeechError(
                f"a waveform of shape {waveform.shape} was given; finite mono samples of shape (N,), N > 0, "
                "were expected."
            )
        if sampling_rate != _SPHINX_RATE:
            import soxr

            waveform = soxr.resample(waveform, sampling_rate, _SPHINX_RATE)
        samples = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        # The front end keeps a running mean of the cepstra; without this, what is heard depends on the clips
        # before it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return "" if heard is None else " ".join(word.split("(")[0] for word in heard.hypstr.split())
