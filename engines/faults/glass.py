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
from engines.faults.layers import Layer, ambient, cloudy, layer, rough, shorter
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
    return _splashes(image.shape[0], image.shape[1], severity, seed).lit_over(image)


@lru_cache(maxsize=4)
def _splashes(height: int, width: int, severity: int, seed: int) -> Layer:
    """A landscape of clots and splatters over a water level, so that worse mud contains milder mud."""
    rng = np.random.default_rng(seed)
    share = (0.06, 0.18, 0.36, 0.6, 0.86)[severity - 1]
    clots = rough(rng, height, width, ((1.0, 5), (0.4, 14), (0.22, 45)))
    clots -= clots.min()
    clots /= clots.max()
    splatters = np.zeros((height, width), np.float32)
    for x, y, draw, thick in sorted(rng.random((260, 4)).tolist(), key=lambda splatter: splatter[3]):
        radius = min(height, width) * (0.006 + 0.05 * draw**5)
        centre = (round(x * width * 16), round(y * height * 16))
        cv2.circle(splatters, centre, round(radius * 16), 0.3 + 0.65 * thick, -1, cv2.LINE_8, 4)
    cv2.GaussianBlur(splatters, (0, 0), max(height * 0.006, 0.4), splatters)
    field = np.maximum(clots, splatters)
    deep = field - np.float32(np.quantile(field, 1 - share))
    sharp = np.clip(deep / 0.03 + 0.5, 0, 1) * np.clip(0.8 + deep / 0.25, 0.8, 0.99)
    alpha = cv2.GaussianBlur(sharp.astype(np.float32), (0, 0), max(height * 0.003, 0.3))
    grain = 0.75 + 0.35 * cloudy(rng, height, width, 25) + 0.2 * cloudy(rng, height, width, 90)
    dried = 1.25 - np.clip(deep / 0.2, 0, 0.35)  # where it is thin, and lighter
    return layer(alpha, (grain * dried)[..., None] * np.array((66.0, 50.0, 34.0), np.float32))


def covered(image: Image, severity: int, seed: int) -> Image:
    """A hand, a bag or tape from one side: an uneven edge, out of focus for it is so near."""
    return _cover(image.shape[0], image.shape[1], severity, seed).lit_over(image)


@lru_cache(maxsize=4)
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
    return _ice(image.shape[0], image.shape[1], severity, seed).lit_over(image)


