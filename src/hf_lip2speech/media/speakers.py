"""Sound that is made piece by piece: to the loudspeakers, or into a growing WAV file."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import soundfile

from ..constants import SAMPLING_RATE
from ..errors import Lip2SpeechError
from ..extras import require_extra
from ..files import atomic_file

LONGEST_DELAY = SAMPLING_RATE  # samples that wait to be played; older ones are dropped


class Speakers:
    """The default sound device: plays what it is given as soon as it can, and silence in between.

    Raises:
        MissingExtraError: sounddevice is not installed (extra "live").
        Lip2SpeechError: PortAudio or a device that plays 16 kHz is missing.
    """

    def __init__(self) -> None:
        self._waiting: deque[float] = deque(maxlen=LONGEST_DELAY)
        self._lock = threading.Lock()
        try:
            sounddevice: Any = require_extra("sounddevice")
        except OSError as error:
            raise Lip2SpeechError(
                "The library PortAudio, which plays sound, is missing: install it (Debian, Ubuntu: apt "
                "install libportaudio2), or write the sound to a file."
            ) from error
        try:
            self._device = sounddevice.OutputStream(
                SAMPLING_RATE, channels=1, dtype="float32", latency="low", callback=self._fill
            )
            self._device.start()
        except sounddevice.PortAudioError as error:
            raise Lip2SpeechError(
                f"There is no loudspeaker ({error}). Plug one in, or write the sound to a file."
            ) from error

    def __enter__(self) -> "Speakers":
        return self

    def __exit__(self, *error: Any) -> None:
        self._device.stop()  # after what the device has taken already
        self._device.close()

    def play(self, samples: np.ndarray) -> None:
        """Play float32 (N,) in [-1, 1] after what waits already; returns at once."""
        with self._lock:
            self._waiting.extend(samples.tolist())

    def drain(self, seconds: float = 2.0) -> None:
        """Wait until everything is played, at most so many seconds."""
        event = threading.Event()
        for _ in range(int(seconds / 0.02)):
            if not self._waiting:
                break
            event.wait(0.02)

    def _fill(self, out: np.ndarray, frames: int, *_: Any) -> None:
        with self._lock:
            count = min(frames, len(self._waiting))
            out[:count, 0] = [self._waiting.popleft() for _ in range(count)]
        out[count:] = 0


@contextmanager
def open_wav(path: str | os.PathLike[str]) -> Generator[Callable[[np.ndarray], None]]:
    """A function that appends float32 (N,) in [-1, 1] to a WAV file (16 kHz, 16 bits).

    The file appears under its name, whole, when the block ends well.
    """
    with atomic_file(path) as unfinished:
        with soundfile.SoundFile(unfinished, "w", SAMPLING_RATE, 1, "PCM_16", format="WAV") as file:
            yield file.write
