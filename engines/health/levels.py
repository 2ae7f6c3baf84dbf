"""What normal footage asks of the thresholds: how high each check came, and stayed.

A stream whose own normal footage comes near a threshold needs a higher one. Every held-out drive gives one level a
check; their maximum, times a margin, is the limit that ``HealthChecks`` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.health.checks import CHECKS, Check


def held_levels(times_s: NDArray[np.floating], levels: NDArray[np.floating]) -> dict[str, float]:
    """The highest threshold, in units of the table's, at which each check that is not certain would have been believed
    on footage: it would have begun to speak there, and gone on for its ``confirm_s``. By name, without those that
    never had a say. levels: N × 2 × checks, as ``Health`` has them of each of N frames at ``times_s``."""
    held = {
        check.name: _held(check, times_s, levels[:, 0, n], levels[:, 1, n])
        for n, check in enumerate(CHECKS)
        if not check.certain and len(levels)
    }
    return {name: level for name, level in held.items() if level > 0.0}


def raised_limits(levels: Sequence[Mapping[str, float]], margin: float) -> dict[str, float]:
    """Limits that stand ``margin`` times above the highest of some drives' levels, in units of the table's thresholds;
    those that would not be above 1 are left out."""
    names = {name for drive in levels for name in drive}
    limits = {name: margin * max(drive.get(name, 0.0) for drive in levels) for name in sorted(names)}
    return {name: limit for name, limit in limits.items() if limit > 1.0}


def _held(
    check: Check, times: NDArray[np.floating], began: NDArray[np.floating], value: NDArray[np.floating]
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
