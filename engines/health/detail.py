"""The detail of a picture: out of focus, behind a haze, drowned in noise, or not yet made of the sensor's mosaic."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.health.past import NOTHING, PAST_S, Past
from engines.health.scene import Link
from engines.health.sight import PATCH
from engines.health.view import Floats, View, counted, floats, ranked

SOFT = -2.5
"""Log sharpness above which no picture is called blurred: a defocused one has no edge steeper than a twelfth of
its range."""
SHARP = 3.0
"""What each unit of sharpness above that takes from the suspicion."""
VEIL_LEVELS = 40.0
"""By how much they must for each unit of that."""
TEXTURED, FEWEST_TEXTURED = 5.0, 8
"""Contrast of a patch whose loss would mean something, and how many there must be."""
_EDGE = np.array([[1, 0, -2, 0, 1]], np.float32)
_CHECKER = (1.0 - 2.0 * (np.indices((PATCH, PATCH)).sum(0) % 2)).astype(np.float32)


class Detail:
    """sharpness: log ratio of the strongest edges to the range, across or down the picture, whichever is less. blur:
    by how much that of either fell below the stream's past, less while there are sharp edges. veil: log of how much
    contrast the textured patches lost against the past while the darkest parts grew lighter. noise: deviation in
    grey levels of the noise in the flattest patches. checker: grey levels of a checkerboard of single pixels, over
    the noise there, in the median patch."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 2, False
        self._elsewhere = False

    def measure(self, view: View, link: Link) -> dict[str, float]:
        sharpness = _sharpness(view.patches, view.levels)
        darkest = float(np.searchsorted(view.levels, 0.02))
        self.state = np.concatenate([sharpness, [darkest], view.contrast]).astype(np.float32)
        known = self.past.known
        blur = veil = np.nan
        if known is not None:
            blur = float((known[:2] - sharpness - SHARP * np.maximum(0.0, sharpness - SOFT)).max())
            textured = known[3:] > TEXTURED
            # Back from a town or a tunnel more is light, too: what was seen for a moment is no measure of haze.
            measured = not self._elsewhere or self.past.stands_on(PAST_S)
            if measured and textured.sum() >= FEWEST_TEXTURED:
                lost = np.log((known[3:] + 1.0) / (view.contrast + 1.0))
                veil = min(ranked(lost[textured], 0.5), (darkest - float(known[2])) / VEIL_LEVELS)
        return {
            "sharpness": float(sharpness.min()),
            "blur": blur,
            "veil": veil,
            "noise": ranked(view.grain, 0.1),
            "checker": _checker(view.patches, view.grain) if view.whole_patches else np.nan,
        }

    def restart(self) -> None:
        self._elsewhere = True


def _sharpness(patches: Image, levels: NDArray[np.float64]) -> Floats:
    """Log of the strongest edges (99th percentile of second differences two pixels apart) over the picture's
    range of grey levels: across and down.

    Means would follow the scene, and after compression the codec's noise; the sharpest edges of a scene are
    the lens's own. ``levels`` is the cumulative histogram of the patches (256)."""
    count, side = patches.shape[:2]
    if side < 5:
        return np.full(2, SOFT, np.float32)
    flat = patches.reshape(-1, side)
    across = cv2.filter2D(flat, cv2.CV_16S, _EDGE)[:, 2:-2]
    down = cv2.filter2D(flat, cv2.CV_16S, _EDGE.T).reshape(count, side, side)[:, 2:-2]
    darkest, brightest = np.searchsorted(levels, (0.01, 0.99))
    strongest = np.array([_strongest(across), _strongest(down.reshape(-1, side))], np.float32)
    return floats(np.log((strongest + 0.5) / (float(brightest - darkest) + 5.0)))


def _strongest(edges: NDArray[Any]) -> float:
    counts = counted(cv2.convertScaleAbs(edges), 256)  # 255 and more is one
    if counts[-2] < 0.99 * edges.size:
        counts = counted(np.abs(edges).astype(np.uint16), 512)
    return float(np.searchsorted(counts, 0.99 * edges.size))


def _checker(patches: Image, grain: Floats) -> float:
    """How much the median patch is a checkerboard of single pixels, over what its noise alone would show."""
    flat = patches.reshape(len(patches), -1).astype(np.float32)
    strength = np.abs(flat @ _CHECKER.ravel()) / flat.shape[1]
    return ranked(strength / (0.15 + grain), 0.5)
