"""Take from an iterable in a thread of its own: what makes the next value works while the last one is used."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

Value = TypeVar("Value")

_LOOKS_EVERY_S = 0.2


def ahead(values: Iterable[Value], most: int) -> Iterator[Value]:
    """Yield ``values`` in order, up to ``most`` of them made before they are asked for.

    What the iterable raises is raised here, behind the values before it. An iterator that is closed or dropped early
    ends the thread, and closes ``values`` within it, before it returns."""
    made: Queue[tuple[bool, Value | BaseException | None]] = Queue(most)
    stop = threading.Event()

    def put(more: bool, value: Value | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put((more, value), timeout=_LOOKS_EVERY_S)
                return True
            except Full:
                continue
        return False

    def make() -> None:
        iterator = iter(values)
        try:
            for value in iterator:
                if not put(True, value):
                    return
            put(False, None)
        except BaseException as error:  # noqa: BLE001 - it is raised where the values are used
            put(False, error)
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, value = made.get()
            if not more:
                if isinstance(value, BaseException):
                    raise value
                return
            yield value  # type: ignore[misc]
    finally:
        stop.set()
        while thread.is_alive():
            # Nobody waits for room in a queue that is emptied.
            try:
                made.get_nowait()
            except Empty:
                thread.join(_LOOKS_EVERY_S / 20)
