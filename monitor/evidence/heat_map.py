"""Where in the picture it is strange: an engine's coarse heat map, laid over the snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.bundle import ARTIFICIAL_PROBES, Bundle
from engines.frames import Image
from engines.regions import Regions

NORMAL_SHARE = 0.99
"""Share of the cells of normal frames that stay clear."""
FULL_AT = 3.0
"""Where the colour is full: so many times as far above the clear range as that reaches above the median."""
MOST_OPAQUE = 0.7
_FIRST_COLOUR = 90
"""Where in the colour map the colours begin that stand out from a dark road."""


@dataclass(frozen=True, slots=True)
class HeatScale:
    """What heat means for one bundle. Cells up to ``clear`` are left as they are, from ``full`` on they are covered as
    much as any."""

    clear: float
    full: float

    @classmethod
    def of(cls, bundle: Bundle) -> HeatScale | None:
        """By the heat of the bundle's probes of normal footage; None where its engine gives no heat map."""
        heat = np.asarray(bundle.probes().scores.heat[:-ARTIFICIAL_PROBES], np.float64)
        if heat.size == 0 or heat.shape[1:] == (1, 1):
            return None
        middle, clear = np.quantile(heat, (0.5, NORMAL_SHARE))
        return cls(float(clear), float(clear + FULL_AT * max(clear - middle, 1e-9)))

    def strength(self, heat: NDArray[np.floating]) -> NDArray[np.float32]:
        """h × w heat -> h × w from 0 (normal) to 1; cells without a finite heat count as normal."""
        strength = (np.asarray(heat, np.float64) - self.clear) / (self.full - self.clear)
        return np.clip(np.nan_to_num(strength, nan=0.0), 0.0, 1.0).astype(np.float32)


def shown_strength(
    size: tuple[int, int], heat: NDArray[np.floating], scale: HeatScale, ignored: Regions
) -> NDArray[np.float32]:
    """h × w heat -> strength from 0 to 1 of each pixel of a picture of ``size`` (height, width); 0 in ``ignored`` regions,
    whose heat is that of what they were filled with."""
    height, width = size
    strength = cv2.resize(scale.strength(heat), (width, height), interpolation=cv2.INTER_CUBIC)
    if ignored:
        strength[ignored.mask(height, width)] = 0.0
    return np.asarray(np.clip(strength, 0.0, 1.0), np.float32)


def heat_map(picture: Image, strength: NDArray[np.float32]) -> Image:
    """Lay ``strength`` (height × width) over a BGR picture: clear where it is normal, from purple over orange to light
    yellow where it is not (inferno, whose steps look equal, and whose lightness alone tells them too)."""
    levels = (_FIRST_COLOUR + (255 - _FIRST_COLOUR) * strength).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    opaque = np.asarray(MOST_OPAQUE * cv2.sqrt(strength), np.float32)
    return np.asarray(cv2.blendLinear(picture, colours, 1.0 - opaque, opaque), np.uint8)
