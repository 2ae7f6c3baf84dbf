"""What is on the glass, or wrong with it: dirt, drops, ice, mist, cracks, and whatever is held in front of it.

All of it stays where it is while the scene moves behind it, which tells it from fog and snow."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InputError
from engines.faults.layers import Layer, clipped, cloudy, layer, shorter
from engines.frames import Image

ONSET_S = 8.0
"""How long condensation takes to come over the lens in a clip."""


def covered_share(mode: str, size: tuple[int, int], severity: int, seed: int = 0) -> float:
    """Return which share of a (width, height) picture ``covered`` or ``mud`` hides at a severity and seed."""
    make = {"covered": _cover, "mud": _splashes}.get(mode)
    if make is None:
        raise InputError(f"fault {mode}", "must be covered or mud to have a covered share")
    return make(size[1], size[0], severity, seed).hidden


def mud(image: Image, severity: int, seed: int) -> Image:
    """Splashes of mud."""
    return _splashes(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=8)
def _splashes(height: int, width: int, severity: int, seed: int) -> Layer:
    """Smooth noise over a threshold, so that worse mud contains milder mud."""
    rng = np.random.default_rng(seed)
    share = (0.08, 0.2, 0.38, 0.6, 0.85)[severity - 1]
    field = (
        cloudy(rng, height, width, 5)
        + 0.35 * cloudy(rng, height, width, 14)
        + 0.12 * cloudy(rng, height, width, 40)
    )
    edge = np.float32(np.quantile(field, 1 - share))
    soft = np.clip((field - edge) / 0.05 + 0.5, 0, 1).astype(np.float32)
    alpha = cv2.GaussianBlur(soft * np.float32(0.985), (0, 0), max(height * 0.004, 0.3))
    grain = 0.7 + 0.45 * cloudy(rng, height, width, 30)
    return layer(alpha, grain[..., None] * np.array((62.0, 46.0, 31.0), np.float32))


def covered(image: Image, severity: int, seed: int) -> Image:
    """A hand, a bag or tape from one side: an uneven edge, out of focus for it is so near."""
    return _cover(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=8)
def _cover(height: int, width: int, severity: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    reach = (0.15, 0.35, 0.6, 0.85, 1.4)[severity - 1]
    count = 9
    along = np.linspace(-0.2, 1.2, count)
    depth = reach + rng.normal(0, 0.035, count) * min(1.0, reach * 3)
    points = np.concatenate([np.stack([along, depth], 1), [[1.2, -0.3], [-0.2, -0.3]]])
    side = int(rng.integers(4))
    if side % 2:
        points = points[:, ::-1]
    if side >= 2:
        points = 1 - points
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(points * (width, height)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), max(height * 0.018, 0.5))
    skin, bag, tape = (112.0, 74.0, 62.0), (46.0, 47.0, 52.0), (128.0, 122.0, 108.0)
    tone = np.array((skin, bag, tape)[int(rng.integers(3))], np.float32)
    shade = 0.75 + 0.5 * cloudy(rng, height, width, 3)
    return layer(soft, shade[..., None] * tone)


def frost(image: Image, severity: int, seed: int) -> Image:
    """Ice that grows from the rim inwards, in needles."""
    return _ice(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=8)
def _ice(height: int, width: int, severity: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    share = (0.12, 0.28, 0.5, 0.75, 1.0)[severity - 1]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    rim = np.maximum(np.abs(x), np.abs(y))
    needles = sum(
        weight * (1 - np.abs(2 * cloudy(rng, height, width, cells) - 1))
        for weight, cells in ((0.5, 9), (0.3, 22), (0.2, 55))
    )
    field = rim + 0.9 * needles
    edge = np.quantile(field, 1 - share)
    alpha = np.clip((field - edge) / 0.35 + 0.15, 0, 1) * (0.55 + 0.45 * needles)
    bright = 178 + 70 * cloudy(rng, height, width, 70) * needles
    return layer(
        np.clip(alpha * (0.8 + 0.2 * share), 0, 0.97), bright[..., None] * np.array((0.96, 0.99, 1.02))
    )


def condensation(image: Image, severity: int, seed: int, time_s: float = math.inf) -> Image:
    """Mist on the lens: blurred and grey where it is thick; in a clip it comes within ``ONSET_S``."""
    thick = (0.25, 0.45, 0.65, 0.85, 0.98)[severity - 1] * min(1.0, 0.15 + time_s / ONSET_S)
    height, width = image.shape[:2]
    alpha = np.minimum(_mist(height, width, seed) * thick * 1.35, 1.0)[..., None]
    soft = _softened(image, 1.2 + 22 * thick)
    veiled = soft.astype(np.float32) * (1 - 0.6 * thick) + 0.6 * thick * 190
    return clipped(image + alpha * (veiled - image))


@lru_cache(maxsize=8)
def _mist(height: int, width: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    coarse, fine = cloudy(rng, height, width, 3), cloudy(rng, height, width, 9)
    return np.asarray(0.55 + 0.45 * coarse * (0.7 + 0.3 * fine), np.float32)


def _softened(image: Image, per_mille: float) -> Image:
    """Return ``image`` under a Gaussian of so many thousandths of its shorter side, made small where it may be."""
    sigma = shorter(image) * per_mille / 1000
    height, width = image.shape[:2]
    step = max(1, int(sigma / 2))
    small = cv2.resize(image, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma / step, 0.2))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


class Refraction(NamedTuple):
    """Glass that bends light: where each pixel's light comes from (as cv2.remap takes it), and what lies on top."""

    maps: tuple[NDArray[Any], NDArray[Any]]
    surface: Layer

    def over(self, image: Image) -> Image:
        bent = cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return self.surface.over(bent)  # type: ignore[arg-type]


