"""The ground: a painted strip of road, laid in perspective under the camera and pulled past it.

The strip is painted at several scales, each for one band of depths, with the footprint of a pixel there:
half as fine across and a quarter as fine along from one to the next, because that is how perspective shrinks
a road. So lane markings neither shimmer far away nor blur near by.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered.look import Look
from engines.rendered.nature import ground_noise
from engines.rendered.view import Camera, View

Field = NDArray[Any]
Painter = Callable[["Strip"], Field]

PERIOD_M = 72.0
_BAND_M = 12.0
_LEVELS = 5
_WIDE_PX = 1024
_LONG_PX = 864


class Strip:
    """One scale of the painted road: x (1 × W) and z (H × 1) in metres, pixels per metre, and grain (H × W,
    -1..1)."""

    def __init__(self, level: int, grain: Field) -> None:
        reach = _BAND_M * 2**level
        self.across, self.along = _WIDE_PX / (2 * reach), max(4, _LONG_PX >> (2 * level)) / PERIOD_M
        count = max(4, _LONG_PX >> (2 * level))
        self.x = ((np.arange(_WIDE_PX, dtype=np.float32) + 0.5) / self.across - reach)[None, :]
        self.z = ((np.arange(count, dtype=np.float32) + 0.5) / self.along)[:, None]
        small = cv2.resize(grain, (_WIDE_PX >> level, count), interpolation=cv2.INTER_AREA)
        self.grain = np.tile(small, (1, 1 << level))

    def line(self, x: float, width_m: float) -> Field:
        """Return the cover (0..1) of a line along the road."""
        return _overlap(self.x, x, width_m, self.across)

    def dashes(self, x: float, width_m: float, dash_m: float, every_m: float, from_m: float = 0.0) -> Field:
        """Return the cover of a dashed line; ``every_m`` must divide the period."""
        phase = (self.z - from_m) % every_m
        along = sum(
            _overlap(phase, dash_m / 2 + shift, dash_m, self.along) for shift in (-every_m, 0, every_m)
        )
        return self.line(x, width_m) * along

    def between(self, left: float, right: float) -> Field:
        """Return the cover of everything between two lines along the road."""
        return _overlap(self.x, (left + right) / 2, right - left, self.across)


def _overlap(place: Field, centre: float, width: float, per_m: float) -> Field:
    """Return the share of each sample, 1 / per_m wide, that lies within ``width`` round ``centre``."""
    half = 0.5 / per_m
    low = np.maximum(place - half, centre - width / 2)
    high = np.minimum(place + half, centre + width / 2)
    return np.clip((high - low) * per_m, 0, 1)


def lay(
    base: NDArray[Any], cover: NDArray[Any], colour: NDArray[Any] | tuple[float, float, float]
) -> NDArray[Any]:
    """Return ``base`` (H × W × 3) with a colour laid on where ``cover`` (0..1) says."""
    columns = np.flatnonzero(np.broadcast_to(cover, (cover.shape[0], base.shape[1])).any(axis=0))
    share = np.broadcast_to(cover, base.shape[:2])[:, columns, None]
    result = base.copy()
    result[:, columns] = base[:, columns] * (1 - share) + np.asarray(colour, np.float32) * share
    return result


def tarmac(strip: Strip, look: Look, left: float, right: float, lane_m: float) -> NDArray[Any]:
    """Return the colour of a worn road surface: wheel tracks, an oily middle, patches, seams, grain."""
    lanes = (strip.x - left) % lane_m - lane_m / 2
    wheels = np.exp(-(((np.abs(lanes) - 0.85) / 0.3) ** 2))
    oil = np.exp(-((lanes / 0.32) ** 2))
    level = 1.0 - 0.05 * wheels - 0.06 * oil + 0.13 * strip.grain
    patch = strip.between(left + lane_m * 0.1, left + lane_m * 0.9) * ((strip.z > 22) & (strip.z < 31))
    level = level - 0.10 * patch - 0.10 * strip.line(right - lane_m * 0.98, 0.06)
    return level[..., None] * np.array(look.asphalt, np.float32)  # type: ignore[no-any-return]


def meadow(strip: Strip, look: Look) -> NDArray[Any]:
    """Return the colour of grass, with dry and mown patches."""
    level = 0.94 + 0.34 * strip.grain
    dry = 0.2 + 0.2 * strip.grain[::-1]
    field = level[..., None] * np.array(look.grass, np.float32)
    return lay(field, dry, (150.0, 140.0, 88.0))


class Ground:
    """A strip of road and how it is lit. ``lamps``: light of head lamps instead of the sun's."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera, painter: Painter) -> None:
        self._camera = camera
        grain = ground_noise(rng, _LONG_PX, _WIDE_PX)
        strips = [Strip(level, grain) for level in range(_LEVELS)]
        self._textures = [np.clip(painter(strip), 0, 255).astype(np.uint8) for strip in strips]
        self._scales = [(strip.across, strip.along) for strip in strips]
        self._depths = camera.row_depths()
        level = np.clip(np.floor(np.log2(np.maximum(self._depths, 1) / _BAND_M)) + 1, 0, _LEVELS - 1)
        self._bands = [np.flatnonzero(level == number) for number in range(_LEVELS)]
        columns = np.arange(camera.width, dtype=np.float32) + 0.5 - camera.centre_x
        self._across = columns[None, :] * (self._depths / camera.focal)[:, None]
        self._maps = np.empty((2, *self._across.shape), np.float32)
        self._gain, self._veil = _light(look, camera, self._depths, self._across)

    def draw(self, canvas: Image, view: View) -> None:
        """Paint the rows below the horizon."""
        bend = view.bends(self._depths).astype(np.float32)
        along = ((view.distance_m + self._depths.astype(np.float64)) % PERIOD_M).astype(np.float32)
        across, down = self._maps
        np.subtract(self._across, bend[:, None], out=across)
        first = self._camera.first_row
        for rows, art, (per_x, per_z) in zip(self._bands, self._textures, self._scales, strict=True):
            if rows.size == 0:
                continue
            part = slice(int(rows[0]), int(rows[-1]) + 1)
            across[part] *= per_x
            across[part] += art.shape[1] / 2 - 0.5
            down[part] = (along[part] * per_z - 0.5)[:, None]
            canvas[first + part.start : first + part.stop] = cv2.remap(
                art, across[part], down[part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
            )
        ground = canvas[first:]
        cv2.multiply(ground, self._gain, ground, scale=1 / 255)
        cv2.add(ground, self._veil, ground)


def _light(look: Look, camera: Camera, depths: Field, across: Field) -> tuple[Image, Image]:
    """Return (gain, veil): what the haze, or the dark beyond the head lamps, leaves of the ground and adds
    to it."""
    lost = 1 - np.exp(-depths / look.haze_m)[:, None]
    keep = np.broadcast_to(1 - lost, across.shape)
    if look.dark:
        beam = np.exp(-((across / (1.6 + 0.16 * depths[:, None])) ** 2))
        near = 1 / (1 + (depths[:, None] / 26) ** 2.2)
        keep = near * (0.10 + 0.72 * beam)
        lost = np.zeros_like(lost)
    veil = np.broadcast_to(lost[..., None] * np.array(look.haze, np.float32), (*across.shape, 3))
    gain = np.repeat(np.clip(keep * 255, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return gain, np.ascontiguousarray(veil.astype(np.uint8))
