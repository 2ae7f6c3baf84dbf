"""Count the alarms of a recorded stretch: levels of channels and thresholds in, alarms out.

The rule is the detector's own (confirmation, hysteresis, refractory time), without camera faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.decision import Calibration
from engines.density import Floats
from engines.metrics import Interval, poisson_interval


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm, in media seconds: when a threshold was first exceeded, when that was believed, when it was over."""

    onset_s: float
    detected_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Tally:
    """The alarms of some footage that should have none: how many, in how many seconds watched, and how many of those
    seconds they lasted."""

    alarms: int
    seconds: float
    alarmed_s: float

    @property
    def per_hour(self) -> float:
        return self.alarms * 3600.0 / self.seconds

    @property
    def interval(self) -> Interval:
        """The 95 % interval of ``per_hour`` (Garwood 1936)."""
        low, high = poisson_interval(self.alarms)
        return low * 3600.0 / self.seconds, high * 3600.0 / self.seconds

    @property
    def share(self) -> float:
        """Of the time watched, spent in alarm: 0 to 1."""
        return self.alarmed_s / self.seconds


def alarms(
    times_s: NDArray[np.floating], levels: Mapping[str, Floats], calibration: Calibration
) -> tuple[Alarm, ...]:
    """The alarms of one stretch: N media times, N levels of each channel (NaN where it has no say)."""
    rule = calibration.rule
    channels = [(levels[c.name], c.threshold, c.clear) for c in calibration.channels]
    found: list[Alarm] = []
    above_s: float | None = None
    clear_s: float | None = None
    detected_s: float | None = None
    over_s = -np.inf
    for row, now in enumerate(map(float, times_s)):
        if detected_s is not None and above_s is not None:
            if any(values[row] > clear for values, _, clear in channels):
                clear_s = None
                continue
            clear_s = now if clear_s is None else clear_s
            if now - clear_s >= rule.clear_s:
                found.append(Alarm(above_s, detected_s, clear_s))
                above_s, detected_s, over_s = None, None, now
        elif now < over_s + rule.refractory_s or not any(v[row] > limit for v, limit, _ in channels):
            above_s = None
        else:
            above_s = now if above_s is None else above_s
            if now - above_s >= rule.confirm_s:
                detected_s, clear_s = now, None
    if detected_s is not None and above_s is not None:
        found.append(Alarm(above_s, detected_s, float(times_s[-1])))
    return tuple(found)


def tally(stretches: Sequence[tuple[float, Sequence[Alarm]]]) -> Tally:
    """Sum up stretches, each of so many seconds with such alarms."""
    every = [alarm for _, found in stretches for alarm in found]
    lasted_s = sum(alarm.ended_s - alarm.detected_s for alarm in every)
    return Tally(len(every), sum(seconds for seconds, _ in stretches), lasted_s)
