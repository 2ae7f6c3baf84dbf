"""The cursor: makes of what arrives, live or from the journal, every alert once and in order. No sockets.

One number decides everything, that of the last alert taken in. A live alert that is next moves it; a live
alert or a heartbeat further ahead puts the cursor behind, until a page of the journal has brought it up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from monitor.wire import Answer


class Happening(StrEnum):
    """What a notice is about."""

    STALE = "stale"
    BACK = "back"
    LOST = "lost"
    RESET = "reset"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something other than an alert that the user must know; first, last: the numbers that are ``LOST``."""

    happening: Happening
    text: str
    first: int = 0
    last: int = 0


class Cursor:
    """Where a subscriber stands in the journal.

    epoch: the journal followed, empty until known. since: the last alert taken in, None to begin with the
    next. ready: alerts taken in and not yet handed out, as epoch, number and payload. dealt: the last alert handed
    out. behind: whether the journal must be asked for what follows ``since``. where: named in notices.
    """

    def __init__(self, where: str, epoch: str, since: int | None, notify: Callable[[Notice], None]) -> None:
        self.epoch, self.since, self.dealt = epoch, since, since
        self.ready: deque[tuple[str, int, bytes]] = deque()
        self.behind = False
        self.repaired = self.lost = 0
        self._where, self._notify = where, notify

    def heartbeat(self, epoch: str, head: int) -> None:
        """Take in a heartbeat."""
        self._follow(epoch)
        if self.since is None:
            self.since = self.dealt = head
        # A head that is lower is an old heartbeat or a journal set back: the answer tells which.
        self.behind |= head != self.since

    def alert(self, epoch: str, sequence: int, payload: bytes) -> None:
        """Take in a live alert: the next one, be it that the page to come would have it, and no other.

        A heartbeat can name an alert before it comes, and a publisher that closes answers nobody.
        """
        self._follow(epoch)
        if self.since is None:
            self.since = self.dealt = sequence - 1
        if sequence == self.since + 1:
            self.ready.append((self.epoch, sequence, payload))
            self.since = sequence
        self.behind |= sequence > self.since

    def answer(self, answer: Answer, rows: list[tuple[int, bytes]]) -> None:
        """Take in what is new of a page, that follows ``since`` as it was when the page was asked for."""
        reached, same = self.since or 0, answer.epoch == self.epoch
        self.behind = False
        if not same or answer.since > reached:
            # Asked for in a journal given up since. The live socket alone says which one is in force: there
            # messages keep their order.
            self.behind = same
            return
        if answer.head < answer.since:
            self._set_back(answer)
            return
        for sequence, payload in rows:
            if sequence > reached:
                self._skip_to(sequence - 1)
                self.ready.append((self.epoch, sequence, payload))
                self.since = sequence
                self.repaired += 1
        if not rows:
            self._skip_to(answer.head)
        self.behind = answer.head > (self.since or 0)

    def lose(self, first: int, last: int, why: str) -> None:
        """Count and tell a loss."""
        self.lost += last - first + 1
        what = f"alert {first}" if first == last else f"alerts {first} to {last}"
        self._notify(Notice(Happening.LOST, f"{self._where}: {what} lost: {why}", first, last))

    def _follow(self, epoch: str) -> None:
        if self.epoch and epoch != self.epoch:
            text = f"{self._where}: the journal was lost (epoch {self.epoch} is now {epoch}), starting over"
            self.since = self.dealt = 0
            self.behind = False
            self._notify(Notice(Happening.RESET, text))
        self.epoch = epoch

    def _skip_to(self, last: int) -> None:
        first = (self.since or 0) + 1
        if last >= first:
            self.lose(first, last, "no longer in the journal")
            self.since = last

    def _set_back(self, answer: Answer) -> None:
        text = (
            f"{self._where}: the journal ends at {answer.head}, before {answer.since}; going on from its end"
        )
        self.since = self.dealt = answer.head
        self._notify(Notice(Happening.RESET, text))
