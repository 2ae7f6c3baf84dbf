"""Too little light, too much, and light that swings."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, ranked

BLACK_LUMA, WHITE_LUMA = 32, 232
CLIPPED = 250
SPARED = 4.0
"""Times as much as the least darkened channel that darkness may be."""
SWING, SWING_WINDOW_S, SWINGS = 0.15, 4.0, 3
"""A swing is a turn of the gain by more than this (log); so many of them within the window are an oscillation."""


class Light:
    """black, white: share of pixels at the ends of the range. darkness: log of how many times darker than in the
    stream's past three fifths of the picture are, or more, with no channel spared. glare: share of the picture
    that is clipped in every channel. swing: size (log gain) of the last turns of a gain that goes up and down all over the
    picture."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._logs: Floats | None = None
        self._gain = np.zeros(3)
        self._extreme = np.zeros(3)
        self._rising = np.zeros(3)
        self._turns: tuple[deque[tuple[float, float]], ...] = (deque(), deque(), deque())

    def measure(self, view: View, link: Link) -> dict[str, float]:
        logs = np.log(view.tiles + 6.0)
        self.state = logs.ravel()
        known = self.past.known
        # So much of the picture must be darker than it was: a cover or a shadow takes a part of it.
        darkness = np.nan
        if known is not None:
            darker = (known - self.state).reshape(-1, 3)
            # A cast spares a channel.
            darkness = min(ranked(darker.mean(1), 0.4), SPARED * ranked(darker.min(1), 0.5))
        swing = self._swing(view.time_s, logs)
        self._logs = logs
        brightest = cv2.threshold(view.small, CLIPPED - 1, 1, cv2.THRESH_BINARY)[1]
        return {
            "black": float(view.levels[BLACK_LUMA]),
            "white": 1.0 - float(view.levels[WHITE_LUMA - 1]),
            "darkness": darkness,
            "glare": min(cv2.mean(brightest)[:3]),
            "swing": swing,
        }

    def _swing(self, time_s: float, logs: Floats) -> float:
        """The gain of each channel since the beginning, and where it turned."""
        if self._logs is not None:
            steps = (logs - self._logs).reshape(-1, 3)
            gain = np.sort(steps, axis=0)[len(steps) // 2]
            # Shade moves over the picture; a gain is the same all over it.
            uneven = np.sort(np.abs(steps - gain), axis=0)[len(steps) // 2]
            self._gain += np.where(uneven < 0.03 + 0.5 * np.abs(gain), gain, 0.0)
        size = 0.0
        for c in range(3):
            turned = self._extreme[c] - self._gain[c]
            if self._rising[c] * turned > SWING or (self._rising[c] == 0 and abs(turned) > SWING):
                self._turns[c].append((time_s, abs(turned)))
                self._rising[c] = -np.sign(turned)
                self._extreme[c] = self._gain[c]
            elif self._rising[c] * turned < 0:
                self._extreme[c] = self._gain[c]
            while self._turns[c] and self._turns[c][0][0] < time_s - SWING_WINDOW_S:
                self._turns[c].popleft()
            if len(self._turns[c]) >= SWINGS:
                size = max(size, float(np.mean([s for _, s in self._turns[c]])))
        return size

    def restart(self) -> None:
        self._logs = None
