"""A synthetic voice for silent videos: it reads their transcripts when their lips do.

Its words are stretched to their places by Praat's overlap-add.
"""

import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np

from hf_lip2speech_extras import require_extra

from ..audio.speech import CEILING, FLOOR
from ..constants import SAMPLES_PER_FRAME, SAMPLING_RATE
from ..data.corpora import Clip, Word
from ..errors import DatasetError
from ..feature_extraction_lip2speech import Lip2SpeechFeatureExtractor
from ..loading import BUNDLED
from ..models.modeling_lip2speech_with_vocoder import Lip2SpeechWithVocoder
from ..text.characters import ENGLISH, decode_text, encode_text
from ..text.transcripts import align_transcript
from ..video.mouth import MouthClip
from .render import LOUDNESS, ROOM
from .speech import VOICES, Speech, flite_version, speak

SLOWEST = 4.0  # by which flite's own durations are multiplied; the rest is stretched
LONGEST_GAP = 0.3  # seconds between the times of two words without a pause
EDGE = 0.06  # seconds by which a text head finds a word too late and leaves it too early
FADE = 80  # samples, of the speech at a pause
CORNER = 1e-5  # seconds in which the speed changes


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


def widened(words: Sequence[Word]) -> list[Word]:
    """Words that last as long as they are said, where a text head has found them.

    The head is sure of a character for a moment in the middle of the time in which it is said. So each word
    begins and ends `EDGE` seconds from there at a pause, and in the middle of a shorter gap between two.
    """
    starts, ends = [word.start for word in words], [word.end for word in words]
    edges = [(end, start) for end, start in zip(ends, starts[1:], strict=False)]
    edges = [
        (end + EDGE, start - EDGE) if start - end >= LONGEST_GAP else ((end + start) / 2, (end + start) / 2)
        for end, start in edges
    ]
    starts = [max(0.0, starts[0] - EDGE), *(start for _, start in edges)]
    ends = [*(end for end, _ in edges), ends[-1] + EDGE]
    return [Word(word.word, start, end) for word, start, end in zip(words, starts, ends, strict=True)]


def at_times(speech: Speech, words: Sequence[Word], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Speech whose words come at given times.

    Args:
        speech: Of the same words.
        words: With their times; silence is kept where one ends before the next one begins.
        samples: Of the sound to make, at 16 kHz.
        rng: Of the noise in the room.

    Returns:
        float32 (samples,).

    Raises:
        MissingExtraError: parselmouth is not installed.
    """
    parts: list[list[tuple[Word, Word]]] = [[]]
    for pair in zip(words, speech.words, strict=True):
        if parts[-1] and pair[0].start > parts[-1][-1][0].end:
            parts.append([])
        parts[-1].append(pair)
    placed = []
    for part in parts:
        first, last = part[0], part[-1]
        begin, end = first[1].start, last[1].end
        source = [said.start - begin for _, said in part] + [end - begin]
        target = [word.start - first[0].start for word, _ in part] + [last[0].end - first[0].start]
        sound = speech.waveform[round(begin * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
        placed.append((first[0].start, stretched(sound, source, target)))
    return in_room(placed, samples, rng)


def in_room(parts: Sequence[tuple[float, np.ndarray]], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Pieces of speech, each with the second at which it begins, at one loudness in a quiet room.

    Returns:
        float32 (samples,), 16 kHz.
    """
    loudness = np.sqrt(np.mean(np.concatenate([sound for _, sound in parts]) ** 2))
    room = ROOM * rng.standard_normal(samples, dtype=np.float32)
    for start, sound in parts:
        first = round(start * SAMPLING_RATE)
        sound = sound[: max(0, samples - first)] * (LOUDNESS / loudness)
        edge = np.minimum(1, np.arange(1, len(sound) + 1) / FADE)
        room[first : first + len(sound)] += (sound * edge * edge[::-1]).astype(np.float32)
    return room


def stretched(waveform: np.ndarray, source: Sequence[float], target: Sequence[float]) -> np.ndarray:
    """The sound whose moment source[i] comes at target[i], with the pitch that it has.

    Moulines, Charpentier, "Pitch-synchronous waveform processing techniques for text-to-speech synthesis
    using diphones", 1990; computed by Praat.

    Args:
        waveform: float (N,), 16 kHz.
        source, target: Increasing seconds from 0; the last source is the sound's end.

    Returns:
        float64 (M,), of target[-1] seconds.

    Raises:
        MissingExtraError: parselmouth is not installed.
    """
    parselmouth = require_extra("parselmouth", "pitch")
    call = require_extra("parselmouth.praat", "pitch").call
    sound = parselmouth.Sound(np.asarray(waveform, dtype=np.float64), SAMPLING_RATE)
    manipulation = call(sound, "To Manipulation", 0.01, FLOOR, CEILING)
    tier = call("Create DurationTier", "durations", 0, sound.duration)
    for (start, end), (begins, ends) in zip(pairwise(source), pairwise(target), strict=True):
        factor = (ends - begins) / (end - start)
        call(tier, "Add point", start + CORNER, factor)
        call(tier, "Add point", end - CORNER, factor)
    call([manipulation, tier], "Replace duration tier")
    return call(manipulation, "Get resynthesis (overlap-add)").values[0]
