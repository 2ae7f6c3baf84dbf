"""How one small picture is laid out to another: mirrored, rolled and shifted, magnified or bent.

Every way is tried in pictures of half the size, and the best of each kind then measured in the whole ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TypeAlias, TypeVar

import cv2
import numpy as np

from engines.health.scene import likeness
from engines.health.view import COARSE, FINE, Floats, floats, structure

FLIPS = (-1, 0, 1)
ROLLS_DEG = tuple(range(-24, 25, 4))
ZOOMS = tuple(1.06**n for n in range(5, 30))
BENDS = (-0.3, -0.2, 0.13, 0.2, 0.28, 0.38, 0.5, 0.7, 1.0, 1.4)
FORWARD = tuple(1.06**n for n in range(5))
"""Magnifications from one frame to the next that driving alone may give."""
LEAST_OVERLAP = 0.4
LEAST_MOVE, LEAST_ROLL_DEG = 0.035, 3.0
"""Share of the picture's width, or degrees, by which a camera must have moved: a bump is less."""

Lay: TypeAlias = Callable[[Floats], tuple[Floats, Floats]]
"""Lays a picture out anew; returns it and where it shows something (0 to 1)."""
Way = TypeVar("Way")


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A small picture, and the one after it: float32 grey levels, and the structure of the latter. blurs: what makes
    structure."""

    before: Floats
    now: Floats
    target: Floats
    blurs: tuple[int, int] = COARSE

    def halved(self) -> Pair:
        size = self.before.shape[1] // 2, self.before.shape[0] // 2
        before, now = (
            floats(cv2.resize(p, size, interpolation=cv2.INTER_AREA)) for p in (self.before, self.now)
        )
        return Pair(before, now, structure(now, FINE), FINE)

    def alike(self, laid: Floats, inside: Floats | None = None) -> float:
        """How alike they are once the one before is ``laid`` out so, where it shows something."""
        made = structure(laid, self.blurs)
        return (
            likeness(made, self.target) if inside is None else likeness(made * inside, self.target * inside)
        )


@dataclass(frozen=True, slots=True)
class Laid:
    """By driving alone, and in each way at its best: how alike the pictures are then, and how that lays one out."""

    driving: float
    alike: dict[str, float]
    lay: dict[str, Lay]


def lays(pair: Pair) -> Laid:
    """Find how the picture before must be laid out to look like the one after it."""
    half = pair.halved()
    flipped, _ = _best(product(FLIPS, FORWARD), _flipped, half, pair)
    roll = max(ROLLS_DEG, key=lambda degrees: _moved(half, degrees)[0])
    moved, move = _moved(pair, roll)
    magnified, _ = _best(ZOOMS, _zoomed, half, pair)
    bent, k1 = _best(BENDS, _bent, half, pair)
    return Laid(
        max(_zoomed(pair, zoom) for zoom in FORWARD),
        {"flipped": flipped, "moved": moved, "magnified": magnified, "bent": bent},
        {"moved": _moving(move), "bent": _bending(k1)},
    )


def _best(
    ways: Iterable[Way], measured: Callable[[Pair, Way], float], half: Pair, pair: Pair
) -> tuple[float, Way]:
    best = max(ways, key=lambda way: measured(half, way))
    return measured(pair, best), best


def _flipped(pair: Pair, way: tuple[int, float]) -> float:
    code, zoom = way
    return pair.alike(_magnified(floats(cv2.flip(pair.before, code)), zoom))


def _zoomed(pair: Pair, zoom: float) -> float:
    return pair.alike(_magnified(pair.before, zoom))


def _bent(pair: Pair, k1: float) -> float:
    """How alike they are, away from the corners that stay dark then."""
    across, down, inside = _bend(k1, pair.before.shape)
    return pair.alike(_remapped(pair.before, across, down), inside)


def _moved(pair: Pair, degrees: float) -> tuple[float, Floats]:
    """How alike they are once the one before is rolled by so much and shifted at its best, where both show something,
    and how that is (2 × 3, as cv2.warpAffine takes it); 0 for a move that a bump may make."""
    shape = pair.before.shape
    window = cv2.createHanningWindow(shape[::-1], cv2.CV_32F)
    turn = cv2.getRotationMatrix2D(_middle(shape), degrees, 1.0)
    turned = structure(_warped(pair.before, turn), pair.blurs)
    (across, down), _ = cv2.phaseCorrelate(turned * window, pair.target * window)
    turn[:, 2] += np.array([across, down])
    if abs(degrees) <= LEAST_ROLL_DEG and math.hypot(across, down) <= LEAST_MOVE * shape[1]:
        return 0.0, floats(turn)
    inside = floats(cv2.warpAffine(np.ones(shape, np.float32), turn, shape[::-1]))
    if inside.mean() < LEAST_OVERLAP:
        return 0.0, floats(turn)
    return max(0.0, pair.alike(_warped(pair.before, turn), inside)), floats(turn)


def _moving(how: Floats) -> Lay:
    """To roll and shift, as cv2.warpAffine takes it."""

    def lay(picture: Floats) -> tuple[Floats, Floats]:
        inside = floats(cv2.warpAffine(np.ones(picture.shape, np.float32), how, picture.shape[::-1]))
        return _warped(picture, how) * inside, inside

    return lay


def _bending(k1: float) -> Lay:
    """To bend, away from the corners that stay dark then."""

    def lay(picture: Floats) -> tuple[Floats, Floats]:
        across, down, inside = _bend(k1, picture.shape)
        return _remapped(picture, across, down) * inside, inside

    return lay


def _magnified(picture: Floats, zoom: float) -> Floats:
    return _warped(picture, cv2.getRotationMatrix2D(_middle(picture.shape), 0.0, zoom))


def _warped(picture: Floats, how: np.ndarray) -> Floats:
    return floats(cv2.warpAffine(picture, how, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT_101))


def _remapped(picture: Floats, across: Floats, down: Floats) -> Floats:
    return floats(cv2.remap(picture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _middle(shape: tuple[int, ...]) -> tuple[float, float]:
    return (shape[1] - 1) / 2, (shape[0] - 1) / 2


@lru_cache(maxsize=2 * len(BENDS))
def _bend(k1: float, shape: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """Barrel distortion (k1 of the half diagonal; the left and right edges held in place at half their height), as
    cv2.remap takes it, and where it shows something, less a margin."""
    y, x = np.indices(shape, np.float32)
    (middle_x, middle_y), margin = _middle(shape), shape[0] // 10 | 1
    x, y = x - middle_x, y - middle_y
    diagonal, edge = float(x[0, 0] ** 2 + y[0, 0] ** 2), float(x[0, 0] ** 2)
    pull = (1 + k1 * (x * x + y * y) / diagonal) / (1 + k1 * edge / diagonal)
    across, down = floats(x * pull + middle_x), floats(y * pull + middle_y)
    shown = (down >= 0) & (down <= 2 * middle_y) & (across >= 0) & (across <= 2 * middle_x)
    inside = cv2.erode(shown.astype(np.uint8), np.ones((margin, margin), np.uint8), borderValue=1)
    return across, down, floats(inside)
