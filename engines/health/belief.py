"""From suspicion to belief: a check must speak for its own time. One rule for the detector and for ``fit``."""

from __future__ import annotations

from engines.health.fault import Fault
from engines.health.record import Health, Suspicion

CLEAR_S = 0.5
"""Without its suspicion for so long a fault is over."""


class Belief:
    """How long each fault has been suspected in one stream."""

    def __init__(self) -> None:
        self._since_s: dict[Fault, float] = {}

    @property
    def suspects(self) -> bool:
        """Whether anything was suspected in the last frame."""
        return bool(self._since_s)

    def take(self, time_s: float, health: Health) -> tuple[Suspicion, float] | None:
        """Take one frame. The most certain suspicion and since when, once it has lasted long enough; how long the others
        have is remembered."""
        # A frozen picture was frozen since its first repetition, not since it began to look suspicious.
        began = {s.fault: time_s if s.since_s is None else s.since_s for s in health.suspicions}
        self._since_s = {f: min(self._since_s.get(f, t), t) for f, t in began.items()}
        first = next(iter(health.suspicions), None)
        if first is None or time_s - self._since_s[first.fault] < first.confirm_s:
            return None
        return first, self._since_s[first.fault]

    def clear(self) -> None:
        """What was suspected is over."""
        self._since_s.clear()
