"""Mute windows: days, midnight, clocks that change or are set, and what is told when a window is over."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from engines.errors import ConfigError
from monitor.events import Event, Phase, Verdict
from monitor.mute import Mute, Muting, parse_mute, parse_window, parse_zone

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    """Unix seconds of an ISO time."""
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        # 2026-11-02 is a Monday.
        ("12:00-13:00", ["02T12:00", "08T12:59:59"], ["02T11:59:59", "02T13:00"]),
        ("Mon 08:00-24:00", ["02T08:00", "02T23:59:59"], ["03T00:00", "03T09:00", "01T09:00"]),
        ("Mon-Fri 22:00-05:30", ["02T22:00", "03T05:29", "07T05:29"], ["02T05:29", "02T05:30", "07T22:00", "08T03:00"]),
        ("Sun 23:00-01:00", ["08T23:00", "09T00:59"], ["08T00:30", "09T23:30"]),
        ("Sat,Sun", ["07T00:00", "08T23:59:59"], ["06T23:59:59", "09T00:00"]),
        ("Fri-Mon", ["06T00:00", "09T12:00"], ["10T00:00", "05T23:59"]),
        ("mon,wed-thu 7:00-7:01", ["02T07:00", "04T07:00", "05T07:00"], ["03T07:00", "06T07:00"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_windows(window: str, inside: list[str], outside: list[str]) -> None:
    mute = Mute((parse_window("mute[0]", window),), ZoneInfo("UTC"))
    assert [t for t in inside if not mute.active(at(f"2026-11-{t}"))] == []
    assert [t for t in outside if mute.active(at(f"2026-11-{t}"))] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be days, times or both, got ''"),
        ("always", "must name days as Mon, .*got 'always'"),
        ("Mon-Fry 1:00-2:00", "got 'Mon-Fry'"),
        ("Mon-Wed-Fri", "got 'Mon-Wed-Fri'"),
        ("22-5", "got '22-5'"),
        ("22:00", "must be days, times or both"),
        ("Mon Tue 1:00-2:00", "must be days, times or both"),
        ("25:00-26:00", "must have times from 00:00 to 24:00"),
        ("12:60-13:00", "must have times"),
        ("24:00-01:00", "must have times"),
        ("08:00-08:00", "must end at another time than it begins, .* a whole day is 00:00-24:00"),
    ],
)
def test_what_is_no_window_is_refused_by_its_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^camera\[0\]\.mute\[1\]: .*{says}"):
        parse_mute("camera[0].mute", ["Sun", text], None)


def test_zones() -> None:
    assert parse_zone("timezone", "Europe/Berlin") == BERLIN
    with pytest.raises(ConfigError, match=r"got 'Europe/Berlinn'; did you mean Europe/Berlin\?"):
        parse_zone("timezone", "Europe/Berlinn")
    for name in ("", "../etc/passwd", "nowhere at all", "\0"):
        with pytest.raises(ConfigError, match="must be a time zone that this machine knows"):
            parse_zone("timezone", name)


def test_the_clock_of_the_zone_counts() -> None:
    night = Mute((parse_window("m", "22:00-05:30"),), BERLIN)
    assert night.active(at("2026-07-01T20:30"))
    assert not night.active(at("2026-12-01T20:30"))
    assert night.active(at("2026-12-01T21:30"))
    own = Mute((parse_window("m", "00:00-24:00"),))
    assert own.active(at("2026-12-01T21:30"))


def test_an_hour_that_comes_twice_is_muted_twice() -> None:
    """On 2026-10-25 clocks in Berlin go from 03:00 back to 02:00."""
    mute = Mute((parse_window("m", "02:15-02:45"),), BERLIN)
    muted = [m for m in range(0, 300, 5) if mute.active(at("2026-10-24T22:00") + 60 * m)]
    assert muted == [*range(135, 165, 5), *range(195, 225, 5)]


def test_an_hour_that_is_left_out_is_not_missed() -> None:
    """On 2026-03-29 clocks in Berlin go from 02:00 on to 03:00; a window that begins in the gap begins with its end."""
    short = Mute((parse_window("m", "02:15-02:45"),), BERLIN)
    long = Mute((parse_window("m", "02:15-04:00"),), BERLIN)
    moments = [at("2026-03-28T23:00") + 60 * m for m in range(0, 300, 5)]
    assert not any(map(short.active, moments))
    assert [m for m in moments if long.active(m)] == [
        at("2026-03-29T01:00") + 60 * m for m in range(0, 60, 5)
    ]


def message(phase: Phase, number: int = 1, time_s: float = 5.0) -> Event:
    end_s = time_s if phase == Phase.END else None
    return Event(
        "x", number, phase, Verdict.LEFT_DOMAIN, "", 4.0, 5.0, time_s, end_s, "domain", 2.0, 1.0, 2.0, 5.0
    )


NIGHT = Mute((parse_window("m", "22:00-06:00"),), ZoneInfo("UTC"))
DUSK, MIDNIGHT, DAWN = at("2026-11-02T21:00"), at("2026-11-03T00:00"), at("2026-11-03T06:00")


def test_what_begins_and_ends_in_a_window_wakes_nobody() -> None:
    muting = Muting(NIGHT)
    assert muting.take(message(Phase.START), MIDNIGHT)
    assert muting.take(message(Phase.UPDATE), MIDNIGHT + 10)
    assert muting.due(MIDNIGHT + 20) is None
    assert muting.take(message(Phase.END), MIDNIGHT + 30)
    assert muting.due(DAWN) is None


def test_what_still_goes_on_is_told_once_when_the_window_is_over() -> None:
    muting = Muting(NIGHT)
    muting.take(message(Phase.START), MIDNIGHT)
    muting.take(message(Phase.UPDATE, time_s=15.0), MIDNIGHT + 10)
    assert muting.due(DAWN - 1) is None
    told = muting.due(DAWN)
    assert told is not None
    assert told.time_s == 15.0
    assert muting.due(DAWN + 1) is None
    assert not muting.take(message(Phase.UPDATE), DAWN + 2)
    assert not muting.take(message(Phase.END), DAWN + 3)


def test_an_update_after_the_window_tells_it_too() -> None:
    muting = Muting(NIGHT)
    muting.take(message(Phase.START), MIDNIGHT)
    assert not muting.take(message(Phase.UPDATE), DAWN)
    assert muting.due(DAWN) is None


def test_what_was_told_stays_told_in_a_window() -> None:
    muting = Muting(NIGHT)
    assert not muting.take(message(Phase.START), DUSK)
    assert not muting.take(message(Phase.UPDATE), MIDNIGHT)
    assert not muting.take(message(Phase.END), MIDNIGHT)
    assert muting.take(message(Phase.START, 2), MIDNIGHT)


def test_a_clock_that_is_set_loses_nothing() -> None:
    """Set on by a day it ends the window, and what goes on is told; set back into it, that stays told."""
    muting = Muting(NIGHT)
    muting.take(message(Phase.START), MIDNIGHT)
    assert muting.due(MIDNIGHT + 10 * 3600) is not None
    assert muting.due(MIDNIGHT) is None
    assert not muting.take(message(Phase.END), MIDNIGHT)
