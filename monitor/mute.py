"""Times in which nobody is woken. What begins in them is journalled and published all the same, marked as muted, and
told once they are over if it still goes on.

The only place where the wall clock decides anything. It decides anew at every look, by what the clock on the wall of
``zone`` shows then: an hour that comes twice is muted twice, one that is left out is not missed, and a clock that was
set moves nothing but what is muted from then on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo, available_timezones

from engines.errors import ConfigError
from monitor.events import Event, Phase

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NUMBERS = {day.lower(): number for number, day in enumerate(DAYS)}
_SPAN = re.compile(r"(\d\d?):(\d\d)-(\d\d?):(\d\d)")
_REMEDY = 'write it like "Mon-Fri 22:00-05:30", "12:00-13:00" or "Sat,Sun"'
_DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the week. days: on which it begins, from 0 for Monday. begin_min, end_min: minutes of the day, the end
    outside; one that does not lie after the begin is on the next day."""

    days: frozenset[int]
    begin_min: int
    end_min: int

    def holds(self, moment: datetime) -> bool:
        """Whether ``moment``, as the wall clock shows it, lies in it."""
        minute, today = 60 * moment.hour + moment.minute, moment.weekday()
        if self.begin_min < self.end_min:
            return today in self.days and self.begin_min <= minute < self.end_min
        late = today in self.days and minute >= self.begin_min
        return late or ((today - 1) % 7 in self.days and minute < self.end_min)


def parse_window(where: str, text: str) -> Window:
    """``Mon-Fri 22:00-05:30``: days, times, or both; ConfigError for what is none."""
    words = text.split()
    span = words.pop() if words and ":" in words[-1] else "00:00-24:00"
    match = _SPAN.fullmatch(span)
    if match is None or len(words) > 1 or not text.strip() or any(map(str.isdigit, "".join(words))):
        raise ConfigError(where, f"must be days, times or both, got {text!r}", _REMEDY)
    hours_minutes = tuple(int(number) for number in match.groups())
    begin, end = (60 * h + m for h, m in (hours_minutes[:2], hours_minutes[2:]))
    if max(hours_minutes[1::2]) > 59 or begin >= _DAY_MIN or end > _DAY_MIN:
        raise ConfigError(where, f"must have times from 00:00 to 24:00, got {span}", _REMEDY)
    if begin == end:
        raise ConfigError(
            where, f"must end at another time than it begins, got {span}", "a whole day is 00:00-24:00"
        )
    return Window(_days(where, words[0]) if words else frozenset(range(7)), begin, end)


def _days(where: str, text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        ends = [_NUMBERS.get(word.strip().lower()) for word in part.split("-")]
        if len(ends) > 2 or None in ends:
            raise ConfigError(where, f"must name days as {', '.join(DAYS)}, got {part!r}", _REMEDY)
        first, last = int(ends[0] or 0), int(ends[-1] or 0)
        days.update((first + n) % 7 for n in range((last - first) % 7 + 1))
    return frozenset(days)


def parse_zone(where: str, name: str) -> ZoneInfo:
    """The time zone called ``name``; ConfigError where there is none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name, sorted(available_timezones()), n=1, cutoff=0.5)
        raise ConfigError(
            where,
            f"must be a time zone that this machine knows, got {name!r}",
            f"did you mean {near[0]}?"
            if near
            else "for example Europe/Berlin, or leave it out for the machine's own",
        ) from error


@dataclass(frozen=True, slots=True)
class Mute:
    """When a camera is muted. zone: whose clock counts; None: the machine's own."""

    windows: tuple[Window, ...] = ()
    zone: ZoneInfo | None = None

    def active(self, unix_s: float) -> bool:
        """Whether it is muted at this moment, in Unix seconds."""
        if not self.windows:
            return False
        moment = datetime.fromtimestamp(unix_s, self.zone)
        return any(window.holds(moment) for window in self.windows)


NEVER = Mute()


def parse_mute(where: str, windows: Sequence[str], zone: ZoneInfo | None) -> Mute:
    """Check ``windows``; ConfigError for the first that is none, with its place behind ``where``."""
    return Mute(tuple(parse_window(f"{where}[{n}]", text) for n, text in enumerate(windows)), zone)


class Muting:
    """Follows the events of one camera: which of their messages wake nobody, and what is to be told later."""

    def __init__(self, mute: Mute = NEVER) -> None:
        self._mute = mute
        self._untold: Event | None = None

    def active(self, unix_s: float) -> bool:
        return self._mute.active(unix_s)

    def take(self, event: Event, unix_s: float) -> bool:
        """Take each message in order; whether it is muted. An event that was told once is not muted any more."""
        if event.phase == Phase.START:
            muted = self._mute.active(unix_s)
            self._untold = event if muted else None
            return muted
        if self._untold is None:
            return False
        muted = event.phase == Phase.END or self._mute.active(unix_s)
        self._untold = event if muted and event.phase != Phase.END else None
        return muted

    def due(self, unix_s: float) -> Event | None:
        """The event that goes on though its window is over and that nobody was told of; given out once."""
        if self._untold is None or self._mute.active(unix_s):
            return None
        event, self._untold = self._untold, None
        return event
