"""Too little light, too much, of the wrong colour, and light that swings."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, floats, ranked

BLACK_LUMA, WHITE_LUMA = 32, 232
CLIPPED = 250
SPARED = 4.0
"""Times as much as the least darkened channel that darkness may be."""
SWING, SWING_WINDOW_S, SWINGS = 0.15, 4.0, 3
"""A swing is a turn of the gain by more than this (log); so many of them within the window are an oscillation."""
EVEN, REGULAR = 0.6, 3.0
"""Least share of the largest of its swings that the smallest has, and most times the shortest interval between them
that the longest has: bridges come as they come."""
STEADY_S = 1.5
"""A cast is steady: it is none so soon after the light has swung."""
_THIRDS = np.full(3, 1 / 3, np.float32)


class Light:
    """black, white: share of pixels at the ends of the range. darkness: log of how many times darker than in the
    stream's past three fifths of the picture are, or more, with no channel spared. cast: how far the balance of the channels (log
    red over green, log blue over green) moved from the past, in the median tile. glare: share of the picture that is
    clipped in every channel. swing: size (log gain) of the last swings of a gain that goes up and down all over the
    picture."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._logs: Floats | None = None
        self._gain = np.zeros(3)
        self._extreme = np.zeros(3)
        self._turned = np.zeros(3)
        self._rising = np.zeros(3)
        self._turns: tuple[deque[tuple[float, float]], ...] = (deque(), deque(), deque())

    def measure(self, view: View, link: Link) -> dict[str, float]:
        logs = np.log(view.tiles + 6.0)
        self.state = logs.ravel()
        known = self.past.known
        # So much of the picture must be darker than it was: a cover or a shadow takes a part of it.
        darkness = cast = np.nan
        swing = self._swing(view.time_s, logs)
        if known is not None:
            darker = (known - self.state).reshape(-1, 3)
            # A cast spares a channel.
            least = np.minimum(np.minimum(darker[:, 0], darker[:, 1]), darker[:, 2])
            darkness = min(ranked(floats(darker @ _THIRDS), 0.4), SPARED * ranked(least, 0.5))
            red, blue = (ranked(darker[:, c] - darker[:, 1], 0.5) for c in (0, 2))
            cast = 0.0 if self._swung(view.time_s) else math.hypot(red, blue)
        self._logs = logs
        brightest = cv2.threshold(view.small, CLIPPED - 1, 1, cv2.THRESH_BINARY)[1]
        return {
            "black": float(view.levels[BLACK_LUMA]),
            "white": 1.0 - float(view.levels[WHITE_LUMA - 1]),
            "darkness": darkness,
            "cast": cast,
            "glare": min(cv2.mean(brightest)[:3]),
            "swing": swing,
        }

    def _swung(self, time_s: float) -> bool:
        """Whether the light has just turned after a swing."""
        last = [turns[-1] for turns in self._turns if turns]
        return any(when > time_s - STEADY_S and size > SWING for when, size in last)

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
                self._turns[c].append((time_s, abs(self._extreme[c] - self._turned[c])))
                self._turned[c] = self._extreme[c]
                self._rising[c] = -np.sign(turned)
                self._extreme[c] = self._gain[c]
            elif self._rising[c] * turned < 0:
                self._extreme[c] = self._gain[c]
            while self._turns[c] and self._turns[c][0][0] < time_s - SWING_WINDOW_S:
                self._turns[c].popleft()
            size = max(size, _oscillation(list(self._turns[c])[-SWINGS - 1 :]))
        return size

    def restart(self) -> None:
        self._logs = None


def _oscillation(turns: list[tuple[float, float]]) -> float:
    """Mean size of turns (time, size), if they are as many, as even and as regular as those of a control loop that
    hunts; else 0."""
    if len(turns) < SWINGS:
        return 0.0
    times, sizes = np.array(turns).T
    gaps = np.diff(times)
    even = sizes.min() >= EVEN * sizes.max() and gaps.max() <= REGULAR * gaps.min()
    return float(sizes.mean()) if even else 0.0
