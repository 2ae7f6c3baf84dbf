"""What moves, what should and does not, and what shakes."""

from __future__ import annotations

import math
from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from monitor.health.past import NOTHING, Past
from monitor.health.scene import Link
from monitor.health.view import Floats, View, floats, ranked

STILL_LEVELS, BLOCKED_LEVELS = 0.7, 1.0
"""Grey levels by which a re-encoded frozen picture may differ from its first frame, in the mean block."""
QUIET_LEVELS, QUIET = 0.3, 0.6
"""A frozen picture has no fresh noise: its calmest patches change by less than this, or than this share of
what is usual there."""
CALM_FRAMES = 9
ALIVE, ALIVE_S, LEAST_ALIVE = 0.5, 0.5, 0.04
"""Share of its usual change by which a patch shows that the camera is alive, how lately, and the share of patches
that must."""
LIVELY, FEWEST_LIVELY = 1.0, 8
"""Grey levels by which a patch must usually change to be missed, and how many must."""
HELD, HELD_LEVELS, HELD_S, HELD_LEAP = 0.15, 0.3, 2.6, 4.0
"""Share of its usual change, or grey levels, under which a patch stands still; for how long it must; how many
times the usual its last change may have been."""
SHAKE_S, SHAKE_SIZE, SHAKE_FLOOR = 1.0, (48, 72), 0.008
"""Share of the height by which any camera may jump: less does not count."""
LOOP_FRAMES, LOOP_SIZE = 400, (12, 18)
LOOP_CONTRAST = 30.0
LOOP_FLOOR, LOOP_S = 0.05, 0.7
"""Grey levels by which frames that are the same may differ; time over which they must be."""


