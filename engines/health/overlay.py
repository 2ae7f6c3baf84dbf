"""Something on the glass or over the picture: from one frame to the next it is there, and it stays while the scene
moves on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.sight import SMALL
from engines.health.view import TILES, Floats, View, floats, ranked

STEP_TIMES, STEP_LEVELS, STEP_SHARE = 3.5, 3.0, 0.08
"""A tile changes in one step when it changes by so many times the usual, and so many grey levels more; a share
of the tiles must, at once."""
CALM_TIMES, CALM_LEVELS, CALM_SHARE = 2.0, 1.0, 0.3
"""Times the usual change, and grey levels more, that a tile may change by in the frames beside the step; share of
the stepped tiles that must be so calm: they are the ones that are followed."""
REST_SHARE, WHOLE_SHARE = 0.3, 0.9
"""Share of what a step does not change that must be just as it was, textured as it is; and share of the picture that is
all of it."""
CARRIED, FOUND, AROUND, STRUCTURE = 0.06, 0.8, (9, 9), 6.0
"""Share of the structure that is usually found again in the next frame that must be, else it is a cut: how alike the
surroundings of a pixel must be, their extent, and their least power in grey levels squared."""
REDRAWN, FIXED = 0.17, 0.25
"""Glass that bends light all over the picture leaves its coarse light as it was: the most by which tiles may change then
(log), and share of what the scene's motion usually takes from structure that it may still take."""
CAME_SHARE, CAME_UNEVEN, CAME_STAYS = 0.2, 0.12, 0.7
"""Share of the tiles that no vehicle changes within one frame; by how much (log) the coarse light may change where
nothing of the scene is found again; and how alike what came must stay: under a bridge, at the mouth of a tunnel, or where
another drive begins, it does not."""
GAIN, EVEN_GAIN = 0.1, 0.25
"""One gain of a channel (log) all over the picture is the camera's own, and covers nothing: its least, and the share of
it by which the median tile may differ."""
LARGE_SHARE, PIECES = 0.3, 3
"""What is smaller and in fewer pieces may be a lorry beside the car."""
SAME = 0.5
"""How alike the structure under the step may be to what was there before: the bonnet, as light falls on it anew, and what
a pole or a shadow laid bare again, look as they did."""
ADDED, MORE, LESS, STRENGTH = 0.8, 1.2, 0.7, 12.0
"""Structure that came, and all that is there now, over what was there: more is something new, less is a lid.
Power that structure must have, in grey levels squared: a codec changes as much, but weakly."""
LID_LEVELS, LIGHT_LEVELS = 20.0, 15.0
"""Grey levels by which the tiles change as a whole under a lid, and rise under a flare."""
PANEL_LEVELS, PANEL_FILLED, PANEL_ALONE, PANEL_LEAST = 12.0, 0.6, 0.8, 0.05
SETTLE_S, TRACE_S, STIR_MOST = 1.2, 0.5, 1.5
STAYS, KEPT, STILL, DEAD, DEAD_LEVELS = 0.7, 0.3, 0.45, 0.2, 0.1
"""How alike what came must stay, first and later; the share of the usual change that a lid may leave; and that share,
and the grey levels, that one may where the scene is not known to go on, or is all covered: that of a cut may be calm."""
ASLEEP = 0.25
"""Share of the usual change under which a picture stands still."""
KINDS = ("overlay", "flare", "panel")


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A change of the picture within one frame.

    tiles: where it was sudden. change, picture: the structure that came, and all that is there now. trace, dark: the
    structure and the light of the tiles just before. lit: by how much the tiles rose. flat: a lid. whole: it
    took all of the picture. near: the scene is known to go on. beside: by what is beside the step, just as it was. loose:
    what motion usually took from structure there.
    """

    time_s: float
    tiles: NDArray[np.bool_]
    change: Floats
    picture: Floats
    trace: Floats
    dark: Floats
    lit: Floats
    kind: str
    flat: bool
    whole: bool
    near: bool
    beside: bool
    loose: float


class Overlay:
    """overlay: share of the picture on which, from one frame to the next, structure came or went that stays so while
    the rest is as it was. flare: the same for light without structure. panel: for a rectangle inside the picture,
    as a menu is. ``hints``: whether structure that came ``SETTLE_S`` ago is still there, though it may have let the scene
    through, or left nothing of it but its coarse light."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._grey: Floats | None = None
        self._fine: Floats = np.zeros(SMALL, np.float32)
        self._earlier: Floats = np.zeros(SMALL, np.float32)
        self._trace: Floats = np.zeros(SMALL, np.float32)
        self._mark: tuple[float, Floats] | None = None
        self._loose: Floats = np.zeros(TILES, np.float32)
        self._light: Floats = np.zeros(TILES, np.float32)
        self._stir: Floats = np.ones(TILES, np.float32)
        self._tiles: Floats | None = None
        self._tints: Floats = np.zeros((*TILES, 3), np.float32)
        self._step: Step | None = None
        self._settled = self._seen = False
        self._came: tuple[float, NDArray[np.bool_], Floats, Floats] | None = None
        self.hints = False

    def measure(self, view: View, link: Link) -> dict[str, float]:
        self._tints = view.tiles if self._tiles is None else view.tiles - self._tiles
        self._tiles = view.tiles
        fine = structure(view.grey)
        grey, before, earlier_still = self._grey, self._fine, self._earlier
        self.hints = False
        self._grey, self._fine, self._earlier = view.grey, fine, before
        if grey is None:
            self._trace, self._light = fine, tiled(view.grey)
            return dict.fromkeys(KINDS, 0.0)
        moved = view.grey - grey
        earlier, self.state = self.state, tiled(np.abs(moved))
        usual = self.past.known
        gain = np.float32(1.0 - math.exp(-view.step_s / TRACE_S))
        if usual is not None and earlier.size:
            self._settle(usual)
            # What follows a hole in the stream, or a picture that stood still, is later, and other for that.
            if not (self._seen or view.skips or float(self._stir.mean()) < ASLEEP):
                last = before, earlier_still
                self._follow(self._stepped(view.time_s, moved, earlier, usual, last))
            stir = np.minimum(
                self.state / (usual + 0.3), STIR_MOST
            )  # the step itself says nothing of what follows
            self._stir = self._stir + gain * (stir - self._stir)
        self._trace = self._trace + gain * (fine - self._trace)
        self._light = self._light + gain * (tiled(view.grey) - self._light)
        self._hint(view.time_s)
        self._note_loose(view.time_s)
        share = self._stays(view.time_s)
        kind = "" if self._step is None else self._step.kind
        return {name: share if name == kind else 0.0 for name in KINDS}

    def restart(self) -> None:
        self._drop()

    def _drop(self) -> None:
        self._step, self._settled, self._seen = None, False, False

    def _settle(self, usual: Floats) -> None:
        """A step is over with one frame; what goes on changing is the scene."""
        if self._step is None or self._settled:
            return
        self._settled = True
        if float(_calm(self.state, usual)[self._step.tiles].mean()) < 0.5:
            self._drop()

    def _follow(self, step: Step | None) -> None:
        """Follow ``step``, unless what is followed took more of the picture: traffic goes on beside what came."""
        if step is not None and (self._step is None or step.tiles.sum() >= self._step.tiles.sum()):
            self._step, self._settled = step, False

    def _hint(self, time_s: float) -> None:
        """Look whether what came is still there, once it has had time to go."""
        if self._came is not None and time_s - self._came[0] >= SETTLE_S:
            _, tiles, change, trace = self._came
            kept = _alike(self._trace - trace, change, tiles), _alike(self._trace, trace + change, tiles)
            self.hints = min(kept) >= CAME_STAYS
            self._came = None

    def _note_loose(self, time_s: float) -> None:
        """What the motion of the scene takes from structure within ``SETTLE_S``, while nothing is followed."""
        if self._step is not None:
            self._mark = None
        elif self._mark is None:
            self._mark = time_s, self._fine
        elif time_s - self._mark[0] >= SETTLE_S:
            self._loose = floats(1.0 - _likeness(self._trace, self._mark[1]))
            self._mark = time_s, self._fine

    def _stepped(
        self, time_s: float, moved: Floats, earlier: Floats, usual: Floats, last: tuple[Floats, Floats]
    ) -> Step | None:
        """The step that this frame is, if it is one that something on the glass may have made. last: the structure of
        the two frames before it."""
        assert self._grey is not None
        before = last[0]
        stepped = self.state > np.maximum(STEP_TIMES * usual, usual + STEP_LEVELS)
        share = float(stepped.mean())
        tiles = stepped & _calm(earlier, usual)
        if share < STEP_SHARE or tiles.sum() < CALM_SHARE * stepped.sum():
            return None
        change = self._fine - before
        was = tiled(before * before)[tiles] + 1.0
        came, now = (ranked(tiled(a * a)[tiles] / was, 0.5) for a in (change, self._fine))
        lit, strength = tiled(moved), ranked(tiled(change * change)[tiles], 0.5)
        pieces = cv2.connectedComponents(stepped.astype(np.uint8))[0] - 1
        sizable = share > LARGE_SHARE or pieces >= PIECES
        # After a cut only the car's own bonnet, below, or an empty sky may look the same.
        rest = ~stepped & (tiled(np.abs(before)) > 1.0) & (self.state < 2.0 * usual + 0.5)
        beside = float(rest[:-2].mean()) > REST_SHARE * (1.0 - share)
        goes_on = _found(before, self._fine) >= CARRIED * _found(*reversed(last))
        # Glass that bends light all over the picture leaves nothing to be found, but its coarse light.
        uneven = _evenness(floats(self._grey - moved), self._grey)
        near = sizable and (goes_on or uneven < REDRAWN)
        whole = share > WHOLE_SHARE
        flat = sizable and beside and now < LESS and ranked(np.abs(lit[tiles]), 0.5) > LID_LEVELS
        # Where the scene is known to go on, structure that took the place of other is as new as more of it.
        added = came > ADDED and strength > STRENGTH and (now > MORE or (goes_on and came > MORE))
        rose = moved[_pixels(tiles)]
        if share >= CAME_SHARE and came > ADDED and strength > STRENGTH:
            larger = self._came is None or tiles.sum() > self._came[1].sum()
            if larger and (goes_on or uneven < CAME_UNEVEN):
                self._came = time_s, tiles, change, self._trace
        # More light has more of every colour; a cast has less of one.
        white = ranked(self._tints[tiles].min(1), 0.5) > 0.0
        light = (
            white
            and came < ADDED
            and float((rose > -2.0).mean()) > 0.98
            and float(rose.mean()) > LIGHT_LEVELS
        )
        covers = flat or (near and added) or (whole and came > ADDED)
        if not light and (not covers or self._gained() or _alike(self._fine, self._trace, tiles) > SAME):
            return None
        kind = "flare" if light else "panel" if near and added and _panel(moved) else "overlay"
        return Step(
            time_s,
            tiles,
            change,
            self._fine,
            self._trace,
            self._light,
            lit,
            kind,
            flat,
            whole,
            near,
            beside,
            ranked(self._loose[tiles], 0.5),
        )

    def _gained(self) -> bool:
        """Whether the step is one gain of each channel."""
        assert self._tiles is not None
        logs = np.log((self._tiles + 8.0) / (self._tiles - self._tints + 8.0)).reshape(-1, 3)
        gain = np.sort(logs, axis=0)[len(logs) // 2]
        most = float(np.abs(gain).max())
        return most > GAIN and ranked(np.abs(logs - gain).max(1), 0.5) < EVEN_GAIN * most

    def _stays(self, time_s: float) -> float:
        """Share of the picture under the step, once and as long as what came is found again."""
        step = self._step
        if step is None or (not self._seen and time_s - step.time_s < SETTLE_S):
            return 0.0
        stir = ranked(self._stir[step.tiles], 0.5)
        if step.kind == "flare":
            alike = ranked(floats((self._light - step.dark) / np.maximum(step.lit, 1.0))[step.tiles], 0.5)
        elif step.flat:
            alike = float(stir < STILL if step.near or self._seen else self._dead(step, stir))
        else:
            alike = _alike(self._trace - step.trace, step.change, step.tiles)
            if not self._seen:
                alike = min(alike, _alike(self._trace, step.picture, step.tiles))
                fixed = step.near and (step.beside or 1.0 - alike < FIXED * step.loose)
                alike = alike if fixed or (step.whole and self._dead(step, stir)) else 0.0
            elif not step.near and stir > DEAD:
                alike = 0.0
        if alike < (KEPT if self._seen else STAYS):
            self._drop()
            return 0.0
        self._seen = True
        return float(step.tiles.mean())

    def _dead(self, step: Step, stir: float) -> bool:
        """Whether hardly anything moves under the step."""
        return stir <= DEAD and ranked(self.state[step.tiles], 0.5) <= DEAD_LEVELS


def structure(grey: Floats) -> Floats:
    """The finer structure of a small picture."""
    return floats(cv2.blur(grey, (3, 3)) - cv2.blur(grey, (15, 15)))


def tiled(picture: Floats) -> Floats:
    """Means of the tiles."""
    return floats(cv2.resize(picture, TILES[::-1], interpolation=cv2.INTER_AREA))


def _calm(change: Floats, usual: Floats) -> NDArray[np.bool_]:
    return np.asarray(change < CALM_TIMES * usual + CALM_LEVELS, np.bool_)


def _pixels(tiles: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tiles' pixels."""
    high, wide = SMALL[0] // TILES[0], SMALL[1] // TILES[1]
    return tiles.repeat(high, 0).repeat(wide, 1)


def _alike(a: Floats, b: Floats, tiles: NDArray[np.bool_]) -> float:
    """Correlation of two structures in the median of some tiles."""
    return ranked(_likeness(a, b)[tiles], 0.5)


def _likeness(a: Floats, b: Floats) -> Floats:
    """Correlation of two structures in each tile."""
    return floats(tiled(a * b) / np.sqrt(tiled(a * a) * tiled(b * b) + 0.01))


def _found(before: Floats, now: Floats) -> float:
    """Share of the pixels with structure around them that have the same in both; 1 where there is none."""
    power, other, both = (cv2.blur(a, AROUND) for a in (before * before, now * now, before * now))
    textured = power > STRUCTURE
    found = textured & (both > FOUND * np.sqrt(power * other + 1.0))
    count = np.count_nonzero(textured)
    return np.count_nonzero(found) / count if count else 1.0


def _evenness(before: Floats, now: Floats) -> float:
    """By how much (log) the median tile changed against the others."""
    gain = np.log((tiled(now) + 8.0) / (tiled(before) + 8.0))
    return ranked(np.abs(gain - ranked(gain, 0.5)), 0.5)


def _panel(moved: Floats) -> bool:
    """Whether what changed is a rectangle that touches no border of the picture, and little else."""
    changed = np.abs(moved) > PANEL_LEVELS
    (top, bottom), (left, right) = _span(changed.mean(1)), _span(changed.mean(0))
    inside = top > 0 and left > 0 and bottom < moved.shape[0] and right < moved.shape[1]
    box = changed[top:bottom, left:right]
    alone = float(box.sum()) > PANEL_ALONE * float(changed.sum())
    return bool(inside and alone and box.size > PANEL_LEAST * moved.size and float(box.mean()) > PANEL_FILLED)


def _span(profile: Floats) -> tuple[int, int]:
    """Beginning and end of the longest run of what is near its maximum, over gaps as between lines of writing."""
    near = (profile > 0.4 * profile.max()).astype(np.uint8)[None]
    closed = cv2.morphologyEx(np.pad(near, ((0, 0), (4, 4))), cv2.MORPH_CLOSE, np.ones((1, 5), np.uint8))
    edges = np.flatnonzero(np.diff(closed[0, 3:-3].astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    return int(begins[longest]), int(ends[longest])
