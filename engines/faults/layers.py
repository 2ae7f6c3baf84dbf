"""What faults are painted with: smooth noise, and layers that hide some of the scene and add their own light."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image


def clipped(image: NDArray[Any]) -> Image:
    """Round to uint8, with what is out of range at its ends."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def cloudy(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float32]:
    """Return smooth noise in 0..1 with about ``cells`` blobs across the width; the same blobs at any size."""
    grid = rng.random((cells * 2 // 3 + 2, cells + 2), np.float32)
    return np.clip(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)


def rough(
    rng: np.random.Generator,
    height: int,
    width: int,
    octaves: tuple[tuple[float, int], ...],
    ridges: bool = False,
) -> NDArray[np.float32]:
    """Return the sum of weight × cloudy noise over (weight, cells); ``ridges`` folds each into sharp crests."""
    total = np.zeros((height, width), np.float32)
    for weight, cells in octaves:
        cloud = cloudy(rng, height, width, cells)
        total += np.float32(weight) * (1 - np.abs(2 * cloud - 1) if ridges else cloud)
    return total


class Layer(NamedTuple):
    """Something on the glass: through (0..255) of the scene passes, covering is added. Both H × W × 3 uint8."""

    through: Image
    covering: Image

    @property
    def hidden(self) -> float:
        """The share of the picture that it hides."""
        return 1.0 - float(self.through.mean()) / 255

    def over(self, image: Image) -> Image:
        """Return ``image`` × through + covering."""
        return cv2.add(cv2.multiply(image, self.through, scale=1 / 255), self.covering)  # type: ignore[return-value]

    def lit_over(self, image: Image) -> Image:
        """The same for what has no light of its own: at night it is as dark as the scene."""
        light = ambient(image)
        covering = self.covering if light == 1 else cv2.convertScaleAbs(self.covering, alpha=light)
        return Layer(self.through, covering).over(image)  # type: ignore[arg-type]


def ambient(image: Image) -> float:
    """Return how much light a scene sheds on the glass: 1 by day, less where its mean is below 70."""
    return min(1.0, 0.22 + sum(cv2.mean(image)[:3]) / 3 / 90)


def layer(alpha: NDArray[Any], colour: NDArray[Any]) -> Layer:
    """Return the layer of an opacity (H × W, 0..1) and a colour (H × W × 3 or 3, 0..255)."""
    wide = np.repeat(alpha[..., None], 3, axis=2)
    return Layer(clipped(255 * (1 - wide)), clipped(wide * colour))


def shorter(image: Image) -> int:
    """The shorter side in pixels: the length that sizes of faults are shares of."""
    return int(min(image.shape[0], image.shape[1]))
