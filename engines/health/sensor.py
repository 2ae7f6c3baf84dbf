"""Defects of the sensor: lines and dots that are always in the same place, and marks on the glass that are as
fixed."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, floats

PARTS, PART_PX = 8, 16
"""Stretches of a line, and their length, of which all but one must show it."""
LINE_LEVELS, LINE_S, LINE_REACH = 25.0, 0.5, 120
"""Grey levels by which a line differs from what is a hundred-and-twentieth of the picture beside it."""
DOT_LEVELS, DOT_S, DOT_SHARE = 60, 1.6, 0.6
DOT_SIZE, LINE_SIZE, DOT_FEWEST = 4, 3, 3e-4
"""Largest extent of a dot, and largest width of a line, in pixels of the thinned picture; share of it that must
stay to be looked at."""
CELLS, WEAK_LEVELS, KNOWN = (24, 40), 25, 0.01
"""Rows and columns in which it is remembered where something stayed, be it so weak, in what share of a cell: writing on the
picture, a badge on the bonnet and the grid of dots on a windscreen are lost and seen again as the light behind them changes."""
DOT_ROWS = 180
"""The picture is thinned to about so many rows before dots are looked for: damage that matters is larger."""


class Sensor:
    """lines: how many whole columns and rows are lighter or darker than their neighbours, always the same ones.
    dots: pixels, per million, that differ from all around them and stay; marks: the same in larger shapes, such as
    cracks and letters; both where nothing stayed before. All above the stream's past. Columns, dots and rows take turns, one
    a frame."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._turn = 0
        self._seen_s = np.full(3, -math.inf)
        self._shape: tuple[int, ...] = ()
        self._lines: list[Floats | None] = [None, None]
        self._dots: Floats | None = None
        self._weak: Floats = np.zeros(0, np.float32)
        self._looks = 0
        self._counts, self._stayed = np.zeros(3, np.float32), np.zeros(CELLS, np.float32)

    def measure(self, view: View, link: Link) -> dict[str, float]:
        if view.frame.luma.shape != self._shape:
            # Other columns, rows and pixels: what was seen of the old ones is of no use.
            self._shape, self._lines, self._dots = view.frame.luma.shape, [None, None], None
        turn = self._turn
        step_s = min(view.time_s - self._seen_s[turn], 1.0)
        self._seen_s[turn], self._turn = view.time_s, (turn + 1) % 3
        if turn < 2:
            self._follow_lines(view, turn, step_s)
            self._counts[0] = sum(int((np.abs(n) > LINE_LEVELS).sum()) for n in self._lines if n is not None)
        else:
            self._count_marks(view, step_s)
        self.state = np.concatenate([self._counts, self._stayed.ravel()])
        known = self.past.known
        if known is None:
            # What is there from the first may be writing on the picture; lines from end to end are not.
            return {"lines": float(self._counts[0]), "dots": math.nan, "marks": math.nan}
        lines, dots, marks = self._counts - known[:3]
        return {"lines": float(lines), "dots": float(dots), "marks": float(marks)}

    def restart(self) -> None:
        """Defects are the sensor's own, whatever it sees."""

    def _follow_lines(self, view: View, axis: int, step_s: float) -> None:
        now, before = _lines(view.frame.luma, axis, view.sight.hidden), self._lines[axis]
        if before is None:
            self._lines[axis] = now
        else:
            self._lines[axis] = before + np.float32(1.0 - math.exp(-step_s / LINE_S)) * (now - before)

    def _count_marks(self, view: View, step_s: float) -> None:
        luma, hidden = view.frame.luma, view.sight.hidden
        stride = max(1, round(luma.shape[0] / DOT_ROWS))
        thin = np.ascontiguousarray(luma[::stride, ::stride])
        apart = cv2.absdiff(thin, cv2.medianBlur(thin, 3))
        now, weak = (cv2.threshold(apart, n, 1, cv2.THRESH_BINARY)[1] for n in (DOT_LEVELS, WEAK_LEVELS))
        if hidden is not None:
            now[hidden[::stride, ::stride]] = weak[hidden[::stride, ::stride]] = 0
        if self._dots is None:
            self._dots, self._looks = np.zeros(now.shape, np.float32), 0
            self._weak = np.zeros(now.shape, np.float32)
        # A plain mean at first: what has always been there is known as such from the beginning.
        self._looks += 1
        gain = max(1.0 - math.exp(-step_s / DOT_S), 1.0 / self._looks)
        cv2.accumulateWeighted(now, self._dots, gain)
        cv2.accumulateWeighted(weak, self._weak, gain)
        stays = cv2.threshold(self._weak, DOT_SHARE, 1, cv2.THRESH_BINARY)[1]
        self._stayed = floats(cv2.resize(stays, CELLS[::-1], interpolation=cv2.INTER_AREA))
        self._counts[1:] = 0.0
        known = self.past.known
        if known is None:
            return
        steady = cv2.threshold(self._dots, DOT_SHARE, 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
        before = (known[3:].reshape(CELLS) > KNOWN).astype(np.uint8)
        steady[cv2.resize(before, steady.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0] = 0
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
        marks = per_million * float(area[~small & ~thin_line].sum())
        # Cracks come in pieces of all sizes, the sensor's dots do not.
        self._counts[1] = max(0.0, per_million * float(area[small].sum()) - 4.0 * marks)
        self._counts[2] = marks


def _lines(luma: Image, axis: int, hidden: NDArray[np.bool_] | None = None) -> Floats:
    """By how much each column (axis 0) or row (axis 1) is lighter (+) or darker (-) than those beside it, in
    all but one of eight stretches of its length, ``hidden`` ones not counted; half of them must be."""
    length, width = luma.shape[axis], luma.shape[1 - axis]
    deep = max(1, min(PART_PX, length // PARTS))
    parts, places = [], ((np.arange(PARTS) + 0.5) * length / PARTS - deep / 2).astype(int)
    for at in places:
        part = luma[at : at + deep] if axis == 0 else luma[:, at : at + deep]
        parts.append(cv2.reduce(part, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(1, -1))
    means = floats(np.concatenate(parts))
    reach = 2 * max(1, width // (2 * LINE_REACH))  # even: a mosaic of colours has no lines
    middle, left, right = means[:, reach:-reach], means[:, : -2 * reach], means[:, 2 * reach :]
    lighter, darker = middle - np.maximum(left, right), np.minimum(left, right) - middle
    found = np.zeros(width, np.float32)
    if hidden is not None:
        out = _unseen(hidden, axis, places, deep, reach)
        lighter[out] = darker[out] = np.inf
        lighter[:, out.sum(0) > PARTS // 2] = darker[:, out.sum(0) > PARTS // 2] = 0.0
    lighter, darker = _second_least(lighter), _second_least(darker)
    found[reach:-reach] = np.maximum(lighter, 0.0) - np.maximum(darker, 0.0)
    return found


def _unseen(
    hidden: NDArray[np.bool_], axis: int, places: NDArray[np.int64], deep: int, reach: int
) -> NDArray[np.bool_]:
    """Of each stretch of each line, whether it or what it is compared with is hidden."""
    turned = hidden if axis == 0 else hidden.T
    parts = np.stack([turned[at : at + deep].any(0) for at in places])
    return np.asarray(parts[:, reach:-reach] | parts[:, : -2 * reach] | parts[:, 2 * reach :], np.bool_)


def _second_least(parts: Floats) -> Floats:
    """The second smallest over the first axis, of as many as a power of two: by rounds of pairs, since a sort takes six
    times as long."""
    half = len(parts) // 2
    least = floats(np.minimum(parts[:half], parts[half:]))
    second = floats(np.maximum(parts[:half], parts[half:]))
    while half > 1:
        half //= 2
        between = np.maximum(least[:half], least[half:])
        second = floats(np.minimum(between, np.minimum(second[:half], second[half:])))
        least = floats(np.minimum(least[:half], least[half:]))
    return floats(second[0])
