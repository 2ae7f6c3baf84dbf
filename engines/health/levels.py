"""What normal footage asks of the thresholds: how high each check came, and stayed.

A stream whose own normal footage comes near a threshold needs a higher one. Every held-out drive gives one level a
check; their maximum, times a margin, is the limit that ``HealthChecks`` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.health.checks import CHECKS, Check
from engines.health.record import Health


def held_levels(times_s: Sequence[float], healths: Sequence[Health]) -> dict[str, float]:
    """The highest threshold, in units of the table's, at which each check that is not certain would have been believed
    on this footage: it would have begun to speak there, and gone on for its ``confirm_s``. By name; 0 where it never
    had a say."""
    times = np.asarray(times_s, np.float64)
    levels = np.stack([health.levels for health in healths]) if healths else np.zeros((0, 2, len(CHECKS)))
    return {
        check.name: _held(check, times, levels[:, 0, n], levels[:, 1, n])
        for n, check in enumerate(CHECKS)
        if not check.certain
    }


def raised_limits(levels: Sequence[Mapping[str, float]], margin: float) -> dict[str, float]:
    """Thresholds that stand ``margin`` times above the highest of some drives' levels, where those of the table do
    not."""
    limits = {}
    for check in CHECKS:
        highest = margin * max((drive.get(check.name, 0.0) for drive in levels), default=0.0)
        if not check.certain and highest > 1.0:
            limits[check.name] = highest * check.threshold
    return limits


def _held(
    check: Check, times: NDArray[np.float64], began: NDArray[np.floating], value: NDArray[np.floating]
) -> float:
    if check.unit == "s":  # the value is itself the time for which it was so
        return float(max(np.nanmax(value, initial=0.0), 0.0))
    best = 0.0
    for n in np.flatnonzero(began > 0):
        if not began[n] > best:
            continue
        last = int(np.searchsorted(times, times[n] + check.confirm_s))
        if last >= len(times):
            break
        stayed = float(np.min(value[n : last + 1])) / check.keeps
        best = max(best, min(float(began[n]), stayed)) if math.isfinite(stayed) else best
    return best
