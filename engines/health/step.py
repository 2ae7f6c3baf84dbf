"""A change of the picture within one frame, and what of it something over the picture may have made."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.health.sight import SMALL
from engines.health.view import TILES, Floats, floats, ranked, share_of

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
MOVES, LEAP_SHARE, LEAP_LEAST, LEAP_FOUND = 0.5, 0.6, 500, 0.12
"""What the scene's motion must usually take from the structure of a tile that moves. Where a drive leaps on within itself, as
at the seam of two recordings, so much of the picture changes at most, and of at least so many pixels of such tiles beside that
so little is found again as a share of what usually is."""
REDRAWN = 0.17
"""Glass that bends light all over the picture leaves its coarse light as it was: the most by which tiles may change then
(log)."""
CAME_SHARE, CAME_UNEVEN = 0.2, 0.12
"""Share of the tiles that no vehicle changes within one frame; and by how much (log) the coarse light may change where
nothing of the scene is found again, for what came to be a hint."""
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
PANEL_LEVELS, PANEL_FILLED, PANEL_ALONE, PANEL_LEAST = 12.0, 0.6, 0.7, 0.05
PANEL_MOST, PANEL_EDGE = 3.0, 0.55


@dataclass(frozen=True, slots=True, eq=False)
class Now:
    """One frame, and what came before it.

    grey, fine: the small picture and its structure. moved: by how much it differs from the frame before. before,
    earlier_still: the structure of that frame and of the one before it. state, earlier, usual: how much each tile changed
    in this frame, in the one before, and usually. tiles, tints: their colours, and by how much those changed. trace, light:
    structure and light of late, without this frame. loose: what motion usually takes from the structure of a tile.
    """

    time_s: float
    grey: Floats
    moved: Floats
    fine: Floats
    before: Floats
    earlier_still: Floats
    state: Floats
    earlier: Floats
    usual: Floats
    tiles: Floats
    tints: Floats
    trace: Floats
    light: Floats
    loose: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A change of the picture within one frame.

    tiles: where it was sudden. change, picture: the structure that came, and all that is there now. trace, dark: the
    structure and the light of the tiles just before. lit: by how much the tiles rose. kind: ``overlay``, ``flare`` or
    ``panel``; empty if it is too little for any. hints: whether it is a hint at least, if it stays. flat: a lid. whole: it
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
    hints: bool
    flat: bool
    whole: bool
    near: bool
    beside: bool
    loose: float


def step_of(now: Now) -> Step | None:
    """Return the step that this frame is, if something over the picture may have made it."""
    stepped = now.state > np.maximum(STEP_TIMES * now.usual, now.usual + STEP_LEVELS)
    share = share_of(stepped)
    tiles = stepped & calm(now.earlier, now.usual)
    if share < STEP_SHARE or tiles.sum() < CALM_SHARE * stepped.sum():
        return None
    found, usual = _found(now.before, now.fine), _found(now.earlier_still, now.before)
    if share <= LEAP_SHARE and _leaps(found, usual, _pixels(~stepped & (now.loose > MOVES))):
        return None
    change = now.fine - now.before
    was = tiled(now.before * now.before)[tiles] + 1.0
    came, left = (ranked(tiled(a * a)[tiles] / was, 0.5) for a in (change, now.fine))
    lit, strength = tiled(now.moved), ranked(tiled(change * change)[tiles], 0.5)
    pieces = cv2.connectedComponents(stepped.astype(np.uint8))[0] - 1
    sizable = share > LARGE_SHARE or pieces >= PIECES
    # After a cut only the car's own bonnet, below, or an empty sky may look the same.
    rest = ~stepped & (tiled(np.abs(now.before)) > 1.0) & (now.state < 2.0 * now.usual + 0.5)
    beside = share_of(rest[:-2]) > REST_SHARE * (1.0 - share)
    goes_on = found.share() >= CARRIED * usual.share()
    # Glass that bends light all over the picture leaves nothing to be found, but its coarse light.
    uneven = _evenness(floats(now.grey - now.moved), now.grey)
    near = sizable and (goes_on or uneven < REDRAWN)
    whole = share > WHOLE_SHARE
    flat = sizable and beside and left < LESS and ranked(np.abs(lit[tiles]), 0.5) > LID_LEVELS
    # Where the scene is known to go on, structure that took the place of other is as new as more of it.
    added = came > ADDED and strength > STRENGTH and (left > MORE or (goes_on and came > MORE))
    covers = flat or (near and added) or (whole and came > ADDED)
    hints = share >= CAME_SHARE and came > ADDED and strength > STRENGTH and (goes_on or uneven < CAME_UNEVEN)
    kind = ""
    light = came < ADDED and _lightens(now, tiles)
    if light or (covers and not _gained(now) and alike(now.fine, now.trace, tiles) <= SAME):
        kind = "flare" if light else "panel" if near and added and _panel(now.moved) else "overlay"
    if not (kind or hints):
        return None
    loose = ranked(now.loose[tiles], 0.5)
    return Step(
        now.time_s,
        tiles,
        change,
        now.fine,
        now.trace,
        now.light,
        lit,
        kind,
        hints,
        flat,
        whole,
        near,
        beside,
        loose,
    )


def _lightens(now: Now, tiles: NDArray[np.bool_]) -> bool:
    """Whether there is more light on the tiles; that has more of every colour, where a cast has less of one."""
    rose = now.moved[_pixels(tiles)]
    white = ranked(now.tints[tiles].min(1), 0.5) > 0.0
    return white and float((rose > -2.0).mean()) > 0.98 and float(rose.mean()) > LIGHT_LEVELS


def _gained(now: Now) -> bool:
    """Whether the step is one gain of each channel."""
    logs = np.log((now.tiles + 8.0) / (now.tiles - now.tints + 8.0)).reshape(-1, 3)
    gain = np.sort(logs, axis=0)[len(logs) // 2]
    most = float(np.abs(gain).max())
    return most > GAIN and ranked(np.abs(logs - gain).max(1), 0.5) < EVEN_GAIN * most


def tiled(picture: Floats) -> Floats:
    """Means of the tiles."""
    return floats(cv2.resize(picture, TILES[::-1], interpolation=cv2.INTER_AREA))


def calm(change: Floats, usual: Floats) -> NDArray[np.bool_]:
    return np.asarray(change < CALM_TIMES * usual + CALM_LEVELS, np.bool_)


def _pixels(tiles: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The tiles' pixels."""
    high, wide = SMALL[0] // TILES[0], SMALL[1] // TILES[1]
    return tiles.repeat(high, 0).repeat(wide, 1)


