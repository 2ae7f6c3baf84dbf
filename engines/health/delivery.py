"""How the frames came: their times, and what the decoder says of them."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import View

LATE_S = 0.5
IRREGULAR = 0.4
"""Share of the usual frame period by which the step to a frame may differ from it."""
STEPS, LATEST = 64, 9
"""Steps of which the median is the usual period: of a while, and of the latest, for a rate may change."""
STEADY = 1.15
"""Times the shortest of three steps that the longest of them is at most where frames are regular, at whatever rate."""
MEMORY_S = 1.5
REPAIRED_S = 1.0


class Delivery:
    """irregular: share of the latest frames that came early, late, or with a time stamp that was wrong, above
    what is usual. repaired: share of them that the decoder had to repair."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=STEPS)
        self._irregular = self._repaired = 0.0
        self._before: deque[float] = deque(maxlen=2)
        self._told = False
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, True

    def measure(self, view: View, link: Link) -> dict[str, float]:
        frame = view.frame
        wrong = float(frame.mistimed or frame.late_s > LATE_S)
        told, self._told = self._told, False
        if view.step_s > 0 and not told:
            step_s = view.step_s / view.frames
            if len(self._steps) >= STEPS // 4:
                latest = [*list(self._steps)[-LATEST:], step_s]
                periods_s = median(self._steps), median(latest[:-1])
                if all(abs(step_s - p) > IRREGULAR * p for p in periods_s):
                    if max(latest[-3:]) <= STEADY * min(latest[-3:]):
                        # Regular at another rate: the two steps before were the first of that.
                        self._irregular = min(self._irregular, self._before[0])
                    else:
                        wrong = 1.0
            self._steps.append(step_s)
        self._before.append(self._irregular)
        weight = 1.0 - math.exp(-max(view.step_s, 1e-3) / MEMORY_S)
        self._irregular += weight * (wrong - self._irregular)
        self._repaired += (1.0 - math.exp(-max(view.step_s, 1e-3) / REPAIRED_S)) * (
            frame.damaged - self._repaired
        )
        self.state = np.array([self._irregular], np.float32)
        usual = 0.0 if self.past.value is None else float(self.past.value[0])
        return {"irregular": self._irregular - usual, "repaired": self._repaired}

    def restart(self) -> None:
        """A cut says nothing of how frames come."""

    def silence_told(self) -> None:
        """The step to the next frame was told as a want of frames, and is no more than that."""
        self._told = True