class Motion:
    """identical_s: seconds for which pictures have been the same bit for bit. still_s: since the picture last
    differed from the first of a run of equal ones; blocked_s: the same, where that one was suddenly another
    picture. held: share of the patches that usually change which have stood still since the same moment while
    others go on. loop: log of how much nearer each frame is to the one a fixed number of frames ago than to
    those beside that one. shake: log of how much the picture jumps (share of its height, with a floor)."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._anchor: tuple[float, Floats] | None = None
        self._same_s = 0.0
        self._leapt = False
        self._quiet = True
        self._calm: deque[float] = deque(maxlen=CALM_FRAMES)
        self._patches: Image | None = None
        self._moved_s: NDArray[np.float64] = np.zeros(0)
        self._alive_s: NDArray[np.float64] = np.zeros(0)
        self._leap: NDArray[np.float64] = np.zeros(0)
        self._shake = Shake()
        self._loop = Loop()

    def measure(self, view: View, link: Link) -> dict[str, float]:
        moved = self._changes(view)
        known = np.isfinite(moved).all()
        calmest = ranked(moved, 0.25)
        usual = self.past.known
        limit = QUIET_LEVELS if usual is None else max(QUIET_LEVELS, QUIET * float(usual[0]))
        self._calm.append(calmest)
        self._quiet = not sorted(self._calm)[len(self._calm) // 2] > limit
        self._same_s = self._same_s + view.step_s if known and not moved.any() else 0.0
        self.state = np.concatenate([[calmest], moved]).astype(np.float32) if known else NOTHING
        still_s = self._still(view, link)
        return {
            "identical_s": self._same_s,
            "still_s": 0.0 if self._leapt else still_s,
            "blocked_s": still_s if self._leapt else 0.0,
            "held": self._held(view.time_s, moved, view.frame.key),
            "loop": self._loop.measure(view),
            "shake": self._shake.measure(view),
        }

    def restart(self) -> None:
        self._anchor = None

    def _still(self, view: View, link: Link) -> float:
        """By means of blocks, which a codec hardly touches when it sends the same picture again."""
        anchor, blocks = self._anchor, _blocks(view.patches)
        # A camera that changes its resolution is not frozen.
        same = anchor is not None and anchor[1].shape == blocks.shape
        if anchor is not None and same and self._quiet:
            # After a leap into another picture it takes less to say that it is no live one.
            limit = BLOCKED_LEVELS if self._leapt else STILL_LEVELS
            if not link.leaps and float(np.abs(blocks - anchor[1]).mean()) <= limit:
                return view.time_s - anchor[0]
        self._anchor, self._leapt = (view.time_s, blocks), link.leaps
        return 0.0

    def _changes(self, view: View) -> Floats:
        """Mean absolute change of each patch since the frame before."""
        before, self._patches = self._patches, view.patches
        count = len(view.patches)
        if before is None or before.shape != view.patches.shape:
            return np.full(count, np.nan, np.float32)
        change = cv2.absdiff(before.reshape(count, -1), view.patches.reshape(count, -1))
        return np.asarray(cv2.reduce(change, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32).ravel()

    def _held(self, time_s: float, moved: Floats, key: bool) -> float:
        """Patches that froze together last moved in the same frame; those that a car in traffic leaves behind do
        not."""
        usual = self.past.known
        if usual is None or not np.isfinite(moved).all():
            self._moved_s = self._alive_s = np.full(len(moved), time_s)
            self._leap = np.ones(len(moved))
            return 0.0
        usual = usual[1:]
        # A key frame touches all patches, even those that stand still.
        least = usual + 1.0 if key else np.maximum(HELD * usual, HELD_LEVELS)
        moves = moved > least
        self._moved_s = np.where(moves, time_s, self._moved_s)
        self._leap = np.where(moves, moved / (usual + 0.5), self._leap)
        self._alive_s = np.where(moved > ALIVE * usual, time_s, self._alive_s)
        lively = usual > LIVELY
        if lively.sum() < FEWEST_LIVELY:
            return 0.0
        # What leapt at its last move was covered or blinded, not held.
        held = lively & (self._moved_s <= time_s - HELD_S) & (self._leap <= HELD_LEAP)
        alive = np.count_nonzero(lively & (self._alive_s > time_s - ALIVE_S))
        if not held.any() or alive < max(1, LEAST_ALIVE * np.count_nonzero(lively)):
            return 0.0
        _, counts = np.unique(self._moved_s[held], return_counts=True)
        return float(counts.max() / np.count_nonzero(lively))


class Shake:
    """How much the whole picture jumps from frame to frame: the change of its displacement."""

    def __init__(self) -> None:
        self._window = cv2.createHanningWindow(SHAKE_SIZE[::-1], cv2.CV_32F)
        self._before: Floats | None = None
        self._moved: np.ndarray | None = None
        self._level = 0.0

    def measure(self, view: View) -> float:
        half = cv2.resize(view.grey, SHAKE_SIZE[::-1], interpolation=cv2.INTER_AREA)
        picture = floats(cv2.multiply(half, self._window))
        before, self._before = self._before, picture
        if before is not None and not view.skips:
            (across, down), response = cv2.phaseCorrelate(before, picture)
            moved = np.array([across, down]) if response > 0.15 else np.zeros(2)
            jump = 0.0 if self._moved is None else float(np.abs(moved - self._moved).max())
            self._moved = moved
            gain = 1.0 - math.exp(-view.step_s / SHAKE_S)
            # One leap is no shaking.
            self._level += gain * (min(jump, 4.0 * self._level + 0.15) - self._level)
        return math.log(self._level / SHAKE_SIZE[0] + SHAKE_FLOOR)


def _fingerprint(grey: Floats) -> Floats:
    """A small picture without what may come and go in any scene, the light of all or of each row; of length 1."""
    small = floats(cv2.resize(grey, LOOP_SIZE[::-1], interpolation=cv2.INTER_AREA))
    small = small - small.mean(1, keepdims=True)
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


def _blocks(patches: Image) -> Floats:
    """Means of blocks, 16 to a patch (patches × 16); patches too small for blocks as they are."""
    count, side = patches.shape[:2]
    if side % 4:
        return patches.reshape(count, -1).astype(np.float32)
    rows = cv2.resize(patches.reshape(-1, side), (4, count * side), interpolation=cv2.INTER_AREA)
    return floats(rows.reshape(count, 4, side // 4, 4).mean(2, dtype=np.float32)).reshape(count, 16)