def alike(a: Floats, b: Floats, tiles: NDArray[np.bool_]) -> float:
    """Correlation of two structures in the median of some tiles."""
    return ranked(likeness(a, b)[tiles], 0.5)


def likeness(a: Floats, b: Floats) -> Floats:
    """Correlation of two structures in each tile."""
    return floats(tiled(a * b) / np.sqrt(tiled(a * a) * tiled(b * b) + 0.01))


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Which pixels of a picture have structure around them, and which of those have the same in the next."""

    textured: NDArray[np.bool_]
    again: NDArray[np.bool_]

    def share(self, where: NDArray[np.bool_] | None = None) -> float:
        """Of what is textured there, what is found again; 1 where nothing is."""
        textured, again = self.textured, self.again
        if where is not None:
            textured, again = textured & where, again & where
        count = np.count_nonzero(textured)
        return np.count_nonzero(again) / count if count else 1.0


def _found(before: Floats, now: Floats) -> _Found:
    power, other, both = (cv2.blur(a, AROUND) for a in (before * before, now * now, before * now))
    textured = power > STRUCTURE
    return _Found(textured, textured & (both > FOUND * np.sqrt(power * other + 1.0)))


def _leaps(found: _Found, usual: _Found, moving: NDArray[np.bool_]) -> bool:
    """Whether of what moves, beside the step, nothing goes on, though there is much of it."""
    enough = np.count_nonzero(found.textured & moving) >= LEAP_LEAST
    return bool(enough and found.share(moving) < LEAP_FOUND * usual.share(moving))


def _evenness(before: Floats, now: Floats) -> float:
    """By how much (log) the median tile changed against the others."""
    gain = np.log((tiled(now) + 8.0) / (tiled(before) + 8.0))
    return ranked(np.abs(gain - ranked(gain, 0.5)), 0.5)


def _panel(moved: Floats) -> bool:
    """Whether what changed is a rectangle that touches no border of the picture, and little else."""
    much = np.minimum(np.abs(moved), PANEL_MOST * PANEL_LEVELS)
    changed = much > PANEL_LEVELS
    (top, bottom), (left, right) = _span(much.mean(1)), _span(much.mean(0))
    inside = top > 0 and left > 0 and bottom < moved.shape[0] and right < moved.shape[1]
    box = changed[top:bottom, left:right]
    alone = float(box.sum()) > PANEL_ALONE * float(changed.sum())
    return bool(inside and alone and box.size > PANEL_LEAST * moved.size and float(box.mean()) > PANEL_FILLED)


def _span(profile: Floats) -> tuple[int, int]:
    """Beginning and end of the longest run of what is near its maximum, over gaps as between lines of writing."""
    near = (profile > PANEL_EDGE * profile.max()).astype(np.uint8)[None]
    closed = cv2.morphologyEx(np.pad(near, ((0, 0), (4, 4))), cv2.MORPH_CLOSE, np.ones((1, 5), np.uint8))
    edges = np.flatnonzero(np.diff(closed[0, 3:-3].astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    return int(begins[longest]), int(ends[longest])
