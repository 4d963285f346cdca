import threading

import pytest

from bot_jax.early import start_early


def test_the_first_element_is_fetched_at_once_and_the_others_when_asked_for():
    fetched, first = [], threading.Event()

    def elements():
        for i in range(3):
            fetched.append(i)
            first.set()
            yield i

    early = start_early(elements())
    assert first.wait(10)
    assert fetched == [0]
    assert next(early) == 0
    assert fetched == [0]
    assert list(early) == [1, 2]


def test_of_nothing():
    assert list(start_early(iter(()))) == []


def test_an_error_is_raised_where_the_element_is_asked_for():
    def elements():
        raise OSError("no such file")
        yield

    early = start_early(elements())
    with pytest.raises(OSError, match="no such file"):
        next(early)
