"""Live speech: nothing grows where frames come faster than they are spoken, and recordings stay in time."""

import threading
import time

import numpy as np
import pytest

from hf_lip2speech.errors import UnreadableVideoError
from hf_lip2speech.live import LiveSession
from hf_lip2speech.streaming import LipToSpeechStream

from .test_streaming import FRAMES, StillFace
from .tiny_model import tiny_pipeline


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def session(pipe, **options) -> LiveSession:
    return LiveSession(LipToSpeechStream(pipe, detector=StillFace()), **options)


def offer(live: LiveSession, times) -> None:
    for number, at in enumerate(times):
        live.offer(FRAMES[number % len(FRAMES)], at)


def parts(speech) -> tuple[np.ndarray, np.ndarray]:
    """What is heard live, and what is recorded."""
    pieces = list(speech)
    heard = [samples for samples, live in pieces if live]
    return np.concatenate([np.zeros(0), *heard]), np.concatenate([samples for samples, _ in pieces])


def test_frames_that_come_in_time_are_spoken_as_by_the_stream_alone(pipe):
    live, alone = session(pipe), LipToSpeechStream(pipe, detector=StillFace())
    speech = live.speech()
    offer(live, np.arange(12) / 25)
    first = next(speech)[0]
    live.end()
    heard, recorded = parts(speech)
    np.testing.assert_array_equal(recorded, heard)
    expected = np.concatenate([alone.push(FRAMES[:12]), alone.flush()])
    np.testing.assert_allclose(np.concatenate([first, heard]), expected, atol=1e-6)
    assert (live.frames, live.dropped, live.seconds) == (12, 0, 12 / 25)
    assert 0 < live.latency() <= live.latency(95) < 60 and live.real_time_factor > 0


def test_a_slow_machine_drops_frames_says_how_many_and_queues_half_a_second_at_most(pipe):
    live = session(pipe)
    offer(live, np.arange(1000) / 25)  # none of which is taken meanwhile
    assert live.dropped + len(live._queue) == live.frames == 1000 and 0 < len(live._queue) <= 13
    live.offer(FRAMES[0], 3.0)  # its clock jumps
    assert len(live._queue) == 1
    for _ in range(1000):
        live.offer(FRAMES[0], 3.0)  # and stands still
    assert len(live._queue) <= 100


def test_dropped_frames_are_silence_in_a_recording_and_no_delay_for_a_listener(pipe):
    live = session(pipe)
    speech = live.speech()
    offer(live, np.arange(12) / 25)
    first = next(speech)[0]
    offer(live, np.arange(12, 40) / 25)
    assert live.dropped == 26
    live.end()
    heard, recorded = parts(speech)
    assert len(first) + len(heard) == 14 * 640  # 12 frames, and the two that were left
    assert len(first) + len(recorded) == 40 * 640
    gap = recorded[12 * 640 - len(first) : 38 * 640 - len(first)]
    assert not gap.any() and recorded[38 * 640 - len(first) :].any()


@pytest.mark.parametrize("jump", [2.0, 3600.0, -50.0])
def test_a_camera_that_pauses_or_sets_its_clock_goes_on_at_once(pipe, jump):
    live = session(pipe)
    live.stream.chunk, live.stream.look_ahead = 1, 0
    live.offer(FRAMES[0], 0.0)
    speech = live.speech()
    first = next(speech)[0]
    offer(live, 0.04 + jump + np.arange(3) / 25)
    live.end()
    heard, recorded = parts(speech)
    assert len(first) + len(heard) == 4 * 640 and live.stream.dropped == 0
    assert abs(len(recorded) - len(heard) - max(jump, 0) * 16000) <= 1


def test_a_camera_that_stops_is_told_after_all_was_spoken(pipe):
    live = session(pipe, patience=0.1)
    live.watch(iter([(0.0, FRAMES[0])]))
    assert len(parts(live.speech())[1]) == 640 and live.error is None  # it came to its end
    hangs, broken = session(pipe, patience=0.1), session(pipe)
    hangs.offer(FRAMES[0], 0.0)
    assert len(parts(hangs.speech())[1]) == 640
    assert isinstance(hangs.error, UnreadableVideoError) and "No frame has come for 0.1 s" in str(hangs.error)

    def fails():
        yield 0.0, FRAMES[0]
        raise UnreadableVideoError("unplugged")

    broken.watch(fails())
    assert len(parts(broken.speech())[1]) == 640 and str(broken.error) == "unplugged"


def test_a_session_that_is_ended_from_outside_speaks_what_it_has_and_takes_no_more(pipe):
    live = session(pipe)
    offer(live, np.arange(3) / 25)
    threading.Timer(0.2, live.end).start()
    begin = time.monotonic()
    assert len(parts(live.speech())[1]) == 3 * 640 and time.monotonic() - begin < 5
    live.offer(FRAMES[0], 1.0)
    assert live.frames == 3 and live.error is None
