"""Faults of the camera in footage that is meant to be normal: which parts, and what becomes of them.

What is certain (black, white, a test pattern, repaired pictures, a freeze to the bit) is left out once it is believed, from
its beginning. All else may be a check's error on a camera like this, and footage that is taught as normal is what its
limits are learnt from: it is learnt, and said."""

from __future__ import annotations

from dataclasses import dataclass

from engines.health import Health
from engines.health.belief import CLEAR_S, Belief
from engines.health.fault import Fault

MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A part in which a fault would be believed. Media seconds. certain: nothing was learnt from it."""

    fault: Fault
    start_s: float
    end_s: float
    certain: bool

    def __str__(self) -> str:
        return f"{self.start_s:.1f}-{self.end_s:.1f} s: {self.fault.value.replace('_', ' ')}"


class FaultySpans:
    """Finds them in one drive, frame by frame, as the detector would: ``take`` every health in order."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._open: Span | None = None
        self._belief = Belief()

    def take(self, time_s: float, health: Health) -> bool:
        """Take one frame; whether it was just then believed to be faulty, so that it must not be got used to."""
        if self._open is not None:
            still = health.of(self._open.fault)
            if still is not None:
                certain = self._open.certain or still.certain
                self._open = Span(self._open.fault, self._open.start_s, time_s, certain)
                return False
            if time_s - self._open.end_s < CLEAR_S:
                return False
            self._spans.append(self._open)
            self._open = None
            self._belief.clear()
        found = self._belief.take(time_s, health)
        if found is None:
            return False
        believed, since_s = found
        self._open = Span(believed.fault, since_s, time_s, believed.certain)
        return True

    @property
    def certain(self) -> bool:
        """Whether a fault is believed now that cannot be anything else."""
        return self._open is not None and self._open.certain

    @property
    def spans(self) -> tuple[Span, ...]:
        """All so far."""
        return (*self._spans, *((self._open,) if self._open is not None else ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of them: a line for those left out, one for those that may be errors of the checks."""
        sure = [s for s in self.spans if s.certain]
        doubtful = [s for s in self.spans if not s.certain]
        return tuple(
            f"{_named(spans)}; {fate}"
            for spans, fate in (
                (sure, "nothing was learnt from it"),
                (
                    doubtful,
                    "a check may err here, so it was not left out for that; if the camera was not sound, cut it out",
                ),
            )
            if spans
        )


def sound(health: Health) -> bool:
    """Whether nothing speaks for a fault that cannot be anything else."""
    return not any(suspicion.certain for suspicion in health.suspicions)


def _named(spans: list[Span]) -> str:
    more = f" and {len(spans) - MOST_NAMED} more" if len(spans) > MOST_NAMED else ""
    return ", ".join(map(str, spans[:MOST_NAMED])) + more
