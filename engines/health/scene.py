"""Does this frame show the scene of the one before it? Faults begin in a scene that goes on; a cut is no fault."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.view import Floats, View

ALIKE = 0.5
"""Of the usual likeness of neighbouring frames: above it the scene goes on."""
LEAPS, RECENT_S = 0.85, 0.4
"""Share of the likeness of the latest frames, and how late those may be."""
LEAST_STRUCTURE = 1.0
BROKEN, BROKEN_SHARE = 0.35, 0.5
"""Likeness, and share of the usual one, below both of which the scene does not go on: after a cut, and in a turmoil, after
which the past says as little."""
STEADY_SHARE = 0.65
"""Share of the usual likeness that frames have while nothing shakes them."""


@dataclass(frozen=True, slots=True)
class Link:
    """How a frame follows from the one before it.

    likeness: correlation of their structure, 1 for the same picture; NaN for a first frame or a new size.
    usual: that of frames in the stream's past. goes_on: the scene is the same. leaps: likeness is suddenly less than
    recently. steady: the frames before followed from each other as usual. broken: it is another scene, or none.
    """

    likeness: float
    usual: float
    goes_on: bool
    leaps: bool
    steady: bool
    broken: bool


class Scene:
    """Likeness of neighbouring frames, against what is usual in the stream.

    resumed: the latest frame is like the last one before the scene broke off."""

    def __init__(self) -> None:
        self._structure: Floats | None = None
        self._shape: tuple[int, ...] = ()
        self._recent = self._alike = 1.0
        self._last: Floats | None = None
        self.resumed = False
        self.past, self.state, self.lasting = Past(), NOTHING, True

    def link(self, view: View) -> Link:
        now = view.structure
        before, same_size = self._structure, self._shape == view.frame.luma.shape
        self._structure, self._shape = now, view.frame.luma.shape
        if before is None or not same_size:
            self.state, self._recent, self._alike = NOTHING, 1.0, 1.0
            return Link(np.nan, 1.0, False, False, False, before is not None)
        alike = likeness(before, now)
        self.state = np.array([alike], np.float32)
        usual = 1.0 if self.past.value is None else float(self.past.value[0])
        steady = min(self._alike, self._recent) >= STEADY_SHARE * usual
        broken = alike < min(BROKEN, BROKEN_SHARE * usual)
        self._alike = alike
        if broken:
            self._last = before
        self.resumed = self._last is not None and likeness(self._last, now) >= ALIKE * usual
        if self.resumed:
            self._last = None
        recent = self._recent
        weight = 1.0 - math.exp(-view.step_s / RECENT_S)
        self._recent += weight * (max(alike, 0.0) - self._recent)
        leaps = not view.skips and alike < LEAPS * recent
        return Link(alike, usual, alike >= ALIKE * usual, leaps, steady, broken)

    def restart(self) -> None:
        """What is usual between neighbours stays so after a cut."""


def likeness(a: Floats, b: Floats) -> float:
    """Correlation of two structures, -1 to 1; 0 where one of them has none, 1 where neither has."""
    first, second = float(cv2.norm(a)), float(cv2.norm(b))
    if min(first, second) < LEAST_STRUCTURE:
        return float(max(first, second) < LEAST_STRUCTURE)
    return float(np.vdot(a, b)) / (first * second)
