"""Where the checks look in a picture: not into regions that are to be ignored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from engines.frames import Image
from engines.regions import Regions

PATCH_ROWS, PATCH_COLUMNS, PATCH = 6, 8, 24
GRID = 16
"""Patches lie on the grid of a codec's blocks, in pixels, so that its seams are always in the same places."""
SMALL = (96, 144)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """Where to look in pictures of one size.

    side: of a patch, in pixels. corners: patches × 2, top and left of each; one that would touch an ignored region is
    the nearest that does not. hidden: height × width, True where nobody looks; None if everywhere is looked.
    small_hidden, small_beside: places in the small picture, as numbers from its first pixel, that nobody
    looks at, and the nearest ones that are looked at.
    """

    side: int
    corners: NDArray[np.int64]
    hidden: NDArray[np.bool_] | None
    small_hidden: NDArray[np.int64]
    small_beside: NDArray[np.int64]

    def patches(self, luma: Image) -> Image:
        """The patches of a picture: patch × side × side."""
        tops, lefts = self.corners.T
        return cut(luma, tops, lefts, self.side, self.side)

    def small(self, picture: Image) -> Image:
        """The small picture (96 × 144 × 3) with what is beside the ignored regions in their place."""
        if not self.small_hidden.size:
            return picture
        filled = picture.copy()
        pixels = filled.reshape(-1, 3)
        pixels[self.small_hidden] = pixels[self.small_beside]
        return filled


def cut(plane: Image, tops: NDArray[np.int64], lefts: NDArray[np.int64], high: int, wide: int) -> Image:
    """Rectangles of a plane, all of one size: N × high × wide. Taken out of a view of every one that there is, which is
    three times as fast as one by one; one that is not there is an IndexError."""
    height, width = plane.shape
    every = (height - high + 1, width - wide + 1, high, wide)
    return np.asarray(as_strided(plane, every, plane.strides * 2)[tops, lefts])


@lru_cache(maxsize=32)
def sight(ignored: Regions, height: int, width: int) -> Sight:
    """Where to look in pictures of ``height`` × ``width`` pixels."""
    side = max(1, min(PATCH, height // PATCH_ROWS, width // PATCH_COLUMNS))
    grid = GRID if side == PATCH else 1
    tops = ((np.arange(PATCH_ROWS) + 0.5) * height / PATCH_ROWS - side / 2).astype(int) // grid * grid
    lefts = ((np.arange(PATCH_COLUMNS) + 0.5) * width / PATCH_COLUMNS - side / 2).astype(int) // grid * grid
    corners = np.stack([np.repeat(tops, PATCH_COLUMNS), np.tile(lefts, PATCH_ROWS)], axis=1)
    none = np.zeros(0, np.int64)
    if not ignored:
        return Sight(side, corners, None, none, none)
    hidden = ignored.mask(height, width)
    seen = np.array([not hidden[t : t + side, x : x + side].any() for t, x in corners.tolist()])
    if seen.any():
        apart = np.square(corners[:, None] - corners[seen][None]).sum(2)
        corners = corners[seen][apart.argmin(1)]
    return Sight(side, corners, hidden, *_beside(ignored.mask(*SMALL)))


def _beside(hidden: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places of hidden pixels, and of the nearest others to each."""
    # What a scaler makes of the pixels beside a region holds some of it.
    wide = cv2.dilate(hidden.astype(np.uint8), np.ones((3, 3), np.uint8))
    if wide.all():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, labels = cv2.distanceTransformWithLabels(wide, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    places = np.zeros(int(labels.max()) + 1, np.int64)
    clear = np.flatnonzero(wide == 0)
    places[labels.ravel()[clear]] = clear
    inside = np.flatnonzero(wide)
    return inside, places[labels.ravel()[inside]]
