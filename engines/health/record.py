"""What the health checks say of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.health.fault import Fault

NO_LEVELS = np.zeros((2, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One check that speaks.

    statistic, value, threshold, unit: of the check. confirm_s: how long it must last to be believed. since_s:
    when the evidence began, where the statistic itself is a time; else None. certain: whether nothing but the fault
    can look like this.
    """

    fault: Fault
    statistic: str
    value: float
    threshold: float
    unit: str
    confirm_s: float
    since_s: float | None = None
    certain: bool = False

    @property
    def closeness(self) -> float:
        """How much of its threshold the value reaches: from 1 on it is suspicious."""
        return self.value / self.threshold


@dataclass(frozen=True, slots=True)
class Health:
    """The statistics of one frame, and what they make of it.

    statistics: every one by name, higher is worse; NaN where it has no say (yet). suspicions: the checks that
    speak, the most certain first, one a fault. nearest: the check that comes nearest to its threshold without
    reaching it, as a suspicion that is none. hint: what may lie over the scene, though too little speaks for it to be
    suspected; it outweighs how plainly the scene seems to have changed. levels: 2 × checks, the highest threshold at
    which each would have begun to speak here, and its value, both in units of the table's threshold; NaN where it has
    no say.
    """

    statistics: Mapping[str, float] = field(default_factory=dict)
    suspicions: tuple[Suspicion, ...] = ()
    nearest: Suspicion | None = None
    hint: Suspicion | None = None
    levels: NDArray[np.float32] = field(default_factory=lambda: NO_LEVELS, compare=False, repr=False)

    @property
    def suspect(self) -> Fault | None:
        """The fault this frame looks like, or None."""
        return self.suspicions[0].fault if self.suspicions else None

    def of(self, fault: str) -> Suspicion | None:
        """The suspicion of ``fault``, whatever else is suspected; None if it is not."""
        return next((s for s in self.suspicions if s.fault == fault), None)
