"""Something on the glass or over the picture: from one frame to the next it is there, and it stays while the scene
moves on."""

from __future__ import annotations

import math

import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.sight import SMALL
from engines.health.step import Now, Step, alike, calm, likeness, step_of, tiled
from engines.health.view import FINE, TILES, Floats, View, floats, mean_of, ranked, share_of, structure

FIXED = 0.25
"""Share of what the scene's motion usually takes from structure that it may still take of what is on the glass."""
HINT_STAYS = 0.7
"""How alike what is only a hint must stay: under a bridge, at the mouth of a tunnel, or where another drive begins, nothing
that came does."""
SETTLE_S, TRACE_S, STIR_MOST = 1.2, 0.5, 1.5
STAYS, KEPT, STILL, DEAD, DEAD_LEVELS = 0.7, 0.3, 0.45, 0.2, 0.1
"""How alike what came must stay, first and later; the share of the usual change that a lid may leave; and that share,
and the grey levels, that one may where the scene is not known to go on, or is all covered: that of a cut may be calm."""
ASLEEP = 0.25
"""Share of the usual change under which a picture stands still."""
KINDS = ("overlay", "flare", "panel")


class Overlay:
    """overlay: share of the picture on which, from one frame to the next, structure came or went that stays so while
    the rest is as it was. flare: the same for light without structure. panel: for a rectangle inside the picture,
    as a menu is. ``hint``: share of the picture in which structure came ``SETTLE_S`` ago and is still there, though it may
    have let the scene through, or left nothing of it but its coarse light; 0 in most frames."""

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
        self._step: Step | None = None
        self._settled = self._seen = False
        self._came: Step | None = None
        self.hint = 0.0

    def measure(self, view: View, link: Link) -> dict[str, float]:
        tints = view.tiles if self._tiles is None else view.tiles - self._tiles
        self._tiles = view.tiles
        fine = structure(view.grey, FINE)
        grey, before, earlier_still = self._grey, self._fine, self._earlier
        self.hint = 0.0
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
            if not (self._seen or view.skips or mean_of(self._stir) < ASLEEP):
                self._follow(
                    step_of(
                        Now(
                            view.time_s, view.grey, moved, fine, before, earlier_still, self.state, earlier, usual,
                            view.tiles, tints, self._trace, self._light, self._loose,
                        )
                    )
                )  # fmt: skip
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
        self._came = None

    def _drop(self) -> None:
        self._step, self._settled, self._seen = None, False, False

    def _settle(self, usual: Floats) -> None:
        """A step is over with one frame; what goes on changing is the scene."""
        if self._step is None or self._settled:
            return
        self._settled = True
        if share_of(calm(self.state, usual)[self._step.tiles]) < 0.5:
            self._drop()

    def _follow(self, step: Step | None) -> None:
        """Follow ``step``, unless what is followed took more of the picture: traffic goes on beside what came."""
        if step is None:
            return
        if step.kind and (self._step is None or step.tiles.sum() >= self._step.tiles.sum()):
            self._step, self._settled = step, False
        if step.hints and (self._came is None or step.tiles.sum() > self._came.tiles.sum()):
            self._came = step

    def _hint(self, time_s: float) -> None:
        """Look whether what came is still there, once it has had time to go."""
        came = self._came
        if came is not None and time_s - came.time_s >= SETTLE_S:
            new = alike(self._trace - came.trace, came.change, came.tiles)
            whole = alike(self._trace, came.trace + came.change, came.tiles)
            self.hint = share_of(came.tiles) if min(new, whole) >= HINT_STAYS else 0.0
            self._came = None

    def _note_loose(self, time_s: float) -> None:
        """What the motion of the scene takes from structure within ``SETTLE_S``, while nothing is followed."""
        if self._step is not None:
            self._mark = None
        elif self._mark is None:
            self._mark = time_s, self._fine
        elif time_s - self._mark[0] >= SETTLE_S:
            self._loose = floats(1.0 - likeness(self._trace, self._mark[1]))
            self._mark = time_s, self._fine

    def _stays(self, time_s: float) -> float:
        """Share of the picture under the step, once and as long as what came is found again."""
        step = self._step
        if step is None or (not self._seen and time_s - step.time_s < SETTLE_S):
            return 0.0
        stir = ranked(self._stir[step.tiles], 0.5)
        if step.kind == "flare":
            kept = ranked(floats((self._light - step.dark) / np.maximum(step.lit, 1.0))[step.tiles], 0.5)
        elif step.flat:
            kept = float(stir < STILL if step.near or self._seen else self._dead(step, stir))
        else:
            kept = alike(self._trace - step.trace, step.change, step.tiles)
            if not self._seen:
                kept = min(kept, alike(self._trace, step.picture, step.tiles))
                fixed = step.near and (step.beside or 1.0 - kept < FIXED * step.loose)
                kept = kept if fixed or (step.whole and self._dead(step, stir)) else 0.0
            elif not step.near and stir > DEAD:
                kept = 0.0
        if kept < (KEPT if self._seen else STAYS):
            self._drop()
            return 0.0
        self._seen = True
        return share_of(step.tiles)

    def _dead(self, step: Step, stir: float) -> bool:
        """Whether hardly anything moves under the step."""
        return stir <= DEAD and ranked(self.state[step.tiles], 0.5) <= DEAD_LEVELS
