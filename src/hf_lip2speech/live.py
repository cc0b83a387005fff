"""Frames that arrive in real time -> speech in real time: a short queue between a camera and a stream."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from .constants import FRAME_RATE, SAMPLES_PER_FRAME, SAMPLING_RATE
from .errors import UnreadableVideoError
from .streaming import LipToSpeechStream

LONGEST_QUEUE = 0.5  # seconds of video that wait; where more arrives, all of it is dropped
MOST_FRAMES = 100  # that wait, whatever their time stamps
PATIENCE = 10.0  # seconds without a frame until the camera counts as stopped
MEASURED = 60 * FRAME_RATE  # frames whose latency is kept


class LiveSession:
    """Speaks frames as they arrive; where the machine is too slow, frames are dropped and nothing grows.

    One thread offers frames, another iterates over `speech`. The time of dropped frames is left out of the
    sound that is heard live, so that it does not lag more and more. PyTorch computes on one core, unless
    OMP_NUM_THREADS is set: its threads wait for each other, and two of them took 25 times as long as one
    where other programs had work for both cores.

    Args:
        stream: speaks; it is reset at the begin and at the end.
        patience: seconds without a frame until the camera counts as stopped.

    Attributes:
        frames: that were offered.
        dropped: of them, those that were not spoken: the machine was too slow, or they came out of order.
        error: why the frames ended, where it was for an error.
    """

    def __init__(self, stream: LipToSpeechStream, patience: float = PATIENCE):
        self.stream, self.patience = stream, patience
        self.frames = self.dropped = 0
        self.error: Exception | None = None
        self._queue: deque[tuple[float, float, np.ndarray]] = deque()  # time stamp, arrival, frame
        self._changed = threading.Condition()  # whose lock a signal's handler can take once more
        self._ended = False
        self._busy = self._skipped = 0.0
        self._last: float | None = None  # the time stamp spoken last
        self._arrivals: deque[float] = deque()  # of the stream's frames that have no sound yet
        self._gaps: deque[tuple[int, int]] = deque()  # sample at which frames are missing, and samples
        self._latencies: deque[float] = deque(maxlen=MEASURED)
        self._spoken = 0  # samples
        # The first passes are slower than all that follow.
        stream.reset()
        stream.push(np.zeros((stream.look_ahead + stream.chunk, 64, 64, 3), dtype=np.uint8))
        stream.reset()

    def offer(self, frame: np.ndarray, timestamp: float) -> None:
        """Take a frame, uint8 (H, W, 3) RGB, taken at a time in seconds; never waits for the speech."""
        with self._changed:
            if self._ended:
                return
            self.frames += 1
            late = self._queue and abs(timestamp - self._queue[0][0]) > LONGEST_QUEUE
            if late or len(self._queue) >= MOST_FRAMES:
                self.dropped += len(self._queue)
                self._queue.clear()
            self._queue.append((timestamp, time.monotonic(), frame))
            self._changed.notify_all()

    def end(self, error: Exception | None = None) -> None:
        """No more frames come: `speech` ends with what is left."""
        with self._changed:
            self.error = self.error or error
            self._ended = True
            self._changed.notify_all()

    def watch(self, frames: Iterable[tuple[float, np.ndarray]]) -> threading.Thread:
        """Offer (time stamp, frame) pairs from a thread of their own, until they or the session end."""

        def offer_all() -> None:
            error = None
            try:
                for timestamp, frame in frames:
                    self.offer(frame, timestamp)
                    if self._ended:
                        break
            except Exception as failure:
                error = failure
            self.end(error)

        thread = threading.Thread(target=offer_all, daemon=True)  # it may wait for a camera for ever
        thread.start()
        return thread

    def speech(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Speak until the frames end.

        Yields:
            float32 (N,) at 16 kHz, and whether it is to be heard live: the silence of dropped frames is not,
            but keeps a recording as long as the video.
        """
        threads = torch.get_num_threads()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)
        try:
            yield from self._speech()
        finally:
            torch.set_num_threads(threads)

    def _speech(self) -> Iterator[tuple[np.ndarray, bool]]:
        while (taken := self._take()) is not None:
            timestamp, arrived, frame = taken
            started = time.monotonic()
            if self._last is not None and abs(timestamp - self._last) > LONGEST_QUEUE:
                gap = timestamp - self._last - 1 / FRAME_RATE  # of dropped frames, or the camera paused
                self._skipped += gap
                missing = round(max(gap, 0) * SAMPLING_RATE)
                self._gaps.append((self.stream.frames * SAMPLES_PER_FRAME, missing))
            self._last = timestamp
            before, refused = self.stream.frames, self.stream.dropped
            samples = self.stream.push(frame, timestamp=timestamp - self._skipped)
            self.dropped += self.stream.dropped - refused
            self._arrivals.extend([arrived] * (self.stream.frames - before))
            self._busy += time.monotonic() - started
            yield from self._emit(samples)
        yield from self._emit(self.stream.flush())

    def _take(self) -> tuple[float, float, np.ndarray] | None:
        """The next frame; None at the end."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue or self._ended, timeout=self.patience):
                self.end(
                    UnreadableVideoError(f"No frame has come for {self.patience:g} s: the camera stopped.")
                )
            return self._queue.popleft() if self._queue else None

    def _emit(self, samples: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
        now = time.monotonic()
        for _ in range(min(len(samples) // SAMPLES_PER_FRAME, len(self._arrivals))):
            self._latencies.append(now - self._arrivals.popleft())
        while self._gaps and self._gaps[0][0] <= self._spoken + len(samples):
            position, missing = self._gaps.popleft()
            part, samples = np.split(samples, [position - self._spoken])
            self._spoken += len(part)
            if len(part):
                yield part, True
            yield np.zeros(missing, dtype=np.float32), False
        self._spoken += len(samples)
        if len(samples):
            yield samples, True

    @property
    def seconds(self) -> float:
        """Of speech so far, without gaps."""
        return self._spoken / SAMPLING_RATE

    def latency(self, percentile: float = 50) -> float | None:
        """Seconds from a frame's arrival to its sound, over the last minute; None before there is any."""
        return float(np.percentile(self._latencies, percentile)) if self._latencies else None

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing for a second of speech."""
        return self._busy / max(self.seconds, 1e-9)
