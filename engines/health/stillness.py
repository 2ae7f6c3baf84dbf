"""What should move and does not: all of the picture, or part of it.

A camera that freezes stops from one frame to the next; a car that stops slows down first."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.view import Floats, View, floats, mean_of, ranked

STILL_LEVELS, BLOCKED_LEVELS, STILL_PATCH = 0.7, 1.0, 4.0
"""Grey levels by which a re-encoded frozen picture may differ from its first frame: in the mean block; in that of a
picture that was suddenly another one; and in any patch."""
STILL_SHARE, FLAT = 0.05, 1.5
"""The same as a share of the mean contrast of the patches, and the contrast under which a picture shows too little to tell:
a dark one hardly changes however fast the scene goes by."""
QUIET_LEVELS, QUIET, CALM_FRAMES = 0.3, 0.6, 9
"""A frozen picture has no fresh noise: its calmest patches change by less than this, or than this share of what is
usual there, in the median of so many frames."""
PACE, PACE_S = 0.35, 0.6
"""Share of the usual change that there was, so lately, before a picture froze."""
BRAKES_S, SLOWED, MOVES = 2.4, 0.6, 0.05
"""A car that stops was so much slower in its last ``PACE_S`` than in the rest of so long, among the frames that moved
at all, by this share of the usual change."""
ALIVE, ALIVE_S, ALIVE_FRAMES = 0.5, 1.0, 2.5
"""Share of its usual change by which a patch shows that the camera is alive, and within how many seconds or frames."""
LIVELY, FEWEST_LIVELY = 1.0, 8
"""Grey levels by which a patch must usually change to be missed, and how many must."""
HELD, HELD_LEVELS, HELD_S = 0.15, 0.3, 2.6
"""Share of its usual change, or grey levels, under which a patch stands still; for how long it must."""
HELD_PACE, HELD_LEAP = 0.4, 4.0
"""Times the usual change that the last one of a held patch may have been: less slowed down, more was covered."""
HELD_DRIFT, HELD_CONTRAST = 0.35, 2.0
"""Share of its contrast by which a held patch may differ from what it was, and contrast that it must have: an empty sky, a
dark wall and what only creeps look still from frame to frame."""
HELD_TOGETHER, GOES_ON = 0.5, 0.25
"""Share of the still patches that must have stopped together, and of the others that must have moved ever since: past a
car that stands others come and go."""


class Stillness:
    """identical_s: seconds for which pictures have been the same bit for bit. still_s: since the picture last differed
    from the first of a run of equal ones that began at once; blocked_s: the same, where that one was suddenly another
    picture. held: share of the patches that usually change which have stood still since the same moment, and show
    what they did then, while the others have never stopped."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._patches: Image | None = None
        self._anchor: tuple[float, Floats] | None = None
        self._same_s = 0.0
        self._leapt, self._abrupt, self._key = False, True, False
        self._calm: deque[float] = deque(maxlen=CALM_FRAMES)
        self._paces: deque[tuple[float, float]] = deque()
        self._stopped: Image = np.zeros(0, np.uint8)
        self._moved_s: NDArray[np.float64] = np.zeros(0)
        self._alive_s: NDArray[np.float64] = np.zeros(0)
        self._idle_s: NDArray[np.float64] = np.zeros(0)
        self._last: NDArray[np.float64] = np.zeros(0)

    def measure(self, view: View, link: Link) -> dict[str, float]:
        moved, usual = self._changes(view), self.past.known
        known = bool(np.isfinite(moved).all())
        calmest = ranked(moved, 0.25)
        limit = QUIET_LEVELS if usual is None else max(QUIET_LEVELS, QUIET * float(usual[0]))
        self._calm.append(calmest)
        quiet = not sorted(self._calm)[len(self._calm) // 2] > limit
        self._same_s = self._same_s + view.step_s if known and not moved.any() else 0.0
        self.state = np.concatenate([[calmest], moved]).astype(np.float32) if known else NOTHING
        still_s = self._still(view, link, quiet)
        self._note_pace(view, moved, usual)
        return {
            "identical_s": self._same_s,
            "still_s": 0.0 if self._leapt else max(self._same_s, still_s if self._abrupt else 0.0),
            "blocked_s": still_s if self._leapt else 0.0,
            "held": self._held(view, moved, usual),
        }

    def restart(self) -> None:
        self._anchor = None

    def _changes(self, view: View) -> Floats:
        """Mean absolute change of each patch since the frame before."""
        before, self._patches = self._patches, view.patches
        count = len(view.patches)
        if before is None or before.shape != view.patches.shape:
            return np.full(count, np.nan, np.float32)
        change = cv2.absdiff(before.reshape(count, -1), view.patches.reshape(count, -1))
        return floats(cv2.reduce(change, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)).ravel()

    def _note_pace(self, view: View, moved: Floats, usual: Floats | None) -> None:
        """How fast the scene goes by, against what is usual: 1 where that is not known."""
        pace = 1.0 if usual is None else mean_of(moved) / (mean_of(usual[1:]) + 0.1)
        key, self._key = self._key, view.frame.key
        if view.frame.key and not key and self._paces:
            pace = self._paces[-1][1]  # a key frame touches all there is, even of a picture that stands still
        self._paces.append((view.time_s, pace))
        while self._paces[0][0] < view.time_s - BRAKES_S:
            self._paces.popleft()

    def _stops_at_once(self, now: float) -> bool:
        """Whether the scene still went by as it does when it last moved."""
        if not self._paces:
            return True
        lately = [pace for time_s, pace in self._paces if time_s >= now - PACE_S and pace > MOVES]
        earlier = [pace for time_s, pace in self._paces if time_s < now - PACE_S and pace > MOVES]
        slowed = bool(earlier) and fmean(lately or [0.0]) < SLOWED * fmean(earlier)
        return any(pace >= PACE for pace in lately) and not slowed

    def _still(self, view: View, link: Link, quiet: bool) -> float:
        """By means of blocks, which a codec hardly touches when it sends the same picture again."""
        anchor, blocks = self._anchor, _blocks(view.patches)
        drifted = False
        # A camera that changes its resolution is not frozen.
        if anchor is not None and anchor[1].shape == blocks.shape and quiet and not link.leaps:
            limit = BLOCKED_LEVELS if self._leapt else _still_levels(mean_of(view.contrast))
            apart = np.abs(blocks - anchor[1]).mean(1)
            if mean_of(apart) <= limit and float(apart.max()) <= STILL_PATCH:
                return view.time_s - anchor[0]
            drifted = mean_of(apart) <= 2.0 * limit and view.time_s - anchor[0] > PACE_S
        if not drifted:
            self._leapt = link.leaps
            self._abrupt = self._stops_at_once(view.time_s)
        self._anchor = (view.time_s, blocks)
        return 0.0

    def _held(self, view: View, moved: Floats, usual: Floats | None) -> float:
        """Patches that froze together last moved in the same frame; those that a car in traffic leaves behind do
        not."""
        now = view.time_s
        if usual is None or not np.isfinite(moved).all():
            self._moved_s = self._alive_s = self._idle_s = np.full(len(moved), now)
            self._last, self._stopped = np.ones(len(moved)), view.patches.copy()
            return 0.0
        usual = usual[1:]
        # A key frame touches all patches, even those that stand still.
        least = usual + 1.0 if view.frame.key else np.maximum(HELD * usual, HELD_LEVELS)
        moves = moved > least
        self._moved_s = np.where(moves, now, self._moved_s)
        self._stopped[moves] = view.patches[moves]
        self._last = np.where(moves, moved / (usual + 0.5), self._last)
        self._alive_s = np.where(moved > ALIVE * usual, now, self._alive_s)
        idle = self._alive_s <= now - max(ALIVE_S, ALIVE_FRAMES * view.period_s)
        self._idle_s = np.where(idle, now, self._idle_s)
        lively = usual > LIVELY
        still = lively & (self._moved_s <= now - HELD_S)
        if lively.sum() < FEWEST_LIVELY or not still.any():
            return 0.0
        return self._held_together(view, lively, still)

    def _held_together(self, view: View, lively: NDArray[np.bool_], still: NDArray[np.bool_]) -> float:
        """Share of the ``lively`` patches that the ``still`` ones are which stopped at once."""
        moments, counts = np.unique(self._moved_s[still], return_counts=True)
        moment, together = moments[counts.argmax()], int(counts.max())
        others = lively & ~still
        going = np.count_nonzero(others & (self._idle_s <= moment))
        many = np.count_nonzero(lively)
        if going < max(1.0, GOES_ON * np.count_nonzero(others)):
            return 0.0
        if together < HELD_TOGETHER * np.count_nonzero(still):
            return 0.0
        held = still & (self._moved_s == moment)
        if ranked(floats(self._last[held]), 0.5) < HELD_PACE:
            return 0.0
        held &= (self._last <= HELD_LEAP) & (view.contrast >= HELD_CONTRAST)
        drift = np.abs(view.patches[held].astype(np.float32) - self._stopped[held]).mean((1, 2))
        return float(np.count_nonzero(drift <= HELD_DRIFT * view.contrast[held]) / many)


def _still_levels(contrast: float) -> float:
    """Grey levels by which a frozen picture of so much contrast may differ from its first frame."""
    return min(STILL_LEVELS, STILL_SHARE * contrast) if contrast > FLAT else -1.0


def _blocks(patches: Image) -> Floats:
    """Means of blocks, 16 to a patch (patches × 16); patches too small for blocks as they are."""
    count, side = patches.shape[:2]
    if side % 4:
        return patches.reshape(count, -1).astype(np.float32)
    rows = cv2.resize(patches.reshape(-1, side), (4, count * side), interpolation=cv2.INTER_AREA)
    return (rows.reshape(4 * count, side).astype(np.float32) @ _down(side)).reshape(count, 16)


@lru_cache(maxsize=8)
def _down(side: int) -> Floats:
    """Weights that make one row of four means of ``side`` / 4 such rows, laid end to end."""
    return floats(np.tile(np.eye(4), (side // 4, 1)) * (4 / side))
