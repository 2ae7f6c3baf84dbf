"""The words of a report: verdicts, times, durations and numbers as a person says them."""

from __future__ import annotations

from math import isfinite

from monitor.events import SILENT, Verdict

LABELS = {
    Verdict.OK: "all right",
    Verdict.LEFT_DOMAIN: "left its domain",
    Verdict.CAMERA_FAULT: "camera fault",
    Verdict.CANT_TELL: "can't tell",
    Verdict.NO_SIGNAL: "no signal",
    Verdict.STALE: "stale",
}


def label(verdict: Verdict, mode: str = "") -> str:
    """Return the verdict in plain words, such as ``camera fault (black)``."""
    words = LABELS[Verdict(verdict)]
    return f"{words} ({mode.replace('_', ' ')})" if mode and verdict not in SILENT else words


def clock(time_s: float, exact: bool = False) -> str:
    """Return media seconds as a clock: ``02:03``, ``1:02:03``; ``02:03.48`` where ``exact``."""
    if not isfinite(time_s):
        return "–"
    ticks = max(round(time_s * 100), 0) if exact else int(max(time_s, 0)) * 100
    minutes, rest = divmod(ticks, 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest // 100:02d}" + (f".{rest % 100:02d}" if exact else "")
    return f"{hours}:{text}" if hours else text


def span(duration_s: float) -> str:
    """Return a duration in words, such as ``3 min 20 s``."""
    if not isfinite(duration_s):
        return "–"
    if duration_s < 9.95:
        return f"{max(duration_s, 0):.2g} s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def count(number: int, noun: str) -> str:
    """Return ``1 event``, ``2 events``; thousands are set apart by a thin space."""
    return f"{grouped(number)} {noun}" + "s" * (number != 1)


def grouped(number: int) -> str:
    """Return a whole number with its thousands set apart by a thin space that does not break."""
    return f"{number:,}".replace(",", "\u202f")


def quantity(value: float, unit: str) -> str:
    """Return a value to four digits with its unit, or a dash where there is none."""
    return f"{value:.4g} {unit}".rstrip() if isfinite(value) else "–"


def sentence(text: str) -> str:
    """Return ``text`` with a capital first letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
