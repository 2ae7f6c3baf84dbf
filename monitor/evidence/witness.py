"""What is gathered of the events of one live camera: the moment they are believed, and a clip around it."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.evidence.clips import suffix
from monitor.evidence.explain import Explainer, Explanation, Sight
from monitor.evidence.packets import PacketRing, Take

LOOKBACK_S = 20.0
"""How long before detection an onset may lie for the clip still to have all of its pre-roll."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to gather. pre_roll_s, clip_s: what a clip shows before the onset, and after detection at most; without
    ``clip_s`` there are no clips."""

    pre_roll_s: float = 0.0
    clip_s: float = 0.0


class Witness:
    """Gathers for one camera. ring: of its packets; None where no clips are wanted.

    Media times here are the event's, which are ``lead_s`` ahead of the camera's."""

    def __init__(self, explainer: Explainer, wanted: Wanted) -> None:
        self._explainer, self._wanted = explainer, wanted
        self.ring = PacketRing(wanted.pre_roll_s + LOOKBACK_S) if wanted.clip_s > 0 else None
        self._take: Take | None = None
        self._due_s = 0.0

    def begin(self, sight: Sight | None, onset_s: float, lead_s: float, now_s: float) -> Explanation | None:
        """Begin the clip of an event that was just believed, at ``now_s`` on the monotonic clock, and explain it;
        None where no picture has come yet. The clip of the event before must be finished."""
        notes: tuple[str, ...] = ()
        if self.ring is not None and self.ring.coding is not None:
            wanted_s = max(0.0, onset_s - self._wanted.pre_roll_s) - lead_s
            self._take = self.ring.take(max(0.0, wanted_s), onset_s - lead_s)
            self._due_s = now_s + self._wanted.clip_s
        elif self.ring is not None and self.ring.problem:
            notes = (f"no clip: {self.ring.problem}",)
        return None if sight is None else self._explainer.explain(sight, notes)

    @property
    def clip_suffix(self) -> str:
        """Of the clip that was begun; empty where none is."""
        coding = None if self._take is None else self._take.coding
        if coding is None and self.ring is not None and self._take is not None:
            coding = self.ring.coding
        return "" if coding is None else suffix(coding)

    def due(self, now_s: float) -> bool:
        """Whether the clip in the making has become as long as it may, at ``now_s`` on the monotonic clock."""
        return self._take is not None and now_s >= self._due_s

    def finish(self) -> Take | None:
        """Return the clip in the making, which goes on no more; None where there is none."""
        take, self._take = self._take, None
        if take is not None and self.ring is not None:
            self.ring.finish(take)
        return take
