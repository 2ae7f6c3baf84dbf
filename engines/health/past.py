"""What a stream was like until a moment ago, learnt from frames that nobody suspected."""

from __future__ import annotations

from collections import deque

import numpy as np

from engines.health.view import Floats

NOTHING = np.zeros(0, np.float32)
"""What a frame adds to a past that does not want it."""
PAST_S, WARMUP_S, GUARD_S = 20.0, 2.0, 2.0


class Past:
    """Exponential mean of what a stream looked like until ``GUARD_S`` ago; a growing mean until ``PAST_S``
    have passed."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._waiting: deque[tuple[float, float, Floats]] = deque()
        self.value: Floats | None = None

    def stands_on(self, seconds: float) -> bool:
        """Whether so much has been learnt."""
        return self._seconds >= seconds

    @property
    def known(self) -> Floats | None:
        """The mean, once it stands on ``WARMUP_S`` of frames."""
        return self.value if self.stands_on(WARMUP_S) else None

    def learn(self, time_s: float, step_s: float, value: Floats) -> None:
        """Take what a frame was like; it counts once it is ``GUARD_S`` old."""
        if not value.size:
            return
        self._waiting.append((time_s, step_s, value))
        while self._waiting[0][0] < time_s - GUARD_S:
            _, step, old = self._waiting.popleft()
            self._seconds += step
            gain = np.float32(min(1.0, step / min(max(self._seconds, 1e-3), PAST_S)))
            self.value = old if self.value is None else self.value + gain * (old - self.value)

    def forget_waiting(self) -> None:
        """Drop what is not yet part of the past: it belongs to a fault that has just been believed."""
        self._waiting.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._seconds, self.value = 0.0, None
        self._waiting.clear()
