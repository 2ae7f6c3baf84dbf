"""The script of a drive: which scenery for how long, which camera fault when, and so what a monitor has to
find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from engines.errors import InputError
from engines.faults import FAULTS

SCENES = ("highway", "city", "tunnel", "night", "rural")
NORMAL = "highway"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a drive: scenery, duration, and a fault of ``engines.faults`` from its start to its
    end."""

    scene: str
    seconds: float
    fault: str = ""
    severity: int = 3


Script = tuple[Segment, ...]


class Planted(NamedTuple):
    """An event put into a drive. kind: left_domain or camera_fault; mode: as the detector says it, else
    empty."""

    kind: str
    mode: str
    start_s: float
    end_s: float


def check(script: Script) -> None:
    """Raise InputError unless every scene and fault is known and every duration and severity possible."""
    if not script:
        raise InputError("script", "must have a segment, has none")
    for number, segment in enumerate(script, 1):
        where = f"script, segment {number}"
        if segment.scene not in SCENES:
            raise InputError(where, f"scene must be one of {', '.join(SCENES)}, not {segment.scene!r}")
        if segment.fault and segment.fault not in FAULTS:
            raise InputError(where, f"fault must be one of {', '.join(FAULTS)}, not {segment.fault!r}")
        if segment.severity not in range(1, 6):
            raise InputError(where, f"severity must be 1, 2, 3, 4 or 5, not {segment.severity}")
        if not 0 < segment.seconds < float("inf"):
            raise InputError(where, f"seconds must be more than nothing, not {segment.seconds}")


def duration_s(script: Script) -> float:
    """Return how long a drive lasts."""
    return sum(segment.seconds for segment in script)


def planted(script: Script, normal: str = NORMAL) -> list[Planted]:
    """Return the events of a drive in order of time, for a monitor that was taught ``normal`` scenery.

    Neighbouring segments of the same kind are one event. A fault in foreign scenery is two events at once.
    """
    check(script)
    found: list[Planted] = []
    start = 0.0
    for segment in script:
        end = start + segment.seconds
        if segment.scene != normal:
            _extend(found, Planted("left_domain", "", start, end))
        if segment.fault:
            _extend(found, Planted("camera_fault", FAULTS[segment.fault].verdict, start, end))
        start = end
    return found


def _extend(found: list[Planted], event: Planted) -> None:
    for place, earlier in enumerate(found):
        if earlier[:2] == event[:2] and earlier.end_s == event.start_s:
            found[place] = earlier._replace(end_s=event.end_s)
            return
    found.append(event)


def demo_script() -> Script:
    """Return the drive of the demonstration: 14 s or more of highway between any two things to find."""
    return (
        Segment("highway", 30.0),
        Segment("city", 14.0),
        Segment("highway", 14.0),
        Segment("highway", 6.0, "freeze"),
        Segment("highway", 14.0),
        Segment("tunnel", 12.0),
        Segment("highway", 14.0),
        Segment("highway", 10.0, "mud", 4),
        Segment("highway", 14.0),
        Segment("highway", 6.0, "black", 4),
        Segment("highway", 14.0),
        Segment("highway", 8.0, "blur", 4),
        Segment("highway", 14.0),
    )
