"""Sky, clouds, hills and trees, drawn from noise."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered.look import Look
from engines.rendered.paint import Colour, Texture, mix, shade, texture
from engines.rendered.view import Camera, View

Field = NDArray[Any]


def noise(
    rng: np.random.Generator, height: int, width: int, cells: tuple[int, int], octaves: int = 4
) -> Field:
    """Return smooth noise (H × W float32, about 0..1) that wraps round at its left and right edges.

    cells: how many blobs of the coarsest octave fit (down, across).
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    scale = 0.0
    for octave in range(octaves):
        down, across = cells[0] << octave, cells[1] << octave
        grid = rng.random((down + 3, across), np.float32)
        grid = np.concatenate([grid[:, -2:], grid, grid[:, :2]], axis=1)
        step_x, step_y = width / across, height / down
        x = (np.arange(width, dtype=np.float32) / step_x + 2)[None, :].repeat(height, 0)
        y = (np.arange(height, dtype=np.float32) / step_y + 1)[:, None].repeat(width, 1)
        total += weight * cv2.remap(grid, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        scale += weight
        weight *= 0.5
    return total / np.float32(scale)


class Backdrop:
    """All that is too far away to come nearer: it only slides sideways as the road bends."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera) -> None:
        self._rows = camera.first_row + 1
        self._camera = camera
        width = camera.width * 3
        self._sky = _sky(rng, look, self._rows, width)
        _hills(self._sky, rng, look, 1.0, 0.62)
        _hills(self._sky, rng, look, 0.62, 0.42)
        self._wood = _wood(rng, look, max(4, self._rows // 7), width)

    def draw(self, canvas: Image, view: View) -> None:
        """Paint the rows above the horizon."""
        slide = view.heading * self._camera.focal
        canvas[: self._rows] = self._slid(self._sky, slide)
        colour, alpha = self._wood
        top = self._rows - colour.shape[0]
        near = slide * 1.1 + view.distance_m * 0.02
        part = canvas[top : self._rows]
        kept = cv2.multiply(part, cv2.bitwise_not(self._slid(alpha, near)), scale=1 / 255)
        cv2.add(kept, self._slid(colour, near), part)

    def _slid(self, panorama: Image, slide_px: float) -> Any:
        """Return the part of a panorama that the canvas sees after sliding, to a fraction of a pixel."""
        width = panorama.shape[1]
        place = slide_px % width
        start = int(place)
        columns = self._camera.width + 1
        if start + columns <= width:
            part = panorama[:, start : start + columns]
        else:
            part = np.concatenate([panorama[:, start:], panorama[:, : start + columns - width]], axis=1)
        share = place - start
        return cv2.addWeighted(part[:, :-1], 1 - share, part[:, 1:], share, 0)


def _sky(rng: np.random.Generator, look: Look, rows: int, width: int) -> Image:
    """A gradient with clouds that get flatter and closer together towards the horizon."""
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    top, low = np.float32(look.sky_top), np.float32(look.sky_low)  # type: ignore[arg-type]
    sky = top + (low - top) * down**0.75
    flat = noise(rng, 512, width, (6, 10), 6)
    place = np.clip(rows * -np.log(1.06 - down[:, 0, 0]) * 1.02 + 12, 0, 511)
    x = np.arange(width, dtype=np.float32)[None, :].repeat(rows, 0)
    y = place[:, None].repeat(width, 1).astype(np.float32)
    field = cv2.remap(flat, x, y, cv2.INTER_LINEAR)
    lit = cv2.remap(flat, x, np.clip(y - 9, 0, 511), cv2.INTER_LINEAR)
    edge = float(np.quantile(field, 1 - look.clouds))
    cover = np.clip((field - edge) / 0.13, 0, 1)[..., None] * (0.35 + 0.6 * (1 - down))
    bright = np.clip(0.9 + (field - lit) * 2.2, 0.62, 1.06)[..., None]
    white = np.array((34, 32, 38) if look.dark else mix((250, 250, 250), look.sky_low, 0.35), np.float32)
    sky = sky * (1 - cover) + white * bright * cover
    if look.dark:
        _stars(sky, rng)
    elif look.sun > 0.4:
        _sun(sky, rng, look)
    return np.clip(sky, 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def _stars(sky: Field, rng: np.random.Generator) -> None:
    rows, width = sky.shape[:2]
    count = width // 14
    y, x = rng.integers(0, max(1, rows * 2 // 3), count), rng.integers(0, width, count)
    sky[y, x] += rng.uniform(20, 120, (count, 1)).astype(np.float32)


def _sun(sky: Field, rng: np.random.Generator, look: Look) -> None:
    """The glow round a sun that stands above the picture, or low in it on golden days."""
    rows, width = sky.shape[:2]
    low = look.weather == "golden"
    x, y = float(rng.uniform(0, width)), rows * (0.72 if low else -0.25)
    across = np.abs(np.arange(width, dtype=np.float32) - x)
    across = np.minimum(across, width - across)[None, :]
    distance = np.hypot(across, (np.arange(rows, dtype=np.float32) - y)[:, None] * 1.3) / rows
    warm = np.array((255.0, 226.0, 176.0) if low else (255.0, 250.0, 238.0), np.float32)
    light = (0.75 if low else 0.6) * np.exp(-((distance / 0.8) ** 1.2)) + np.exp(
        -((distance / 0.09) ** 2)
    ) * low
    light = np.clip(light, 0, 1)[..., None]
    sky[:] = sky * (1 - light) + warm * light


def _hills(sky: Image, rng: np.random.Generator, look: Look, height: float, haze: float) -> None:
    rows, width = sky.shape[:2]
    ridge = noise(rng, 1, width, (1, 7), 6)[0]
    top = rows - 2 - (0.25 + 0.9 * ridge) * look.hills * height * rows
    below = np.clip(np.arange(rows, dtype=np.float32)[:, None] - top[None, :] + 0.5, 0, 1)[..., None]
    grain = noise(rng, rows, width, (10, 70), 3)[..., None]
    tone = np.array(mix(look.hill, look.haze, haze * (0.3 if look.dark else 1.0)), np.float32)
    hill = tone * (0.86 + 0.28 * grain)
    sky[:] = np.clip(sky * (1 - below) + hill * below, 0, 255).astype(np.uint8)


def _wood(rng: np.random.Generator, look: Look, rows: int, width: int) -> tuple[Image, Image]:
    """A far line of trees as (colour × opacity, opacity)."""
    crowns = noise(rng, 1, width, (1, 60), 4)[0] * 0.7 + noise(rng, 1, width, (1, 9), 2)[0] * 0.6
    top = rows * (1 - np.clip(crowns - 0.25, 0.05, 1) * (0.35 + 0.65 * look.woods))
    below = np.clip(np.arange(rows, dtype=np.float32)[:, None] - top[None, :] + 0.5, 0, 1)[..., None]
    grain = noise(rng, rows, width, (6, 260), 3)[..., None]
    leaf = shade(look.leaf, 0.10) if look.dark else mix(look.leaf, look.haze, 0.42)
    colour = np.array(leaf, np.float32) * (0.68 + 0.55 * grain)
    return (
        np.clip(colour * below, 0, 255).astype(np.uint8),
        np.repeat((below * 255).astype(np.uint8), 3, axis=2),
    )


def make_trees(rng: np.random.Generator, look: Look, count: int = 5) -> list[Texture]:
    """Draw trees of one wood: mostly broad crowns, or mostly firs, as the seed has it."""
    firs = float(rng.choice((0.1, 0.4, 0.8)))
    drawn = [_fir(rng, look) if rng.random() < firs else _broad(rng, look) for _ in range(count)]
    return [texture(*tree) for tree in drawn]


def make_woods(rng: np.random.Generator, look: Look, count: int = 3) -> list[Texture]:
    """Draw edges of a wood, each some dozen trees wide, standing behind one another."""
    firs = float(rng.choice((0.1, 0.4, 0.8)))
    kinds = [_fir(rng, look) if rng.random() < firs else _broad(rng, look) for _ in range(7)]
    return [texture(*_stand(rng, look, kinds)) for _ in range(count)]


def make_bushes(rng: np.random.Generator, look: Look, count: int = 3) -> list[Texture]:
    """Draw bushes, wider than high."""
    return [texture(*_crown(rng, look, (96, 160), (80.0, 62.0), (66.0, 30.0), 220)) for _ in range(count)]


def _stand(rng: np.random.Generator, look: Look, kinds: list[tuple[Field, Field]]) -> tuple[Field, Field]:
    tall, wide = 256, 640
    colour = np.zeros((tall, wide, 3), np.float32)
    opacity = np.zeros((tall, wide), np.float32)
    count = 22
    for number, place in enumerate(rng.permutation(count)):
        tree, alpha = kinds[int(rng.integers(len(kinds)))]
        back = number / count
        high = int(tall * rng.uniform(0.62, 0.8) * (1.18 - 0.35 * back))
        across = int(high * tree.shape[1] / tree.shape[0] * 1.15)
        left = int(np.clip(place / count * wide + rng.normal(0, 8) - across / 4, 0, wide - across))
        part = (slice(tall - high, tall), slice(left, left + across))
        cover = cv2.resize(np.asarray(alpha, np.float32), (across, high), interpolation=cv2.INTER_AREA) / 255
        tone = cv2.resize(np.asarray(tree, np.float32), (across, high), interpolation=cv2.INTER_AREA)
        colour[part] = colour[part] * (1 - cover[..., None]) + tone * cover[..., None] * (0.62 + 0.4 * back)
        opacity[part] = np.maximum(opacity[part], cover * 255)
    floor = np.linspace(1.06, 0.5, tall, dtype=np.float32)[:, None, None]
    safe = np.maximum(opacity[..., None] / 255, 0.02)
    return colour / safe * floor, opacity


def _broad(rng: np.random.Generator, look: Look) -> tuple[Field, Field]:
    high, wide = float(rng.uniform(90, 112)), float(rng.uniform(66, 86))
    return _crown(rng, look, (256, 200), (100.0, 14.0 + high), (wide, high), 520, trunk=True)


def _crown(
    rng: np.random.Generator,
    look: Look,
    shape: tuple[int, int],
    middle: tuple[float, float],
    reach: tuple[float, float],
    leaves: int,
    trunk: bool = False,
) -> tuple[Field, Field]:
    """A crown of boughs, each a cloud of tufts of leaves: dark inside and below, light where the sky
    reaches."""
    colour = np.zeros((*shape, 3), np.uint8)
    opacity = np.zeros(shape, np.uint8)
    if trunk:
        stem = np.array([[96, 120], [104, 120], [106, 255], [94, 255]], np.int32)
        cv2.fillPoly(colour, [stem], (70, 58, 46), cv2.LINE_AA)
        cv2.fillPoly(opacity, [stem], (255,), cv2.LINE_AA)
    boughs = 15
    turn = rng.uniform(0, 2 * np.pi, boughs)
    out = np.sqrt(rng.random(boughs)) * 0.66
    bough = rng.integers(boughs, size=leaves)
    spread = rng.normal(0, 0.15, (2, leaves))
    across = np.clip(out[bough] * np.cos(turn[bough]) + spread[0], -1, 1)
    down = np.clip(out[bough] * np.sin(turn[bough]) + spread[1], -1, 1)
    x, y = middle[0] + reach[0] * across, middle[1] + reach[1] * down
    for tuft in np.argsort(-down - spread[1] * 1.5 + rng.normal(0, 0.25, leaves)):
        radius = max(2, int(rng.uniform(0.05, 0.11) * min(reach)))
        light = (
            0.74 - 0.26 * down[tuft] - 1.1 * spread[1, tuft] - (0.1 + 0.9 * spread[0, tuft]) * 0.5 * look.sun
        )
        tone = shade(look.leaf, float(np.clip(light, 0.46, 1.3) * rng.uniform(0.86, 1.14)))
        place = (int(x[tuft]), int(y[tuft]))
        cv2.circle(colour, place, radius, tone, -1, cv2.LINE_AA)
        cv2.circle(opacity, place, radius, (255,), -1, cv2.LINE_AA)
    speckle = 0.7 + 0.6 * rng.random(shape, np.float32)
    ragged = opacity * (cv2.GaussianBlur(opacity, (0, 0), 2.2) > rng.integers(60, 200, shape))
    return colour * cv2.blur(speckle, (2, 2))[..., None], ragged


def _fir(rng: np.random.Generator, look: Look) -> tuple[Field, Field]:
    """A fir: tiers of drooping twigs, each a short stroke, lighter at its tip."""
    colour = np.zeros((256, 130, 3), np.uint8)
    opacity = np.zeros((256, 130), np.uint8)
    for target, stem in ((colour, (62, 52, 42)), (opacity, (255,))):
        cv2.rectangle(target, (62, 120), (68, 255), stem, -1)
    leaf: Colour = mix(look.leaf, (34, 62, 46), 0.6)
    wide = float(rng.uniform(42, 58))
    for low in np.arange(240.0, 8.0, -3.2):
        reach = wide * ((low - 4) / 236) ** 0.85 * rng.uniform(0.72, 1.08)
        for side in rng.uniform(-1, 1, 9):
            start = (round(65 + side * reach * 0.25), round(low - 10))
            end = (round(65 + side * reach), round(low + 4 * rng.random()))
            light = 0.62 + 0.3 * rng.random() + 0.28 * abs(side) - 0.16 * side * look.sun
            cv2.line(colour, start, end, shade(leaf, float(light)), 5, cv2.LINE_AA)
            cv2.line(opacity, start, end, (255,), 5, cv2.LINE_AA)
    speckle = 0.75 + 0.5 * rng.random((256, 130, 1), np.float32)
    return colour * speckle, opacity


def ground_noise(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return grain for the ground: fine specks on broad patches, -1..1, wrapping in both directions."""
    fine = rng.standard_normal((height, width), np.float32) * 0.42
    broad = noise(rng, height, width, (9, 9), 4) - 0.5
    seam = np.linspace(0, 1, 32, dtype=np.float32)[:, None]
    broad[-32:] = broad[-32:] * (1 - seam) + broad[0] * seam
    return np.clip(cv2.GaussianBlur(fine, (0, 0), 0.8) * 1.2 + broad * 1.6, -1, 1)
