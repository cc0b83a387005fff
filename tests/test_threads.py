"""One pipeline from several threads gives what it gives from one; many calls leave nothing behind."""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from hf_lip2speech.hub.repository import RENDERED_SPEAKER
from hf_lip2speech.machine import read_ahead
from hf_lip2speech.media.video import write_video
from hf_lip2speech.pipeline import LipToSpeechPipeline

from .tiny_model import tiny_pipeline

CALLS = 2000
THREADS = 8


@pytest.fixture(scope="module")
def speak() -> LipToSpeechPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[str]:
    """Videos of mouth crops, of 5 to 12 frames."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for number in range(THREADS):
        crops = random.integers(0, 256, (5 + number, 96, 96), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", crops)
    return sorted(map(str, folder.iterdir()))


def test_eight_threads_give_what_one_gives(speak, clips):
    options = {"cropped": True, "return_mouth": True, "return_spectrogram": True, "return_units": True}
    voices = ("ann", "bob")
    jobs = [(clip, voices[number % 2]) for number, clip in enumerate(clips)] * 3

    def call(job):
        return speak(job[0], speaker=job[1], **options)

    expected = [call(job) for job in jobs]
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(call, jobs))
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for name in ("mouth", "unit_ids"):
            np.testing.assert_array_equal(one[name], other[name])
        for name in ("audio", "spectrogram"):
            np.testing.assert_allclose(one[name], other[name], atol=1e-6)


def test_two_threads_find_the_face_that_one_finds(speak):
    expected = speak(str(RENDERED_SPEAKER), return_mouth=True)
    with ThreadPoolExecutor(2) as threads:
        for found in threads.map(lambda _: speak(str(RENDERED_SPEAKER), return_mouth=True), range(2)):
            np.testing.assert_array_equal(found["mouth"], expected["mouth"])
            np.testing.assert_allclose(found["audio"], expected["audio"], atol=1e-6)


@pytest.fixture
def torch_threads():
    """Sets the number of torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_one_thread_of_torch_makes_each_item_when_it_is_asked_for(torch_threads):
    made = []

    def items():
        for number in range(3):
            made.append((number, threading.get_ident()))
            yield number

    torch_threads(1)
    ahead = read_ahead(items(), 2)
    assert next(ahead) == 0 and made == [(0, threading.get_ident())]


def test_another_thread_makes_no_more_items_than_were_asked_for_and_stops_where_its_iterator_is_closed(
    torch_threads,
):
    made, closed = [], threading.Event()

    def items():
        try:
            for number in range(100):
                made.append(threading.get_ident())
                yield number
        finally:
            closed.set()

    torch_threads(2)
    ahead = read_ahead(items(), 3)
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    assert closed.is_set() and len(made) <= 5 and threading.get_ident() not in made
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read_ahead")]


def test_what_another_thread_meets_is_raised_after_the_items_before_it(torch_threads):
    def items():
        yield from range(2)
        raise ValueError("no third one")

    torch_threads(2)
    ahead = read_ahead(items(), 4)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(ValueError, match="no third one"):
        next(ahead)


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc")
def test_two_thousand_calls_leave_nothing_behind(speak, clips):
    measured = []
    for number in range(CALLS + 1):
        speak(clips[number % len(clips)], cropped=True, speaker=("ann", "bob")[number % 2])
        if number % (CALLS // 4) == 0:
            gc.collect()
            measured.append((number, memory() >> 20, len(os.listdir("/proc/self/fd"))))
    print("calls, MiB, open files:", measured)
    (_, warm, files), *_, (_, last, files_at_the_end) = measured[1:]
    assert files_at_the_end <= files and last - warm < 32, measured
