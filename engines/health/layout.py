"""The picture is laid out otherwise than before: mirrored, turned, shifted, magnified or bent."""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.health.lays import Lay, Pair, lays
from engines.health.past import NOTHING, Past
from engines.health.scene import Link, likeness
from engines.health.sight import SMALL
from engines.health.turned import relaid
from engines.health.view import Floats, View, floats

LEFT = 0.5
WORSE = {"flipped": 0.25, "moved": 0.25, "magnified": 0.2, "bent": 0.1}
"""A layout explains a leap when at most this share of what driving leaves unexplained is left, and when frames are
then hardly less alike than usual; large moves and magnifications are found less exactly."""
LEAST, PLAIN, EXACT = 0.7, 0.35, 0.1
"""Likeness that is no chance, what driving may explain of a magnified picture, and the share of the rest that is left where
it explains more."""
TEXTURE = 0.5
"""Share of the structure of the frame before that must be left to be laid out."""
LAYOUT = (24, 36)
SETTLE_S, LATELY_S, FITS = (0.6, 1.6), 0.5, 0.1
SETTLED = {"moved": 0.1, "bent": 0.0}
"""From when to when after a leap it is looked whether the picture stayed as it was laid out; over how long; how like the
layout must then be to the past one so laid out; and how much more than to that as it was: in a turn it goes on, after a
bump it comes back. Bent, most stays where it was. Roads look much like their mirror images, and magnified the past is
too coarse."""
RETURN_S, SHAKEN_S = 0.3, 0.6
"""How long a layout must be as before to be so; what is laid out anew again sooner than this shakes."""
KNOWN_S = 5.0
"""How long after a cut the scene is too new for points to be asked: far enough moves of a camera are found in any picture
that rocks, and what came before was another scene."""
KINDS = ("flipped", "moved", "magnified", "bent")


class Layout:
    """flipped, moved, magnified, bent: how much better the frame before explained the one after it once it was
    laid out so, from when that happened until the layout is what it was."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._before: View | None = None
        self._kind, self._gain = "", 0.0
        self._alike, self._limit = 1.0, -1.0
        self._moved_s = self._shaken_s = self._cut_s = -math.inf
        self._lay: Lay | None = None
        self._since: Floats = np.zeros(LAYOUT, np.float32)

    def measure(self, view: View, link: Link) -> dict[str, float]:
        before, self._before = self._before, view
        shape = floats(cv2.resize(view.structure, LAYOUT[::-1], interpolation=cv2.INTER_AREA))
        self.state = shape.ravel()
        known = self.past.known
        if known is None or before is None:
            return dict.fromkeys(KINDS, 0.0)
        alike = likeness(known.reshape(LAYOUT), shape)
        was, weight = self._alike, 1.0 - math.exp(-view.step_s / RETURN_S)
        self._alike += weight * (alike - self._alike)
        asked = link.leaps and view.time_s >= self._shaken_s
        told = asked and (self._relate(before, view, link) or self._relate_points(before, view, link))
        if link.broken and not told:
            self._cut_s = view.time_s
        if told:
            if view.time_s - self._moved_s < SHAKEN_S:
                self._kind, self._shaken_s = "", view.time_s + SHAKEN_S
            self._moved_s = view.time_s
            self._since = np.zeros(LAYOUT, np.float32)
            # Half way back from how much less this is like the past is as it was.
            self._alike, self._limit = alike, 0.5 * (was + alike) if was - alike > 0.1 else 2.0
        elif self._alike > self._limit:
            self._kind = ""
        if self._kind in SETTLED and self._lay is not None:
            self._since += floats((1.0 - math.exp(-view.step_s / LATELY_S)) * (shape - self._since))
            looked = SETTLE_S[0] <= view.time_s - self._moved_s <= SETTLE_S[1]
            if looked and not self._settled(self._lay, known.reshape(LAYOUT)):
                self._kind = ""
        return {kind: self._gain if kind == self._kind else 0.0 for kind in KINDS}

    def restart(self) -> None:
        self._kind = ""

    def _relate(self, before: View, view: View, link: Link) -> bool:
        """Find how the picture ``before`` must be laid out to look like the one now; return whether that was found."""
        if cv2.norm(view.structure) < TEXTURE * cv2.norm(before.structure):
            return False  # hardly anything is left to be laid out
        laid = lays(Pair(before.grey, view.grey, view.structure))
        best, kind = max((alike, kind) for kind, alike in laid.alike.items())
        left, driving = 1.0 - best, 1.0 - laid.driving
        found = left <= LEFT * driving and best >= max(LEAST, link.usual - WORSE[kind])
        # By so much magnified, hardly anything is where it was, unless all that can be seen is in the middle.
        near = laid.driving > PLAIN and left > EXACT * driving
        if not found or (kind == "magnified" and near):
            return False
        # The same again, or its opposite: the picture is as it was before.
        self._kind, self._gain = "" if self._kind else kind, best - laid.driving
        self._lay = laid.lay.get(kind)
        return True

    def _settled(self, lay: Lay, known: Floats) -> bool:
        """Whether the layout of late is the past one, laid out anew."""
        before = floats(cv2.resize(known, SMALL[::-1], interpolation=cv2.INTER_LINEAR))
        since = floats(cv2.resize(self._since, SMALL[::-1], interpolation=cv2.INTER_LINEAR))
        laid, inside = lay(before)
        anew, as_it_was = likeness(laid, since * inside), likeness(before * inside, since * inside)
        return anew >= FITS and anew - as_it_was >= SETTLED[self._kind]

    def _relate_points(self, before: View, view: View, link: Link) -> bool:
        """The same by points that both frames show, where the scene seems to be another one."""
        known = link.steady and view.time_s - self._cut_s >= KNOWN_S
        luma, now = before.frame.luma, view.frame.luma
        if link.goes_on or self._kind or not known or luma.shape != now.shape:
            return False
        kind, share = relaid(luma, now, view.sight.hidden)
        if kind:
            # Too far for small pictures to follow; so many points agree that time adds nothing.
            self._kind, self._gain, self._lay = kind, share, None
        return bool(kind)
