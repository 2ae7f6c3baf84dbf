"""Something on the glass or in front of it: it stays where it is while the scene moves on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.health.past import NOTHING, Past
from monitor.health.scene import Link
from monitor.health.view import PATCH_COLUMNS, PATCH_ROWS, SMALL, TILES, Floats, View, ranked

COVERED_SHARE = 0.2
WHOLLY_COVERED = 0.75
FEATURELESS = 2.5
"""Contrast in grey levels under which a patch shows nothing."""
DARKER_LEVELS, REST_LEVELS = 15.0, 25.0
FEWEST_TEXTURED = 8
"""Patches with texture that a stream must have shown before their loss can mean anything."""
ACTIVITY_S = 0.5
LEAP, LEAP_S = 1.5, 2.0
"""A patch leaps when its mean changes by more than this many times what is usual there; remembered so long."""

STEP_TIMES, STEP_LEVELS, STEP_SHARE = 3.5, 3.0, 0.08
"""A tile changes in one step when it changes by so many times the usual, and so many grey levels more; a share
of the tiles must, at once."""
REST_SHARE = 0.1
SETTLE_S, TRACE_S = 1.2, 0.5
STAYS, KEPT = 0.7, 0.3
CALM_TIMES, CALM_LEVELS = 2.0, 1.0
"""Times the usual change, and grey levels more, that a tile may change by in the frames beside the step."""
ADDED, MORE = 0.8, 1.2
"""Structure that came, and all that is there now, over what was there: less is a loss, not something new."""
LIGHT_LEVELS = 15.0
PANEL_LEVELS, PANEL_FILLED, PANEL_LEAST = 12.0, 0.6, 0.05
KINDS = ("overlay", "flare", "panel")


class Cover:
    """covered: share of the picture's textured patches that went flat and still. featureless: share of all that
    are flat, which needs no past."""

    def __init__(self) -> None:
        self._mean: Floats | None = None
        self._activity: Floats | None = None
        self._cover: NDArray[np.bool_] | None = None
        self._leap: Floats = np.zeros(PATCH_ROWS * PATCH_COLUMNS, np.float32)
        self.past, self.state, self.every = Past(), NOTHING, 1

    def measure(self, view: View, link: Link) -> dict[str, float]:
        featureless = float((view.contrast < FEATURELESS).mean())
        return {"covered": self._covered(view), "featureless": featureless}

    def restart(self) -> None:
        self._cover = None

    def _covered(self, view: View) -> float:
        """Activity is that of a patch's mean, which blur leaves alone; a car that stops keeps its texture; only
        a cover takes both."""
        mean, contrast = view.mean, view.contrast
        self.state = self._update(mean, contrast, view.step_s)
        past = self.past.known
        if past is None:
            return 0.0
        textured = past[1] > 5.0
        if textured.sum() < FEWEST_TEXTURED:
            return 0.0
        assert self._activity is not None
        flat = textured & (contrast < 0.4 * past[1])
        darker = past[0] - mean > DARKER_LEVELS
        if self._cover is not None:
            # A cover that has been seen stays until half of it is gone, however the scene behind it changes.
            kept = float((flat & darker)[self._cover].mean())
            self._cover = self._cover if kept >= 0.5 else None
            return max(COVERED_SHARE, kept * float(textured.mean())) if kept >= 0.5 else 0.0
        hidden = flat & (self._activity < 0.4 * past[2])
        # Sky and road that come into view are flat and still too, but not darker than what they replace; a
        # cover in front of the lens is, unless it hides nearly everything.
        dark = hidden & darker
        share, dark_share = float(hidden.sum() / textured.sum()), float(dark.sum() / textured.sum())
        if share >= WHOLLY_COVERED:
            return share
        # What is not behind the cover must look as it did and go on moving: else the scene changed, or the
        # car stands.
        rest = textured & ~dark
        leapt = ranked(self._leap[~dark], 0.25) > LEAP  # after a cut, hardly a patch has not
        same = not leapt and ranked(np.abs(past[0] - mean)[rest], 0.5) < REST_LEVELS
        alive = float(self._activity[rest].mean()) > 0.5 * float(past[2][rest].mean())
        if not (same and alive):
            return 0.0
        self._cover = dark if dark_share >= COVERED_SHARE else None
        return dark_share

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
        return np.stack([mean, contrast, self._activity])


@dataclass(slots=True)
class Imprint:
    """What a step left on the picture: when and where (tiles), the structure that changed and that of the picture,
    and the trace of structure before it; the light of the tiles before it, and by how much it rose.

    kind: one of ``KINDS``. settled: the frame after it was calm again. seen: it has stayed."""

    time_s: float
    tiles: NDArray[np.bool_]
    change: Floats
    picture: Floats
    before: Floats
    dark: Floats
    lit: Floats
    kind: str
    settled: bool = False
    seen: bool = False


class Overlay:
    """overlay: share of the picture on which, from one frame to the next, structure appeared that stays while
    the rest of the picture is as it was. flare: the same for light that was added and has no structure; panel:
    for a rectangle inside the picture, as a menu is."""

    def __init__(self) -> None:
        self.past, self.state, self.every = Past(), NOTHING, 1
        self._grey: Floats | None = None
        self._fine: Floats | None = None
        self._trace: Floats | None = None
        self._light: Floats = np.zeros(TILES, np.float32)
        self._imprint: Imprint | None = None

    def measure(self, view: View, link: Link) -> dict[str, float]:
        fine = np.asarray(cv2.blur(view.grey, (3, 3)) - cv2.blur(view.grey, (15, 15)), np.float32)
        grey, before = self._grey, self._fine
        self._grey, self._fine = view.grey, fine
        if grey is None or before is None or self._trace is None:
            self._trace, self._light = fine, _tiled(view.grey)
            return dict.fromkeys(KINDS, 0.0)
        step = view.grey - grey
        earlier, self.state = self.state, _tiled(np.abs(step))
        self._settle()
        if earlier.size:
            self._note_step(view.time_s, step, earlier, fine, before)
        gain = 1.0 - math.exp(-view.step_s / TRACE_S)
        self._trace = self._trace + np.float32(gain) * (fine - self._trace)
        self._light = self._light + np.float32(gain) * (_tiled(view.grey) - self._light)
        share = self._stays(view.time_s)
        kind = "" if self._imprint is None else self._imprint.kind
        return {name: share if name == kind else 0.0 for name in KINDS}

    def restart(self) -> None:
        self._imprint = None

    def _settle(self) -> None:
        """A step is over with one frame; what goes on changing is the scene."""
        imprint, usual = self._imprint, self.past.known
        if imprint is None or imprint.settled or usual is None:
            return
        imprint.settled = True
        calm = self.state < CALM_TIMES * usual + CALM_LEVELS
        if float(calm[imprint.tiles].mean()) < 0.5:
            self._imprint = None

    def _note_step(self, time_s: float, step: Floats, earlier: Floats, fine: Floats, before: Floats) -> None:
        usual = self.past.known
        if usual is None or (self._imprint is not None and self._imprint.seen):
            return
        stepped = self.state > np.maximum(STEP_TIMES * usual, usual + STEP_LEVELS)
        stepped &= earlier < CALM_TIMES * usual + CALM_LEVELS
        if stepped.mean() < STEP_SHARE:
            return
        came, was, now = (_tiled(a * a)[stepped] for a in (fine - before, before, fine))
        added = float(np.median(came / (was + 1.0))) > ADDED and float(np.median(now / (was + 1.0))) > MORE
        lit = step[_pixels(stepped)]
        plain = float(np.median(came / (was + 1.0))) < ADDED
        light = plain and float((lit > -2.0).mean()) > 0.98 and float(lit.mean()) > LIGHT_LEVELS
        # After a cut only the car's own bonnet, below, or an empty sky may look the same.
        rest = ~stepped & (_tiled(np.abs(before)) > 1.0) & (self.state < 2.0 * usual + 0.5)
        local = float(rest[:-2].mean()) > REST_SHARE * (1.0 - float(stepped.mean()))
        if light or (added and local):
            assert self._trace is not None
            kind = "flare" if light else "panel" if _panel(step) else "overlay"
            dark, lit_by = self._light.copy(), np.maximum(_tiled(step), 1.0)
            self._imprint = Imprint(
                time_s, stepped, fine - before, fine, self._trace.copy(), dark, lit_by, kind
            )

    def _stays(self, time_s: float) -> float:
        """Share of the picture under the imprint, once and as long as it is found again."""
        imprint = self._imprint
        if imprint is None or self._trace is None:
            return 0.0
        if not imprint.seen and time_s - imprint.time_s < SETTLE_S:
            return 0.0
        if imprint.kind == "flare":
            share = float(np.median(((self._light - imprint.dark) / imprint.lit)[imprint.tiles]))
        else:
            share = _alike(self._trace - imprint.before, imprint.change, imprint.tiles)
            if not imprint.seen:
                share = min(share, _alike(self._trace, imprint.picture, imprint.tiles))
        if share < (KEPT if imprint.seen else STAYS):
            self._imprint = None
            return 0.0
        imprint.seen = True
        return float(imprint.tiles.mean())


def _span(profile: Floats) -> tuple[int, int]:
    """Beginning and end of the longest run of what is near its maximum, over gaps as between lines of writing."""
    near = (profile > 0.4 * profile.max()).astype(np.uint8)[None]
    closed = cv2.morphologyEx(np.pad(near, ((0, 0), (4, 4))), cv2.MORPH_CLOSE, np.ones((1, 5), np.uint8))
    edges = np.flatnonzero(np.diff(closed[0, 3:-3].astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    return int(begins[longest]), int(ends[longest])


def _alike(a: Floats, b: Floats, tiles: NDArray[np.bool_]) -> float:
    """Correlation of two structures in the median of some tiles."""
    like = _tiled(a * b) / np.sqrt(_tiled(a * a) * _tiled(b * b) + 0.01)
    return float(np.median(like[tiles]))


def _panel(step: Floats) -> bool:
    """Whether what changed is a rectangle that touches no border of the picture, and nothing else."""
    changed = np.abs(step) > PANEL_LEVELS
    rows, columns = changed.mean(1), changed.mean(0)
    (top, bottom), (left, right) = _span(rows), _span(columns)
    inside = top > 0 and left > 0 and bottom < step.shape[0] and right < step.shape[1]
    box = changed[top:bottom, left:right]
    filled = float(box.mean()) > PANEL_FILLED and float(box.sum()) > 0.9 * float(changed.sum())
    return bool(inside and filled and box.size > PANEL_LEAST * step.size)


def _pixels(tiles: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tiles' pixels."""
    high, wide = SMALL[0] // TILES[0], SMALL[1] // TILES[1]
    return tiles.repeat(high, 0).repeat(wide, 1)


def _tiled(picture: Floats) -> Floats:
    return np.asarray(cv2.resize(picture, TILES[::-1], interpolation=cv2.INTER_AREA), np.float32)
