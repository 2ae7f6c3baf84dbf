"""Has normal moved? A slow look at decimated levels, which proposes to calibrate anew and changes nothing itself. Pure:
media time only, the same samples give the same proposals at any chunking.

While a stream is quiet, the median of each channel over every ``BLOCK_S`` is kept, for the last ``WINDOW_S`` of such time.
Each third of them must have moved the same way, ``SHARE`` of the way from typical to the threshold, and beyond every
held-out unit's own level: one long rare scene moves one third, noise moves none. What an event says never enters."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from engines.decision import Calibration, Channel, Levels

BLOCK_S, WINDOW_S, LEAST_S = 10.0, 3600.0, 1200.0
"""LEAST_S: quiet time below which nothing is proposed."""
SHARE = 0.5
LASTING = frozenset({"domain", "departure"})
"""Channels that can stay at a level: corruption is measured from the stream's own last seconds and returns to 0."""
FEWEST = 5
"""Frames that a block must have to say anything."""
_PARTS = 3


@dataclass(frozen=True, slots=True)
class Proposal:
    """A channel's level has moved for good, it seems. level: its median over the last ``quiet_s`` seconds of quiet time, the
    first of them at ``since_s``. share: of the way from typical to the threshold; below 0 where it fell."""

    stream: str
    number: int
    time_s: float
    since_s: float
    quiet_s: float
    channel: str
    unit: str
    level: float
    typical: float
    threshold: float
    share: float

    def line(self, bundle: str) -> str:
        """In one sentence, with what to do about it; ``bundle``: its name."""
        moved = "nearer to an alarm" if self.share > 0 else "further from an alarm, which would come later"
        new = f"{bundle.removesuffix('.bundle')}-moved.bundle"
        return (
            f"drift: {self.channel} has stood at {self.level:.2f} {self.unit} over {self.quiet_s / 60:.0f} quiet minutes, typical "
            f"was {self.typical:.2f} and alarms begin above {self.threshold:.2f}: {abs(self.share):.0%} of that way {moved}; if this "
            f"is normal now, record some of it and run: sightline calibrate {bundle} --normal RECORDING --out {new}"
        )


class Drift:
    """Watches one stream for it. window_s, least_s, block_s: as the constants say unless told."""

    def __init__(
        self,
        stream: str,
        calibration: Calibration,
        units: dict[str, str] | None = None,
        *,
        window_s: float = WINDOW_S,
        least_s: float = LEAST_S,
        block_s: float = BLOCK_S,
    ) -> None:
        self._stream, self._units = stream, units or {}
        self._channels = tuple(c for c in calibration.channels if c.name in LASTING)
        self._held = {
            c.name: [
                u.typical[c.name]
                for u in calibration.held_out
                if math.isfinite(u.typical.get(c.name, math.nan))
            ]
            for c in self._channels
        }
        self._least, self._block_s = math.ceil(least_s / block_s), block_s
        self._blocks: deque[tuple[float, dict[str, float]]] = deque(maxlen=math.ceil(window_s / block_s))
        self._block = -1
        self._frames: list[Levels] = []
        self._spoilt = False
        self._told: set[str] = set()
        self._number = 0

    def succeed(self, before: Drift) -> None:
        """Number proposals on behind those of ``before``, which is used no more."""
        self._number = before._number

    def update(self, time_s: float, levels: Levels, *, quiet: bool) -> Proposal | None:
        """Take one frame, in order; quiet: nothing is open and nothing speaks for an event. At most one proposal a call,
        one a channel until its level has come back."""
        block, proposal = int(time_s // self._block_s), None
        if block != self._block:
            proposal = self._close(time_s)
            self._block, self._frames, self._spoilt = block, [], False
        self._frames.append(levels)
        self._spoilt |= not quiet
        return proposal

    def _close(self, now_s: float) -> Proposal | None:
        if self._spoilt or len(self._frames) < FEWEST:
            return None
        medians = {c.name: _median([getattr(f, c.name) for f in self._frames]) for c in self._channels}
        self._blocks.append((self._block * self._block_s, medians))
        if len(self._blocks) < self._least:
            return None
        found = [self._judge(channel, now_s) for channel in self._channels]
        return next((proposal for proposal in found if proposal is not None), None)

    def _judge(self, channel: Channel, now_s: float) -> Proposal | None:
        levels = np.array([medians[channel.name] for _, medians in self._blocks])
        parts = [_median(list(part)) for part in np.array_split(levels, _PARTS)]
        reach = max(channel.threshold - channel.typical, 1e-9)
        shares = [(part - channel.typical) / reach for part in parts]
        lasting = 0.0
        if all(share > 0 for share in shares) or all(share < 0 for share in shares):
            lasting = min(shares, key=abs)
        if abs(lasting) < SHARE / 2:
            self._told.discard(channel.name)
        held = self._held[channel.name]
        known = held and any(min(held) <= part <= max(held) for part in parts)
        if not abs(lasting) >= SHARE or known or channel.name in self._told:
            return None
        self._told.add(channel.name)
        self._number += 1
        level = _median(list(levels))
        return Proposal(
            self._stream, self._number, now_s, self._blocks[0][0], len(self._blocks) * self._block_s, channel.name,
            self._units.get(channel.name, ""), level, channel.typical, channel.threshold, (level - channel.typical) / reach,
        )  # fmt: skip


def _median(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan
