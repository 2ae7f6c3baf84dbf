"""A mailbox with one slot: the newest item wins, and what nobody fetched in time is counted."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands items from one thread to another without ever making the giver wait.

    A consumer slower than the giver gets the newest item each time, never an old one: how late it is stays
    bounded by one item, however slow it is. ``dropped`` counts the items that were replaced before being
    fetched.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._since_s = 0.0
        self._dropped = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        with self._changed:
            return self._dropped

    @property
    def waiting_since_s(self) -> float | None:
        """Since when, on the monotonic clock, something waits to be fetched; None if nothing does. A newer item in its
        place does not start the waiting anew."""
        with self._changed:
            return None if self._item is None else self._since_s

    def put(self, item: T) -> None:
        """Leave ``item``, in place of one not yet fetched. Ignored once closed."""
        with self._changed:
            if self._closed:
                return
            if self._item is None:
                self._since_s = time.monotonic()
            else:
                self._dropped += 1
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float) -> T | None:
        """Fetch the item, waiting for one at most ``timeout_s``; None when none came or the mailbox is
        closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake whoever waits; nothing is accepted or handed out any more."""
        with self._changed:
            self._closed, self._item = True, None
            self._changed.notify_all()
