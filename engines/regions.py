"""Parts of the picture that nobody shall look at: the bonnet, a wiper, a clock on the screen.

A region is a list of numbers from 0 to 1, shares of the picture's width and height from its top left corner, so that
it holds at any resolution: ``left, top, right, bottom`` of a rectangle, or the corners ``x, y`` of a polygon, three
or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import ConfigError

Shape: TypeAlias = tuple[float, ...]
Mask: TypeAlias = NDArray[np.bool_]

MOST = 0.9
"""Share of the picture beyond which nothing is left to watch."""
_RASTER, _LEAST_AREA = 512, 1e-6
_SUBPIXEL_BITS = 12


@dataclass(frozen=True, slots=True)
class Regions:
    """What is ignored, as ``parse_regions`` has checked it. False where there is none."""

    shapes: tuple[Shape, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.shapes)

    def mask(self, height: int, width: int) -> Mask:
        """height × width, True where a pixel lies in a region, in part or whole; at slanted edges to a tenth of it."""
        drawn = np.zeros((height, width), np.uint8)
        for shape in self.shapes:
            # OpenCV's whole numbers are centres of pixels, and it draws every pixel whose square an edge enters; those
            # that an edge only touches from outside are none of its.
            corners = _corners(shape) * (width, height)
            inward = np.sign(corners.mean(0) - corners) * 1e-2
            points = np.round((corners + inward - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(drawn, [points], 1, shift=_SUBPIXEL_BITS)
        return np.asarray(drawn, np.bool_)

    @property
    def share(self) -> float:
        """Of the picture."""
        return float(self.mask(_RASTER, _RASTER).mean())

    def joined(self, other: Regions) -> Regions:
        """These and those."""
        return Regions(tuple(dict.fromkeys((*self.shapes, *other.shapes))))


NOWHERE = Regions()


def parse_regions(where: str, shapes: Sequence[Sequence[float]]) -> Regions:
    """Check ``shapes``; raise ConfigError for the first that is none, with its place behind ``where``."""
    for number, shape in enumerate(shapes):
        problem = _problem(shape)
        if problem is not None:
            raise ConfigError(f"{where}[{number}]", *problem)
    regions = Regions(tuple(tuple(float(v) for v in shape) for shape in shapes))
    if regions.share > MOST:
        raise ConfigError(
            where,
            f"must leave something to watch, covers {100 * regions.share:.0f} % of the picture",
            "ignore less, or do not watch this camera",
        )
    return regions


def regions_from_text(where: str, texts: Sequence[str]) -> Regions:
    """Regions as a command line gives them, each like ``0,0.85,1,1``; else as ``parse_regions``."""
    shapes = []
    for number, text in enumerate(texts):
        try:
            shapes.append([float(word) for word in text.split(",")])
        except ValueError as error:
            raise ConfigError(
                f"{where}[{number}]", f"must be numbers with commas between, got {text!r}", _REMEDY
            ) from error
    return parse_regions(where, shapes)


_REMEDY = "for example 0, 0.85, 1, 1 for the lowest 15 %"


def _problem(shape: Sequence[float]) -> tuple[str, str] | None:
    """What is wrong with a region, and what to do."""
    if len(shape) != 4 and (len(shape) < 6 or len(shape) % 2):
        return (
            f"must be left, top, right, bottom, or x, y of three corners or more, got {len(shape)} numbers",
            _REMEDY,
        )
    outside = next((v for v in shape if not 0.0 <= v <= 1.0), None)
    if outside is not None:
        return (
            f"must lie in the picture: shares of its width and height, from 0 to 1, got {outside:g}",
            "divide pixels by the picture's size" if outside > 1 else "correct it",
        )
    if len(shape) == 4 and not (shape[0] < shape[2] and shape[1] < shape[3]):
        given = ", ".join(f"{v:g}" for v in shape)
        return (
            f"must be left, top, right, bottom with left < right and top < bottom, got {given}",
            "correct it",
        )
    corners = _corners(shape)
    if _crosses_itself(corners):
        return "must not cross itself", "name the corners in their order round the region"
    if _area(corners) < _LEAST_AREA:
        return "must have an area, is empty", "correct its corners"
    return None


def _corners(shape: Sequence[float]) -> NDArray[np.float64]:
    """Corners × 2."""
    if len(shape) == 4:
        left, top, right, bottom = shape
        return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return np.array(shape, np.float64).reshape(-1, 2)


def _area(corners: NDArray[np.float64]) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _crosses_itself(corners: NDArray[np.float64]) -> bool:
    edges = list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
    return any(_cross(a, b) for a, b in combinations(edges, 2))


def _cross(
    a: tuple[NDArray[np.float64], NDArray[np.float64]], b: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> bool:
    """Whether two edges cross, each inside the other; corners they share, or that touch, do not count."""

    def side(edge: tuple[NDArray[np.float64], NDArray[np.float64]], point: NDArray[np.float64]) -> float:
        along, to = edge[1] - edge[0], point - edge[0]
        return float(along[0] * to[1] - along[1] * to[0])

    return side(a, b[0]) * side(a, b[1]) < 0 and side(b, a[0]) * side(b, a[1]) < 0
