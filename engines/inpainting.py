"""What an encoder sees in the place of an ignored region: nothing but what surrounds it.

Each hidden pixel becomes the mean of the region's rim, weighted by the inverse square of the distance (Shepard 1968):
smooth, the same for the same surroundings, and free of what is in the region, which can therefore not move a score by
anything. What is taught must be filled as what is watched: a filled picture is another picture."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Frame, Image
from engines.regions import Regions

LEAK_PX = 3
"""How far, in pixels of the camera, the inside of a region reaches out of it: colours have half the size, and scalers
look to the side."""


class Inpainting:
    """Hides ``regions`` in the pictures of one stream; each size of picture is prepared once."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._size: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._hidden: NDArray[np.int64] = np.zeros(0, np.int64)
        self._rim = self._hidden
        self._weights: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def image(self, frame: Frame) -> Image:
        """The picture for the encoder: ``frame.image`` with the regions filled, itself where there are none."""
        if not self._regions:
            return frame.image
        size = (frame.image.shape, frame.luma.shape)
        if size != self._size:
            self._prepare(*size)
            self._size = size
        filled = frame.image.copy()
        pixels = filled.reshape(-1, 3)
        pixels[self._hidden] = np.rint(self._weights @ pixels[self._rim].astype(np.float32))
        return filled

    def _prepare(self, reduced: tuple[int, ...], own: tuple[int, ...]) -> None:
        mask = self._regions.mask(reduced[0], reduced[1]).astype(np.uint8)
        # A reduced pixel is made of all that it covers, and of what the scaler takes from beside it.
        reach = math.ceil(LEAK_PX * max(reduced[0] / own[0], reduced[1] / own[1]))
        hidden = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=reach)
        rim = cv2.dilate(hidden, np.ones((3, 3), np.uint8)) - hidden
        self._hidden, self._rim = np.flatnonzero(hidden), np.flatnonzero(rim)
        inside, around = (np.argwhere(m).astype(np.float32) for m in (hidden, rim))
        closeness = 1.0 / ((inside[:, None] - around[None]) ** 2).sum(2)
        self._weights = closeness / closeness.sum(1, keepdims=True)