@lru_cache(maxsize=4)
def _ice(height: int, width: int, severity: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    share = (0.12, 0.28, 0.5, 0.78, 1.0)[severity - 1]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    rim = np.maximum(np.abs(x), np.abs(y))
    needles = rough(rng, height, width, ((0.5, 9), (0.3, 22), (0.2, 55)), ridges=True)
    # Crystals grow inwards: streaks along the radius, from noise that is fine around and coarse along it.
    bent = np.arctan2(y, x) / (2 * math.pi) + 0.5 + 0.12 * (cloudy(rng, height, width, 6) - 0.5)
    around = (bent % 1.0).astype(np.float32) * 1023
    along = np.clip(rim + 0.25 * needles, 0, 1.25).astype(np.float32) * 50
    grid = rough(rng, 64, 1024, ((1.0, 190),), ridges=True)
    streaks = cv2.remap(cv2.resize(grid[:10], (1024, 64)), around, along, cv2.INTER_LINEAR)
    needles = 0.68 * needles + 0.32 * streaks
    field = rim + 0.9 * needles
    edge = np.quantile(field, 1 - share)
    alpha = np.clip((field - edge) / 0.35 + 0.15, 0, 1) * (0.5 + 0.5 * needles)
    bright = 170 + 80 * cloudy(rng, height, width, 70) * needles
    return layer(
        np.clip(alpha * (0.8 + 0.3 * share), 0, 0.97), bright[..., None] * np.array((0.95, 0.99, 1.03))
    )


def condensation(image: Image, severity: int, seed: int, time_s: float = math.inf) -> Image:
    """Mist on the lens: blurred and milky where it is thick; in a clip it comes within ``ONSET_S``."""
    thick = (0.27, 0.42, 0.6, 0.78, 1.0)[severity - 1] * min(1.0, 0.15 + time_s / ONSET_S)
    height, width = image.shape[:2]
    alpha = np.clip((_mist(height, width, seed) - 1 + 1.55 * thick) / 0.55, 0, 1) * np.float32(
        min(1.0, 0.45 + 0.8 * thick)
    )
    veil = 0.25 + 0.57 * thick
    misty = cv2.convertScaleAbs(
        _softened(image, 6 + 24 * thick), alpha=1 - veil, beta=200 * ambient(image) * veil
    )
    return cv2.blendLinear(image, misty, 1 - alpha, alpha)  # type: ignore[return-value]


@lru_cache(maxsize=4)
def _mist(height: int, width: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    coarse, fine = cloudy(rng, height, width, 3), cloudy(rng, height, width, 9)
    mist = np.asarray(0.7 * coarse + 0.3 * fine, np.float32)
    return (mist - mist.min()) / np.ptp(mist)  # type: ignore[no-any-return]


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
        return self.surface.lit_over(bent)  # type: ignore[arg-type]


class Drops(NamedTuple):
    """Drops of water: what is seen through them (a Refraction of a softened picture), and how much of it (0..1)."""

    glass: Refraction
    share: NDArray[np.float32]

    def over(self, image: Image) -> Image:
        through = self.glass.over(_softened(image, 5.0))
        return cv2.blendLinear(image, through, 1 - self.share, self.share)  # type: ignore[return-value]


def water_drops(image: Image, severity: int, seed: int) -> Image:
    """Drops, each of which shows the scene small, upside down and out of focus."""
    return _drops(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=2)
def _drops(height: int, width: int, severity: int, seed: int) -> Drops:
    rng = np.random.default_rng(seed)
    count, largest = ((6, 0.06), (18, 0.07), (50, 0.085), (130, 0.1), (420, 0.13))[severity - 1]
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    share, alpha, colour = (np.zeros((height, width), np.float32) for _ in range(3))
    size = min(height, width)
    for place_x, place_y, draw, lobe, turn in rng.random((420, 5))[:count]:
        radius = size * (0.014 + largest * draw**2.5)
        cx, cy = place_x * width, place_y * height
        left, top, reach = (
            max(0, int(cx - 1.3 * radius)),
            max(0, int(cy - 1.3 * radius)),
            int(1.3 * radius) + 2,
        )
        box = (slice(top, int(cy) + reach), slice(left, int(cx) + reach))
        y, x = np.mgrid[box[0].start : min(box[0].stop, height), left : min(box[1].stop, width)].astype(
            np.float32
        )
        dx, dy = (x - cx) / radius, (y - cy) / radius
        # No drop is round: it is heavier below, and lobed.
        lobes = 1 + 0.16 * lobe * np.cos(2 * np.arctan2(dy, dx) + 6.3 * turn)
        rho = np.hypot(dx, dy * (1 - 0.15 * dy)) / lobes
        body = np.clip((1 - rho) * radius / max(1.0, 0.006 * size) + 0.5, 0, 1)
        inside = body > 0
        bend = radius * (1.5 + 3.0 * rho**2)
        across[box] = np.where(inside, cx - dx * bend, across[box])
        down[box] = np.where(inside, cy - dy * bend, down[box])
        share[box] = np.maximum(share[box], body)
        rim = 0.06 + 0.34 * np.clip(rho, 0, 1) ** 5 * (0.6 - 0.4 * dy)
        shine = np.clip(1.3 - 3.4 * np.hypot(dx + 0.3, dy + 0.4), 0, 1) * 0.5
        alpha[box] = np.where(inside, np.maximum(rim, shine), alpha[box])
        colour[box] = np.where(inside, np.where(shine > rim, 240, 40), colour[box])
    maps = cv2.convertMaps(across, down, cv2.CV_16SC2)
    return Drops(Refraction(maps, layer(alpha, colour[..., None])), share)


def broken_lens(image: Image, severity: int, seed: int) -> Image:
    """Cracks from where a stone hit, and shards that each bend the light a little otherwise."""
    return _cracks(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=2)
def _cracks(height: int, width: int, severity: int, seed: int) -> Refraction:
    rng = np.random.default_rng(seed)
    size = min(height, width)
    spokes, reach, slip = (
        (5, 0.3, 0.004), (8, 0.6, 0.009), (12, 1.0, 0.018), (20, 1.6, 0.035), (34, 2.4, 0.075)
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
