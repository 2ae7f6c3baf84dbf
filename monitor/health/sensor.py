"""Defects of the sensor: lines and dots that are always in the same place, and marks on the glass that are as
fixed."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np

from engines.frames import Image
from monitor.health.past import NOTHING, Past
from monitor.health.scene import Link
from monitor.health.view import Floats, View

PARTS = 8
"""Parts of a line of which all but one must show it."""
LINE_LEVELS, LINE_S = 25.0, 0.5
DOT_LEVELS, DOT_S, DOT_SHARE = 50, 1.0, 0.6
DOT_SIZE, LINE_SIZE, DOT_FEWEST = 6, 4, 3e-4
"""Largest extent of a dot, and largest width of a line, in pixels of the thinned picture; share of it that must
stay to be looked at."""
_UNKNOWN = np.array([0.0, np.nan, np.nan], np.float32)
DOT_ROWS = 270
"""The picture is thinned to about so many rows before dots are looked for: damage that matters is larger."""


class Sensor:
    """lines: how many whole columns and rows are lighter or darker than their neighbours, always the same ones.
    dots: pixels, per million, that differ from all around them and stay; marks: the same in larger shapes, such as
    cracks and letters. All above the stream's past. Columns, dots and rows take turns, one a frame."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self._turn = 0
        self._seen_s = np.full(3, -math.inf)
        self._lines: list[Floats | None] = [None, None]
        self._dots: Floats | None = None
        self._counts = np.zeros(3, np.float32)

    def measure(self, view: View, link: Link) -> dict[str, float]:
        luma, turn = view.frame.luma, self._turn
        step_s = min(view.time_s - self._seen_s[turn], 1.0)
        self._seen_s[turn], self._turn = view.time_s, (turn + 1) % 3
        if turn < 2:
            self._follow_lines(luma, turn, step_s)
        else:
            self._count_marks(luma, step_s)
        self._counts[0] = sum(int((np.abs(n) > LINE_LEVELS).sum()) for n in self._lines if n is not None)
        self.state = self._counts.copy()
        known = self.past.known
        # What is there from the first may be writing on the picture; lines from end to end are not.
        lines, dots, marks = self.state - (known if known is not None else _UNKNOWN)
        return {"lines": float(lines), "dots": float(dots), "marks": float(marks)}

    def restart(self) -> None:
        """Defects are the sensor's own, whatever it sees."""

    def _follow_lines(self, luma: Image, axis: int, step_s: float) -> None:
        now, before = _lines(luma, axis), self._lines[axis]
        if before is None or before.shape != now.shape:
            self._lines[axis] = now
        else:
            self._lines[axis] = before + np.float32(1.0 - math.exp(-step_s / LINE_S)) * (now - before)

    def _count_marks(self, luma: Image, step_s: float) -> None:
        stride = max(1, round(luma.shape[0] / DOT_ROWS))
        thin = np.ascontiguousarray(luma[::stride, ::stride])
        apart = cv2.absdiff(thin, cv2.medianBlur(thin, 3))
        now = cv2.threshold(apart, DOT_LEVELS, 1, cv2.THRESH_BINARY)[1]
        if self._dots is None or self._dots.shape != now.shape:
            self._dots = np.zeros(now.shape, np.float32)
        cv2.accumulateWeighted(now, self._dots, 1.0 - math.exp(-step_s / DOT_S))
        self._counts[1:] = 0.0
        steady = cv2.threshold(self._dots, DOT_SHARE, 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
        if cv2.countNonZero(steady) < DOT_FEWEST * now.size:
            return
        for axis, line in enumerate(self._lines):
            if line is not None:
                places = np.flatnonzero(np.abs(line) > LINE_LEVELS) // stride
                steady[(slice(None), places) if axis == 0 else places] = 0
        _, _, parts, _ = cv2.connectedComponentsWithStats(steady)
        extent, area = parts[1:, cv2.CC_STAT_WIDTH : cv2.CC_STAT_HEIGHT + 1], parts[1:, cv2.CC_STAT_AREA]
        small, thin_line = extent.max(1) <= DOT_SIZE, extent.min(1) <= LINE_SIZE
        per_million = 1e6 / now.size
        self._counts[1] = per_million * float(area[small].sum())
        self._counts[2] = per_million * float(area[~small & ~thin_line].sum())


def _lines(luma: Image, axis: int) -> Floats:
    """By how much each column (axis 0) or row (axis 1) is lighter (+) or darker (-) than those beside it, in
    all but an eighth of its length at least."""
    length, width = luma.shape[axis], luma.shape[1 - axis]
    edges = np.linspace(0, length, PARTS + 1).astype(int)
    parts = []
    for a, b in pairwise(edges):
        part = luma[a:b] if axis == 0 else luma[:, a:b]
        parts.append(cv2.reduce(part, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(1, -1))
    means = np.concatenate(parts)
    kernel = np.ones((1, max(3, width // 80) | 1), np.uint8)
    lighter = means - cv2.morphologyEx(means, cv2.MORPH_OPEN, kernel)
    darker = cv2.morphologyEx(means, cv2.MORPH_CLOSE, kernel) - means
    up, down = np.sort(lighter, axis=0)[1], np.sort(darker, axis=0)[1]
    return np.asarray(np.where(up > down, up, -down), np.float32)
