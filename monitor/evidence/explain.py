"""What is shown of the moment an event was believed: the picture, where in it it is strange, and what normal is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.frames import Frame
from engines.normal import Neighbour
from engines.regions import NOWHERE, Regions
from monitor.evidence.heat_map import HeatScale, heat_map, shown_strength
from monitor.pictures import jpeg, picture

NO_HEAT = "no heat map: this encoder gives none"
NO_PART = "the heat map is clear: no part of the picture by itself is stranger than parts of normal ones"
FAINT = 0.1
"""Strength of heat, of 1, below which nobody sees it."""
NO_NEAREST = "no normal frames to compare with: the bundle was taught before their place was kept"


@dataclass(frozen=True, slots=True)
class Sight:
    """One scored frame. heat: h × w, latent: d, as the engine gave them; ignored: what of the picture does not count."""

    frame: Frame
    heat: NDArray[np.floating]
    latent: NDArray[np.floating]
    ignored: Regions = NOWHERE


@dataclass(frozen=True, slots=True)
class Explanation:
    """JPEGs, empty where there is none. nearest: of normal footage, the nearest first; usual: the median distance of
    such pictures to each other's nearest. notes: what is missing and why, in sentences."""

    snapshot: bytes = b""
    heat_map: bytes = b""
    nearest: tuple[Neighbour, ...] = ()
    usual: float = float("nan")
    notes: tuple[str, ...] = ()


class Explainer:
    """Explains with what one bundle knows. width: of pictures, in pixels."""

    def __init__(self, bundle: Bundle, width: int) -> None:
        self._scale, self._normal, self._width = HeatScale.of(bundle), bundle.neighbours(), width
        self._notes = (*([NO_HEAT] * (self._scale is None)), *([NO_NEAREST] * (self._normal is None)))

    def explain(self, sight: Sight, notes: tuple[str, ...] = ()) -> Explanation:
        """Return what there is to show of a frame, with ``notes`` on what else is missing."""
        shown, hot = picture(sight.frame, self._width), b""
        if self._scale is not None:
            strength = shown_strength(shown.shape[:2], sight.heat, self._scale, sight.ignored)
            hot = jpeg(heat_map(shown, strength))
            notes += (NO_PART,) * bool(strength.max() < FAINT)
        normal = self._normal
        nearest = () if normal is None else normal.nearest(sight.latent)
        usual = float("nan") if normal is None else normal.usual
        return Explanation(jpeg(shown), hot, nearest, usual, self._notes + notes)
