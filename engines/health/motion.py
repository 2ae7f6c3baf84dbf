"""How the whole picture moves: whether it shakes, and whether it comes again."""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, floats

SHAKE_S, SHAKE_SIZE, SHAKE_FLOOR = 1.0, (48, 72), 0.008
"""Share of the height by which any camera may jump: less does not count."""
RESPONSE = 0.25
"""Of the phase correlation, under which nothing is known of how the picture moved."""
SHAKE_PERIOD_S = 0.25
"""Between frames further apart than this a scene moves as far as a loose mount does."""
LOOP_FRAMES, LOOP_SIZE = 400, (12, 18)
LOOP_CONTRAST = 30.0
LOOP_FLOOR, LOOP_S = 0.05, 0.7
"""Grey levels by which frames that are the same may differ; time over which they must be."""


class Motion:
    """loop: log of how much nearer each frame is to the one a fixed number of frames ago than to those beside that
    one. shake: log of how much the picture jumps (share of its height, with a floor)."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, True
        self._shake, self._loop = Shake(), Loop()

    def measure(self, view: View, link: Link) -> dict[str, float]:
        return {"loop": self._loop.measure(view), "shake": self._shake.measure(view)}

    def restart(self) -> None:
        """Frames come again, and mounts are loose, whatever is in the picture."""


class Shake:
    """How much the whole picture jumps from frame to frame: the change of its displacement."""

    def __init__(self) -> None:
        self._window = cv2.createHanningWindow(SHAKE_SIZE[::-1], cv2.CV_32F)
        self._before: Floats | None = None
        self._moved: np.ndarray | None = None
        self._level = 0.0

    def measure(self, view: View) -> float:
        if view.period_s > SHAKE_PERIOD_S:
            return math.nan
        half = cv2.resize(view.grey, SHAKE_SIZE[::-1], interpolation=cv2.INTER_AREA)
        picture = floats(cv2.multiply(half, self._window))
        before, self._before = self._before, picture
        if before is not None and not view.skips:
            (across, down), response = cv2.phaseCorrelate(before, picture)
            moved = np.array([across, down]) if response > RESPONSE else None
            before_that, self._moved = self._moved, moved
            jump = 0.0
            if moved is not None and before_that is not None:
                jump = float(np.abs(moved - before_that).max())
            gain = 1.0 - math.exp(-view.step_s / SHAKE_S)
            # One leap is no shaking.
            self._level += gain * (min(jump, 4.0 * self._level + 0.15) - self._level)
        return math.log(self._level / SHAKE_SIZE[0] + SHAKE_FLOOR)


def _fingerprint(grey: Floats) -> Floats:
    """A small picture without what may come and go in any scene, the light of all or of each row; of length 1."""
    small = floats(cv2.resize(grey, LOOP_SIZE[::-1], interpolation=cv2.INTER_AREA))
    small = small - cv2.reduce(small, 1, cv2.REDUCE_AVG)
    return floats(small.reshape(1, -1) / (math.sqrt(small.size) + float(cv2.norm(small))))


class Loop:
    """Finds frames that come again: the one so many frames ago is nearer than those beside it, time and again."""

    def __init__(self) -> None:
        self._ring = np.zeros((LOOP_FRAMES, LOOP_SIZE[0] * LOOP_SIZE[1]), np.float32)
        self._powers = np.zeros(LOOP_FRAMES, np.float32)
        self._nearer = np.zeros(LOOP_FRAMES, np.float32)
        self._count = 0

    def measure(self, view: View) -> float:
        now = _fingerprint(view.grey)
        known = min(self._count, LOOP_FRAMES)
        value = 0.0
        if known > 4:
            ring = self._ring[:known]
            apart = self._powers[:known] + float(np.vdot(now, now)) - 2.0 * (ring @ now.ravel())
            by_lag: Floats = np.empty(known, np.float32)  # the first is the frame before this one
            by_lag[(self._count - 1 - np.arange(known)) % LOOP_FRAMES] = apart
            by_lag = floats(LOOP_CONTRAST * np.sqrt(np.maximum(by_lag, 0.0)))
            beside = np.minimum(by_lag[:-2], by_lag[2:])
            nearer = np.log((beside + LOOP_FLOOR) / (by_lag[1:-1] + LOOP_FLOOR))
            gain = np.float32(1.0 - math.exp(-view.step_s / LOOP_S))
            level = self._nearer[: known - 2]
            level += gain * (nearer - level)
            value = float(level.max())
        self._ring[self._count % LOOP_FRAMES] = now
        self._powers[self._count % LOOP_FRAMES] = np.vdot(now, now)
        self._count += 1
        return value
