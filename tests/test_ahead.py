"""Values that are made in a thread of their own: in order, bounded, and never left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from engines.ahead import ahead
from engines.errors import InputError


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


def test_values_come_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(1000), 7)) == list(range(1000))
    assert list(ahead([], 1)) == []
    assert threads() == []


def test_they_are_made_in_another_thread_but_not_too_many() -> None:
    made: list[int] = []

    def values() -> Iterator[int]:
        for n in range(100):
            made.append(threading.get_ident())
            yield n

    taken = ahead(values(), 5)
    assert next(taken) == 0
    deadline_s = time.monotonic() + 5.0
    while len(made) < 7 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    time.sleep(0.1)
    # One is with the caller, five wait, one has no room yet.
    assert len(made) == 7
    assert threading.get_ident() not in made
    assert list(taken) == list(range(1, 100))


def test_an_error_comes_behind_the_values_before_it() -> None:
    def values() -> Iterator[int]:
        yield 1
        yield 2
        raise InputError("drive.mp4", "must be readable", "check the file")

    taken = ahead(values(), 10)
    assert [next(taken), next(taken)] == [1, 2]
    with pytest.raises(InputError, match="must be readable"):
        next(taken)
    assert threads() == []


@pytest.mark.parametrize("most", [1, 50])
def test_who_stops_early_ends_the_thread_and_closes_the_source(most: int) -> None:
    closed: list[str] = []

    def values() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    taken = ahead(values(), most)
    assert next(taken) == 0
    taken.close()  # type: ignore[attr-defined]
    assert closed == ["ahead"]
    assert threads() == []


def test_nothing_begins_before_it_is_asked_for() -> None:
    taken = ahead(iter([1]), 1)
    assert threads() == []
    assert list(taken) == [1]
