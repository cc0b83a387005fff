"""A synthetic voice for silent videos: it reads their transcripts when their lips do."""

import zlib
from functools import cached_property

import numpy as np

from ..constants import SAMPLES_PER_FRAME, SAMPLING_RATE
from ..data.corpora import Clip, Word
from ..errors import DatasetError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import BUNDLED
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..text.characters import ENGLISH, decode_text, encode_text
from ..text.transcripts import align_transcript
from ..video.mouth import MouthClip
from .pacing import at_times, widened
from .speech import VOICES, flite_version, speak

SLOWEST = 4.0  # by which flite's own durations are multiplied; the rest is stretched


class LipPacedVoice:
    """Reads a clip's transcript, each word when the lips say it by the bundled model's text head.

    Args:
        voice: One of `VOICES`.

    Raises:
        DatasetError: There is no such voice.
        FliteError: flite is missing.
    """

    def __init__(self, voice: str):
        if voice not in VOICES:
            raise DatasetError(f"The synthetic voice {voice!r} is unknown; expected {', '.join(VOICES)}.")
        flite_version()
        self.voice = voice

    @cached_property
    def _model(self) -> Lip2SpeechWithVocoder:
        return Lip2SpeechWithVocoder.from_pretrained(BUNDLED).eval()

    @cached_property
    def _extractor(self) -> Lip2SpeechFeatureExtractor:
        return Lip2SpeechFeatureExtractor.from_pretrained(BUNDLED)

    def word_times(self, text: str, mouth: MouthClip) -> list[Word]:
        """When the lips say each word.

        Raises:
            DatasetError: The text is empty, or too long for the video.
        """
        video = self._extractor(mouth.crops, return_tensors="pt")["pixel_values_videos"]
        logits = self._model.read_text(video)[0]
        words = align_transcript(logits, text, self._model.config.lip2speech.text_vocabulary)["words"]
        if not words:
            seconds = len(mouth.crops) * SAMPLES_PER_FRAME / SAMPLING_RATE
            raise DatasetError(
                f"the transcript {text!r} cannot be said in the {seconds:.1f} s of this video: write what is "
                "said in it, or remove it."
            )
        return widened([Word(word["word"], word["start"], word["end"]) for word in words])

    def __call__(self, clip: Clip, mouth: MouthClip) -> np.ndarray:
        """The sound of a clip, float32 (640 T,) at 16 kHz for T frames.

        Raises:
            DatasetError: See `word_times`.
            FliteError: flite fails, or says one of the words as several.
        """
        spelled = decode_text(encode_text(clip.text, ENGLISH), ENGLISH).split()
        text = " ".join(word for word in spelled if word.strip("'"))
        words = self.word_times(text, mouth)
        usual = speak(text, self.voice)
        pace = sum(word.end - word.start for word in words) / (len(usual.waveform) / SAMPLING_RATE)
        speech = speak(text, self.voice, min(pace, SLOWEST))
        rng = np.random.default_rng(zlib.crc32(clip.id.encode()))
        return at_times(speech, words, SAMPLES_PER_FRAME * len(mouth.crops), rng)