def water_drops(image: Image, severity: int, seed: int) -> Image:
    """Drops, each of which shows the scene small and upside down."""
    return _drops(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=4)
def _drops(height: int, width: int, severity: int, seed: int) -> Refraction:
    rng = np.random.default_rng(seed)
    count = (8, 20, 45, 100, 260)[severity - 1]
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    alpha, colour = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    size = min(height, width)
    for place_x, place_y, draw in rng.random((260, 3))[:count]:
        radius = size * (0.02 + 0.06 * draw**2.5)
        cx, cy = place_x * width, place_y * height
        left, top = max(0, int(cx - radius)), max(0, int(cy - radius))
        box = (slice(top, int(cy + radius) + 2), slice(left, int(cx + radius) + 2))
        y, x = np.mgrid[box[0].start : min(box[0].stop, height), left : min(box[1].stop, width)].astype(
            np.float32
        )
        dx, dy = (x - cx) / radius, (y - cy) / radius
        rho = np.hypot(dx, dy * (1 - 0.12 * dy))
        inside = rho < 1
        bend = radius * (1.2 + 2.5 * rho**2)
        across[box] = np.where(inside, cx - dx * bend, across[box])
        down[box] = np.where(inside, cy - dy * bend, down[box])
        rim = np.clip((1 - rho) * radius, 0, 1) * (0.12 + 0.5 * rho**5)
        shine = np.clip(1.4 - 4.5 * np.hypot(dx + 0.35, dy + 0.4), 0, 1) * 0.7
        alpha[box] = np.where(inside, np.maximum(rim, shine), alpha[box])
        colour[box] = np.where(inside, np.where(shine > rim, 245, 30), colour[box])
    return Refraction(cv2.convertMaps(across, down, cv2.CV_16SC2), layer(alpha, colour[..., None]))


def broken_lens(image: Image, severity: int, seed: int) -> Image:
    """Cracks from where a stone hit, and shards that each bend the light a little otherwise."""
    return _cracks(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=4)
def _cracks(height: int, width: int, severity: int, seed: int) -> Refraction:
    rng = np.random.default_rng(seed)
    size = min(height, width)
    spokes, reach, slip = (
        (5, 0.3, 0.004), (8, 0.6, 0.008), (12, 1.0, 0.014), (18, 1.5, 0.024), (28, 2.2, 0.045)
    )[severity - 1]  # fmt: skip
    impact = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height])
    angles = np.sort((np.arange(spokes) + rng.uniform(-0.4, 0.4, spokes)) * 2 * np.pi / spokes)
    radii = np.concatenate([[0.0], np.cumsum(rng.uniform(0.4, 1.6, 9))])
    radii *= reach * size / radii[-1]
    wobble = rng.normal(0, 0.05, (spokes, 10))
    web = impact + radii[:, None] * np.stack(
        [np.cos(angles[:, None] + wobble), np.sin(angles[:, None] + wobble)], -1
    )
    lines: list[NDArray[np.float64]] = list(web)
    for ring in (2, 4, 6, 8):
        chain = web[:, ring]
        lines += [np.stack([chain[n - 1], chain[n]]) for n in range(spokes) if rng.random() < 0.7]
    alpha, colour = _drawn(height, width, lines, max(1, round(size / 300)))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    sector = np.searchsorted(angles, np.arctan2(y - impact[1], x - impact[0]) % (2 * np.pi)) % spokes
    far = np.hypot(x - impact[0], y - impact[1])
    ring = np.minimum(np.searchsorted(radii[[0, 2, 4, 6, 8]], far), 5)
    shift = rng.normal(0, slip * size, (spokes, 6, 2)).astype(np.float32)
    shift *= np.linspace(1.4, 0.5, 6, dtype=np.float32)[:, None]
    shift[:, -1] *= min(1.0, reach / 2)
    bent = shift[sector, ring]
    maps = cv2.convertMaps(x + bent[..., 0], y + bent[..., 1], cv2.CV_16SC2)
    return Refraction(maps, layer(alpha, colour[..., None]))


def _drawn(
    height: int, width: int, lines: list[NDArray[np.float64]], thick: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return opacity and grey of cracks: a light edge beside a dark one."""
    dark, light = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    for canvas, offset in ((dark, thick * 0.8), (light, 0.0)):
        drawn = [np.rint((line + offset) * 16).astype(np.int32) for line in lines]
        cv2.polylines(canvas, drawn, False, 255, thick, cv2.LINE_AA, 4)
    alpha = np.maximum(light * np.float32(0.85), dark * np.float32(0.6)) / 255
    return alpha, np.where(light >= dark, 225, 25).astype(np.float32)
