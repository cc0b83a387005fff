"""One rendered clip: its sound, its scene, its files."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from ..constants import FRAME_RATE, SAMPLES_PER_FRAME, SAMPLING_RATE
from ..data.corpora import Word, spell_grid_id
from ..data.corpora.grid import CLOCK
from ..files import atomic_file
from ..media.audio import write_audio
from ..media.video import write_video
from .layout import RenderedFolder
from .looks import look_of
from .plan import SIZE, ClipPlan
from .scene import Scene
from .speech import speak
from .visemes import Phone

NUM_FRAMES = 75
LEAST_SILENCE = 0.2  # seconds before and after the speech
QUALITY = 20  # x264's: at 12 a clip is five times as large, and the difference is all camera noise
LOUDNESS = 0.06  # root mean square of the speech
ROOM = 2e-4  # of the noise in the room


@dataclass(frozen=True)
class RenderedClip:
    """A clip that can be drawn.

    Attributes:
        waveform: float32 (48000,), 16 kHz.
        words: with times in the clip.
        scene: iterates over the 75 frames.
    """

    waveform: np.ndarray
    words: tuple[Word, ...]
    scene: Scene


def make_clip(plan: ClipPlan, size: tuple[int, int] = SIZE) -> RenderedClip:
    """Let flite speak and set the scene.

    Raises:
        FliteError: flite is missing or fails.
    """
    rng = np.random.default_rng([plan.seed, plan.index])
    seconds = NUM_FRAMES / FRAME_RATE
    text = spell_grid_id(plan.sentence)
    slowness = rng.uniform(0.9, 1.1)
    speech = speak(text, plan.talker, slowness)
    longest = seconds - 2 * LEAST_SILENCE
    if len(speech.waveform) > longest * SAMPLING_RATE:
        speech = speak(text, plan.talker, 0.98 * slowness * longest * SAMPLING_RATE / len(speech.waveform))
    lead = rng.uniform(LEAST_SILENCE, seconds - LEAST_SILENCE - len(speech.waveform) / SAMPLING_RATE)
    start = round(lead * SAMPLING_RATE)
    waveform = ROOM * rng.standard_normal(NUM_FRAMES * SAMPLES_PER_FRAME, dtype=np.float32)
    said = speech.waveform * (LOUDNESS / np.sqrt(np.mean(speech.waveform**2)))
    waveform[start : start + len(said)] += said
    look = look_of(plan.talker, rng)
    phones = [Phone(phone.name, phone.start + lead, phone.end + lead) for phone in speech.phones]
    words = tuple(
        dataclasses.replace(word, start=word.start + lead, end=word.end + lead) for word in speech.words
    )
    scene = Scene(look, phones, NUM_FRAMES, size, int(rng.integers(2**31)))
    return RenderedClip(waveform, words, scene)


class ClipRenderer:
    """Writes clips into a folder; see `render`."""

    def __init__(self, folder: RenderedFolder, size: tuple[int, int] = SIZE):
        self.folder, self.size = folder, size
        cv2.setNumThreads(1)  # on pictures so small, more threads only disturb the other processes

    def write(self, plan: ClipPlan) -> None:
        """Write a clip's files, each complete or not at all."""
        clip = make_clip(plan, self.size)
        words = (
            f"{round(word.start * CLOCK)} {round(word.end * CLOCK)} {word.word}\n" for word in clip.words
        )
        video, audio, alignment = self.folder.files(plan.id)
        with atomic_file(alignment, self.folder.staging) as path:
            path.write_text("".join(words), encoding="utf-8")
        with atomic_file(audio, self.folder.staging) as path:
            write_audio(path, clip.waveform)
        with atomic_file(video, self.folder.staging) as path:
            write_video(path, clip.scene, crf=QUALITY)
