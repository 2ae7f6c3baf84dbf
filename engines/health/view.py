"""One frame, reduced once for all the checks: patches at the camera's own resolution, and one small picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Frame, Image
from engines.health.sight import PATCH, SMALL, Sight, sight
from engines.regions import Regions

Floats: TypeAlias = NDArray[np.float32]

SKIP, PERIOD_GAIN = 1.6, 0.1
TILES = (8, 12)
FINE, COARSE = (3, 15), (5, 29)
"""Sides of the boxes of pixels that structure is larger, and smaller, than."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What the checks look at.

    sight: where they look. step_s: since the frame before it; 0 for the first. frames: how many places further in the stream. period_s:
    the usual step of late.
    patches: uint8, patch × side × side, a grid of squares at the camera's own resolution. mean, contrast,
    grain: of each patch, in grey levels; contrast is the standard deviation, grain that of the noise, as a mask
    that edges and slopes pass shows it (Immerkær 1996). levels: the share of all their pixels at or below each
    of 256 grey levels. small: uint8, 96 × 144 × 3, RGB, the whole picture; grey:
    the same, float32; structure: of that. tiles: float32, 8 × 12 × 3, its means.
    """

    frame: Frame
    sight: Sight
    step_s: float
    frames: int
    period_s: float
    patches: Image
    mean: Floats
    contrast: Floats
    grain: Floats
    levels: NDArray[np.float64]
    small: Image
    grey: Floats
    structure: Floats
    tiles: Floats

    @property
    def time_s(self) -> float:
        return self.frame.time_s

    @property
    def skips(self) -> bool:
        """True after a gap: what differs from the frame before it may just be later."""
        return self.step_s > SKIP * self.period_s

    @property
    def whole_patches(self) -> bool:
        """False for pictures too small for patches of full size: what needs a codec's grid has no say."""
        return bool(self.patches.shape[1] == PATCH)


def look(frame: Frame, before: View | None, ignored: Regions = Regions()) -> View:
    """Return the view of ``frame``, given that of the frame before it, but for ``ignored`` regions."""
    seen = sight(ignored, *frame.luma.shape)
    patches = seen.patches(frame.luma)
    flat = patches.reshape(len(patches), -1)
    means = floats(cv2.reduce(flat, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F)).ravel()
    values = flat.astype(np.float32)
    power = np.einsum("ij,ij->i", values, values) / np.float32(flat.shape[1])
    contrast = floats(np.sqrt(np.maximum(power - means * means, 0.0)))
    levels = counted(flat, 256) / patches.size
    small = frame.image
    if small.shape[:2] != SMALL:
        small = np.asarray(cv2.resize(small, SMALL[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    small = seen.small(small)
    grey = floats(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
    tiles = floats(cv2.resize(small, TILES[::-1], interpolation=cv2.INTER_AREA))
    step_s = 0.0 if before is None else frame.time_s - before.frame.time_s
    frames = 0 if before is None else max(1, frame.index - before.frame.index)
    period_s = step_s if before is None or not before.period_s else before.period_s
    period_s += PERIOD_GAIN * (min(step_s, 2.0 * period_s) - period_s)
    return View(
        frame,
        seen,
        step_s,
        frames,
        period_s,
        patches,
        means,
        contrast,
        _grain(patches),
        levels,
        small,
        grey,
        structure(grey),
        tiles,
    )


def floats(array: object) -> Floats:
    """OpenCV's result as float32."""
    return np.asarray(array, np.float32)


def structure(grey: Floats, blurs: tuple[int, int] = COARSE) -> Floats:
    """The picture without its finest detail, which moves too much, and without its coarsest, which is light."""
    least, most = blurs
    return floats(cv2.blur(grey, (least, least)) - cv2.blur(grey, (most, most)))


def counted(values: NDArray[Any], bins: int) -> NDArray[np.float64]:
    """How many of ``values`` (N × M) are 0, at most 1, … at most ``bins`` - 1."""
    return np.cumsum(cv2.calcHist([values], [0], None, [bins], [0, bins]), dtype=np.float64)


def mean_of(values: Floats) -> float:
    """Mean of all, NaN of none; numpy's own takes three times as long for as few as there are here."""
    return float(values.sum()) / values.size if values.size else math.nan


def share_of(mask: NDArray[np.bool_]) -> float:
    """Share of what is True, NaN of nothing."""
    return np.count_nonzero(mask) / mask.size if mask.size else math.nan


def ranked(values: Floats, share: float) -> float:
    """The value above which ``1 - share`` of the others lie, NaN of none: a quantile without interpolation, far cheaper."""
    return float(np.sort(values, axis=None)[int(share * (values.size - 1))]) if values.size else math.nan


def _grain(patches: Image) -> Floats:
    count, side = patches.shape[:2]
    if side < 3:
        return np.zeros(count, np.float32)
    # The mask of Immerkær is the second difference down, and of that the one across, of rows that lie end to end: what
    # reaches from one into the next does not count.
    flat = patches.reshape(count, -1).astype(np.int16)
    down = flat[:, 2 * side :] + flat[:, : -2 * side] - 2 * flat[:, side:-side]
    fine = np.abs(down[:, 2:] + down[:, :-2] - 2 * down[:, 1:-1]).astype(np.float32)
    within = np.arange(fine.shape[1]) % side < side - 2
    return floats(fine @ floats(within * (math.sqrt(math.pi / 2) / 6 / (side - 2) ** 2)))
