"""threads.py: what is made ahead comes in order, no further ahead than told, and errors and ends come too."""

import threading
import time

import pytest

from hf_lip2speech.threads import read_ahead


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def test_items_come_in_order_and_at_most_so_many_are_made_ahead():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    ahead = read_ahead(items(), depth=3)
    for number in range(20):
        assert next(ahead) == number
        wait_for(lambda number=number: len(made) == min(number + 4, 20))
        assert len(made) <= number + 4
    assert next(ahead, None) is None


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("two")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="two"):
        next(ahead)


def test_an_iterator_that_is_closed_ends_its_thread_and_closes_what_it_read():
    closed = []

    def items():
        try:
            while True:
                yield threading.current_thread()
        finally:
            closed.append(True)

    ahead = read_ahead(items(), depth=2)
    thread = next(ahead)
    assert thread is not threading.current_thread()
    ahead.close()
    assert not thread.is_alive() and closed == [True]
