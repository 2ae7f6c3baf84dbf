"""Something in front of the lens: parts of the picture went dark, flat and still, or nothing is left to see."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.sight import PATCH_COLUMNS, PATCH_ROWS
from engines.health.view import Floats, View, mean_of, ranked, share_of

COVERED_SHARE = 0.2
WHOLLY_COVERED, WHITENED_LEVELS = 0.75, 200.0
"""Share of the textured patches that something in front of the lens takes, whatever its colour; and grey levels above
which it is too much light instead."""
FEATURELESS = 2.5
"""Contrast in grey levels under which a patch shows nothing."""
DARKER_LEVELS, REST_LEVELS = 15.0, 25.0
FEWEST_TEXTURED, FEWEST_SEEN = 8, 3
"""Patches with texture that a stream must have shown before their loss can mean anything; and those still seen that
must look as they did, else it is night."""
NEW_SCENE_S = 10.0
"""Of a new scene that must have been seen before its loss can."""
ACTIVITY_S = 0.5
LEAP, LEAP_S = 1.5, 2.0
"""A patch leaps when its mean changes by more than this many times what is usual there; remembered so long."""


class Cover:
    """covered: share of the picture's textured patches that went flat and still. whitened: the same, where nearly all
    went white. featureless: share of all that are flat, which needs no past."""

    def __init__(self) -> None:
        self._least_s, self._whole = 0.0, False
        self._mean: Floats | None = None
        self._activity: Floats | None = None
        self._cover: NDArray[np.bool_] | None = None
        self._leap: Floats = np.zeros(PATCH_ROWS * PATCH_COLUMNS, np.float32)
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False

    def measure(self, view: View, link: Link) -> dict[str, float]:
        featureless = np.nan
        # Perfectly even is no cover in front of a lens.
        if view.whole_patches and view.contrast.any():
            featureless = share_of(view.contrast < FEATURELESS)
        covered = self._covered(view)
        white = covered >= WHOLLY_COVERED and ranked(view.mean, 0.5) > WHITENED_LEVELS
        return {
            "covered": 0.0 if white else covered,
            "whitened": covered if white else 0.0,
            "featureless": featureless,
        }

    def restart(self) -> None:
        self._cover = None

    def new_scene(self) -> None:
        """Forget what the picture looked like, and take longer to learn it than at first: a scene that has just
        changed may go on doing so."""
        self.past.clear()
        self._cover = None
        self._least_s = NEW_SCENE_S

    def _covered(self, view: View) -> float:
        """Activity is that of a patch's mean, which blur leaves alone; a car that stops keeps its texture; only
        a cover takes both."""
        mean, contrast = view.mean, view.contrast
        self.state = self._update(mean, contrast, view.step_s)
        past = self.past.known
        if past is None or not self.past.stands_on(self._least_s):
            return 0.0
        textured = past[1] > 5.0
        if textured.sum() < FEWEST_TEXTURED:
            return 0.0
        assert self._activity is not None
        flat = textured & (contrast < 0.4 * past[1])
        darker = past[0] - mean > DARKER_LEVELS
        if self._cover is not None:
            # A cover that has been seen stays until half of it is gone, however the scene behind it changes.
            kept = share_of((flat & darker)[self._cover])
            self._cover = self._cover if kept >= 0.5 else None
            return max(COVERED_SHARE, kept * share_of(textured)) if kept >= 0.5 else 0.0
        hidden = flat & (self._activity < 0.4 * past[2])
        # Sky and road that come into view are flat and still too, but not darker than what they replace; a
        # cover in front of the lens is, unless it hides nearly everything.
        dark = hidden & darker
        share, dark_share = float(hidden.sum() / textured.sum()), float(dark.sum() / textured.sum())
        if share >= WHOLLY_COVERED and (self._whole or self._came(past[0], mean, textured, hidden)):
            self._whole = True
            return share
        self._whole = False
        # What is not behind the cover must look as it did and go on moving: else the scene changed, or the
        # car stands.
        rest = textured & ~dark
        leapt = ranked(self._leap[~dark], 0.25) > LEAP  # after a cut, hardly a patch has not
        same = not leapt and ranked(np.abs(past[0] - mean)[rest], 0.5) < REST_LEVELS
        alive = mean_of(self._activity[rest]) > 0.5 * mean_of(past[2][rest])
        came = bool(dark.any()) and ranked(self._leap[dark], 0.5) > LEAP
        if not (same and alive and came):
            return 0.0
        self._cover = dark if dark_share >= COVERED_SHARE else None
        return dark_share

    def _came(
        self, past: Floats, mean: Floats, textured: NDArray[np.bool_], hidden: NDArray[np.bool_]
    ) -> bool:
        """Whether what hides nearly everything came at once, and left the rest as it was: else it is night."""
        seen = textured & ~hidden
        same = seen.sum() < FEWEST_SEEN or ranked(np.abs(past - mean)[seen], 0.5) < REST_LEVELS
        return bool(same) and ranked(self._leap[hidden], 0.5) > LEAP

    def _update(self, mean: Floats, contrast: Floats, step_s: float) -> Floats:
        """Return mean, contrast and activity of each patch (3 × patches)."""
        moved = np.abs(mean - self._mean) if self._mean is not None else np.zeros_like(mean)
        if self.past.value is not None:
            # A cover comes with one great leap, which must not pass for liveliness in the seconds after it.
            usual = 2.0 * self.past.value[2] + 0.5
            faded = self._leap * np.float32(math.exp(-step_s / LEAP_S))
            self._leap = np.asarray(np.maximum(moved / usual, faded), np.float32)
            moved = np.minimum(moved, usual)
        gain = np.float32(1.0 - math.exp(-step_s / ACTIVITY_S))
        self._activity = moved if self._activity is None else self._activity + gain * (moved - self._activity)
        self._mean = mean
        return np.array([mean, contrast, self._activity])
